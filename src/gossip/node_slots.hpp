// Numbers nodes 0..65,535 so that holder sets cost bits instead of ids. Part of the content index.
#pragma once

#include "base/ids.hpp"
#include "base/time.hpp"
#include "gossip/slot_words.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Slots of nodes. A node has one, and a second while the facts of its last incarnation are kept
/// beside the new ones. A released slot is quarantined for 60 s before another node may get it.
/// Each slot remembers how busy its node said it was.
class NodeSlots {
 public:
  static constexpr Duration quarantine = std::chrono::seconds(60);
  /// A load that was heard longer ago says no more than the average of all.
  static constexpr Duration load_age_max = std::chrono::seconds(10);

  /// A new slot, not live; nullopt when all 65,536 are taken or in quarantine.
  [[nodiscard]] std::optional<NodeSlot> allocate(TimePoint now, const NodeId& id);
  /// @pre the slot is taken, and no holder set contains it any more
  void release(TimePoint now, NodeSlot slot);
  /// A node that is not live keeps its slot but is masked out of lookups.
  void set_live(NodeSlot slot, bool live);
  [[nodiscard]] const NodeId& id(NodeSlot slot) const { return ids_[slot]; }
  /// Bit i of word i/64 says whether slot i is live.
  [[nodiscard]] std::span<const std::uint64_t> live_mask() const { return live_; }
  /// `fresh` is the second slot of the node of `former`: where a holder set has both, lookups count
  /// the node once. Ends with the release of either.
  void pair(NodeSlot former, NodeSlot fresh);
  /// False while no node has two slots: then drop_doubles() has nothing to do.
  [[nodiscard]] bool has_doubles() const { return !pairs_.empty(); }
  /// Takes the former slots out of `words` (bit i of word i/64: slot i) where both are there.
  void drop_doubles(std::span<std::uint64_t> words) const;
  /// 0 = idle, 255 = every upload slot busy, as the node said at `now`.
  void set_load(TimePoint now, NodeSlot slot, std::uint8_t load);
  [[nodiscard]] std::uint8_t load(TimePoint now, NodeSlot slot) const {
    return load_at(second_of(now), slot);
  }
  /// The time as loads are dated, for load_at(): taken once for many slots.
  [[nodiscard]] static std::uint32_t second_of(TimePoint now);
  [[nodiscard]] std::uint8_t load_at(std::uint32_t second, NodeSlot slot) const {
    constexpr auto age_max = std::chrono::duration_cast<std::chrono::seconds>(load_age_max).count();
    const Load& of = loads_[slot];
    const std::uint32_t age = (second - of.heard) & 0xffffffU;
    // No branch: whether a load is fresh is hard to predict. All bits of `fresh`, or none.
    const std::uint32_t fresh = 0U - (static_cast<std::uint32_t>(of.heard != 0) &
                                      static_cast<std::uint32_t>(age <= age_max));
    return static_cast<std::uint8_t>((of.value & fresh) | (average_ / 256 & ~fresh));
  }
  [[nodiscard]] std::size_t taken() const { return ids_.size() - quarantined_.size(); }

 private:
  struct Quarantined {
    NodeSlot slot;
    TimePoint until;
  };
  /// 24 bits of seconds begin again after half a year: one stale load may count for 10 s then.
  struct Load {
    std::uint32_t heard : 24 = 0;  // second of the clock; 0: never
    std::uint32_t value : 8 = 0;
  };
  struct Pair {
    NodeSlot former;
    NodeSlot fresh;
  };

  std::vector<NodeId> ids_;  // by slot; zero when free
  std::vector<Load> loads_;
  std::vector<std::uint64_t> live_;
  std::vector<Pair> pairs_;              // of nodes that restarted in the last seconds
  std::uint32_t average_ = 0;            // of the last loads heard, times 256
  std::deque<Quarantined> quarantined_;  // oldest first
};

}  // namespace waggle::gossip
