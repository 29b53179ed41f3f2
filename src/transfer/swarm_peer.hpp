// One peer of one swarm as this node sees it. A value with no behaviour beyond its own fields.
#pragma once

#include "base/bitfield.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "transfer/rate_meter.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace waggle::transfer {

struct SwarmPeer {
  enum class Link : std::uint8_t {
    dialing,  ///< no session yet
    opening,  ///< OPEN sent, nothing heard
    ready,    ///< its state is known
  } link = Link::dialing;
  SessionId session{};
  bool outgoing = false;
  TimePoint since{};                  ///< of the link state
  std::optional<std::uint64_t> size;  ///< as it says
  bool all = false;
  Bitfield have;         ///< counted in availability while ready and of our size
  bool counted = false;  ///< its chunks are in availability
  Bitfield unprovable;   ///< chunks it cannot vouch for in a way that we can check
  TimePoint busy_until{};
  RateMeter rate;
  TimePoint last_chunk{};  ///< when its last chunk was whole
  std::optional<TimePoint> list_asked;
  std::uint32_t timeouts = 0;

  [[nodiscard]] bool has(ChunkIndex chunk) const {
    return counted && (all || have.test(to_value(chunk)));
  }
};

/// A node that may become a peer.
struct PeerCandidate {
  bool holder = false;
  bool dead_end = false;  ///< rejected us, or banned: not tried again in this swarm
  std::uint32_t failures = 0;
  std::uint32_t turn = UINT32_MAX;  ///< among the holders that the index named last
  TimePoint retry_at{};
  TimePoint relay_dial_at{};  ///< not dialled for a stripe's sake before
};

}  // namespace waggle::transfer
