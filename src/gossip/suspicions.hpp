// The suspicions of one node, found by suspect and by deadline. Membership owns it.
#pragma once

#include "base/ids.hpp"
#include "base/time.hpp"
#include "gossip/suspicion.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <utility>

namespace waggle::gossip {

/// Bounded by the member table: one suspicion per suspect. Every call but extend_all() costs
/// O(log suspects).
class Suspicions {
 public:
  /// A suspect that gives a sign of life over TCP is pinged at most this often for it.
  static constexpr Duration nudge_interval = std::chrono::seconds(1);

  /// @pre `suspect` is not suspected; the numbers are Suspicion's
  void start(TimePoint now, const NodeId& suspect, const NodeId& accuser, std::size_t live_members);
  void end(const NodeId& suspect);  ///< not suspected: nothing
  void clear();
  [[nodiscard]] bool contains(const NodeId& suspect) const { return entries_.contains(suspect); }
  /// As Suspicion::confirm(); false when not suspected.
  [[nodiscard]] bool confirm(const NodeId& suspect, const NodeId& accuser);
  /// This node was deaf for so long.
  void extend_all(Duration by);
  /// A sign of life: the suspect gets at least the shortest suspicion from now. True when it should
  /// be told what is held against it.
  [[nodiscard]] bool note_contact(TimePoint now, const NodeId& suspect);

  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  /// A suspect whose time is over, earliest first; it stays until end().
  [[nodiscard]] std::optional<NodeId> due(TimePoint now) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  /// All suspects, ascending.
  [[nodiscard]] auto suspects() const { return std::views::keys(entries_); }
  void check_invariants() const;

 private:
  struct Entry {
    Suspicion suspicion;
    std::optional<TimePoint> nudged;
  };
  template <typename Change>
  auto change(std::map<NodeId, Entry>::iterator it, Change change);

  std::map<NodeId, Entry> entries_;
  std::set<std::pair<TimePoint, NodeId>> by_deadline_;
};

}  // namespace waggle::gossip
