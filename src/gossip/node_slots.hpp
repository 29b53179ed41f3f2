// Numbers nodes 0..65,535 so that holder sets cost bits instead of ids. Part of the content index.
#pragma once

#include "base/ids.hpp"
#include "base/time.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace waggle::gossip {

/// A node as this process numbers it.
using NodeSlot = std::uint16_t;
inline constexpr std::size_t slots_max = 65'536;

/// Slots of nodes. A node has one, and a second while the facts of its last incarnation are kept
/// beside the new ones. A released slot is quarantined for 60 s before another node may get it.
class NodeSlots {
 public:
  static constexpr Duration quarantine = std::chrono::seconds(60);

  /// A new slot, not live; nullopt when all 65,536 are taken or in quarantine.
  [[nodiscard]] std::optional<NodeSlot> allocate(TimePoint now, const NodeId& id);
  /// @pre the slot is taken, and no holder set contains it any more
  void release(TimePoint now, NodeSlot slot);
  /// A node that is not live keeps its slot but is masked out of lookups.
  void set_live(NodeSlot slot, bool live);
  [[nodiscard]] const NodeId& id(NodeSlot slot) const { return ids_[slot]; }
  /// Bit i of word i/64 says whether slot i is live.
  [[nodiscard]] std::span<const std::uint64_t> live_mask() const { return live_; }
  [[nodiscard]] std::size_t taken() const { return ids_.size() - quarantined_.size(); }

 private:
  struct Quarantined {
    NodeSlot slot;
    TimePoint until;
  };
  std::vector<NodeId> ids_;  // by slot; zero when free
  std::vector<std::uint64_t> live_;
  std::deque<Quarantined> quarantined_;  // oldest first
};

}  // namespace waggle::gossip
