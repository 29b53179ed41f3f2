// Who misbehaved on authenticated sessions. Local only: scores and bans are never told to anybody.
#pragma once

#include "base/ids.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace waggle::transfer {

/// Points per node, decaying by 10 a minute; 100 points ban for 10 minutes, doubling per ban up to
/// 24 h.
/// Holds at most limits::members_max nodes: the one with the lowest score goes first.
/// @source protocol research section 7
class PeerScores {
 public:
  static constexpr double wrong_bytes = 100;
  static constexpr double malformed_frame = 50;

  /// True when this bans the node now.
  bool add(TimePoint now, const NodeId& node, double points);
  [[nodiscard]] bool is_banned(TimePoint now, const NodeId& node) const;
  /// Ascending.
  [[nodiscard]] std::vector<NodeId> banned(TimePoint now) const;
  [[nodiscard]] std::uint64_t bans() const { return bans_; }

 private:
  struct Entry {
    double points = 0;
    TimePoint updated{};
    TimePoint banned_until{};
    std::uint32_t bans = 0;
  };
  void make_room();

  std::map<NodeId, Entry> entries_;
  std::uint64_t bans_ = 0;
};

}  // namespace waggle::transfer
