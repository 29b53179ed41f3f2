// What a swarm keeps about fresh chunks on their way through it: stripes of 64 KiB that each node
// passes on while they arrive, down chains of those that want the blob. DESIGN section 5, "Relay of
// fresh chunks"; messages: docs/wire-session.md.
#pragma once

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace waggle::transfer {

/// Sources of a chunk's bytes that are no session: put together from relayed stripes, coming from
/// upstream to this node, and in the store.
inline constexpr SessionId relay_source{0};
inline constexpr SessionId fetch_source{UINT64_MAX};
inline constexpr SessionId stored_source{UINT64_MAX - 1};

/// Plain hash of a chunk's bytes, or of a block's.
using ChunkSha256 = std::array<std::byte, 32>;

/// The first 4 bytes of a node's id, little-endian: names it among those that want one blob.
using HopName = std::uint32_t;
[[nodiscard]] inline HopName hop_name(const NodeId& node) {
  return load_le<std::uint32_t>(ByteView(node.bytes));
}

/// One way of a stripe out of this node.
struct RelayBranch {
  std::vector<HopName> rest;    ///< who is to get it after `to`, in order
  std::optional<SessionId> to;  ///< the next hop; none yet while nobody can be reached
  std::uint32_t sent = 0;       ///< bytes of the stripe handed to `to`
};

struct RelayStripe {
  struct Feeder {
    SessionId session{};
    NodeId node;
    std::uint32_t serial = 0;
  };
  std::uint32_t received = 0;   ///< bytes from its begin on, without a gap
  std::vector<Feeder> feeders;  ///< who announced it, at most two: a later one takes the place
                                ///< of one that is gone
  std::vector<RelayBranch> branches;
  std::set<HopName> told;  ///< where it begins: all that stood in its chains
  /// Who sent all of it, and its serial.
  std::optional<NodeId> sender;
  std::uint32_t serial = 0;
  bool is_mixed = false;    ///< parts came from several, or by request
  bool is_vouched = false;  ///< the sender says that it verified these bytes

  [[nodiscard]] const Feeder* feeder(SessionId session) const {
    for (const Feeder& feeder : feeders) {
      if (feeder.session == session) return &feeder;
    }
    return nullptr;
  }
  void add_feeder(const Feeder& feeder) {
    std::erase_if(feeders, [&](const Feeder& old) { return old.session == feeder.session; });
    if (feeders.size() == 2) feeders.erase(feeders.begin());
    feeders.push_back(feeder);
  }
  /// Bytes of it came from there.
  void note_sender(const Feeder& feeder) {
    is_mixed = is_mixed || (sender && (*sender != feeder.node || serial != feeder.serial));
    sender = feeder.node;
    serial = feeder.serial;
  }
};

/// A relayed chunk that was wrong: which stripes were, and who sent them, is told by a true copy.
struct RelayEvidence {
  struct Stripe {
    std::optional<NodeId> sender;  ///< of all its bytes
    std::uint32_t serial = 0;
    bool is_vouched = false;
    ChunkSha256 hash{};
  };
  std::vector<Stripe> stripes;
  std::vector<ChunkSha256> truth;  ///< of the chunk as it was proven; empty until then
};

struct RelayedChunk {
  std::uint32_t serial = 0;  ///< under which this node passes it on: it vouches for no other bytes
  std::vector<RelayStripe> stripes;
  RelayStripe proof;    ///< the ways of its CREC
  bool is_own = false;  ///< this node took it from upstream
  TimePoint touched{};  ///< when its last byte came

  /// Blocks that did not come are asked of one peer that has the chunk.
  struct Repair {
    SessionId session{};
    std::uint32_t waiting = 0;  ///< blocks asked and not received
    TimePoint deadline{};
  };
  std::optional<Repair> repair;
};

/// Orders in which the nodes that want a blob pass it on: each ring has them all, and a chain is a
/// ring from the node after oneself round to the one before. Nodes that know the same others have
/// the same rings, so that each needs sessions with few: those after it in the rings.
class RelayRings {
 public:
  static constexpr std::size_t count = 8;

  RelayRings(const SwarmTag& tag, const NodeId& self) : tag_(tag), self_(self) {}
  /// The others, sorted. Cost: nothing when they are the same; else a hash and a sort per ring.
  void set_others(std::vector<NodeId> others);
  [[nodiscard]] std::size_t size() const { return others_.size(); }
  /// All others in this ring's order. @pre ring < count
  [[nodiscard]] std::span<const NodeId> chain(std::size_t ring) const { return chains_[ring]; }
  /// The first of each chain, each once.
  [[nodiscard]] std::vector<NodeId> successors() const;

 private:
  SwarmTag tag_;
  NodeId self_;
  std::vector<NodeId> others_;
  std::array<std::vector<NodeId>, count> chains_;
};

}  // namespace waggle::transfer
