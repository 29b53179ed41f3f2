// What a swarm keeps about fresh chunks on their way through it: stripes of 64 KiB that each node
// passes on while they arrive, down chains of those that want the blob. DESIGN section 5, "Relay of
// fresh chunks"; messages: docs/wire-session.md.
#pragma once

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"
#include "transfer/hop_name.hpp"

#include <algorithm>
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

/// One way of a stripe out of this node.
struct RelayBranch {
  std::vector<HopName> rest;    ///< who is to get it after `to`, in order
  std::optional<SessionId> to;  ///< the next hop; none yet while nobody can be reached
  std::uint32_t sent = 0;       ///< bytes of the stripe handed to `to`
};

/// Those that are to get a stripe after this node: a long list goes down several chains, each of
/// which is split again, so that the last is a few hops away. Load stays even, because every node
/// is at the begin of such lists as often as at the end of chains, where nothing is passed on.
[[nodiscard]] std::vector<RelayBranch> split_chain(const std::vector<HopName>& hops);

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

  /// Somebody is still to get it, and nobody of these could be reached yet.
  [[nodiscard]] bool waits() const {
    return std::any_of(branches.begin(), branches.end(), [](const RelayBranch& branch) {
      return !branch.to && !branch.rest.empty();
    });
  }
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
  RelayStripe proof;                ///< the ways of its CREC
  SessionId source = fetch_source;  ///< where its bytes come from
  bool is_own = false;              ///< this node took it from upstream
  TimePoint touched{};              ///< when its last byte came

  [[nodiscard]] bool waits() const {
    return proof.waits() || std::any_of(stripes.begin(), stripes.end(),
                                        [](const RelayStripe& stripe) { return stripe.waits(); });
  }
  /// Every stripe of it is on its way, down all its chains.
  [[nodiscard]] bool has_left() const {
    return std::all_of(stripes.begin(), stripes.end(), [](const RelayStripe& stripe) {
      return !stripe.branches.empty() && !stripe.waits();
    });
  }

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
  static constexpr std::size_t count = 4;

  RelayRings(const SwarmTag& tag, const NodeId& self) : tag_(tag), self_(self) {}
  /// The others, sorted. Cost: nothing when they are the same; else a hash and a sort per ring.
  void set_others(std::vector<NodeId> others);
  [[nodiscard]] std::size_t size() const { return others_.size(); }
  /// Another one whenever the others are.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  /// All others in this ring's order. @pre ring < count
  [[nodiscard]] std::span<const NodeId> chain(std::size_t ring) const { return chains_[ring]; }
  /// To whom the stripe with this number in the blob goes, in order, at most
  /// limits::relay_hops_max. Numbers take the rings in turn, and begin at each place of a ring in
  /// turn: whoever sends which of them, each node is as often at the begin as any other.
  [[nodiscard]] std::vector<HopName> stripe_order(std::uint64_t number) const;
  /// The first of each chain, each once.
  [[nodiscard]] std::vector<NodeId> successors() const;

 private:
  SwarmTag tag_;
  NodeId self_;
  std::vector<NodeId> others_;
  std::uint64_t version_ = 0;
  std::array<std::vector<NodeId>, count> chains_;
  std::array<std::size_t, count> own_places_{};  ///< how many of a ring stand before this node
};

}  // namespace waggle::transfer
