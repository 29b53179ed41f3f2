// How long one suspicion lasts before its member counts as faulty.
#pragma once

#include "base/ids.hpp"
#include "base/time.hpp"

#include <array>
#include <cstddef>

namespace waggle::gossip {

/// Starts patient and loses patience as independent members confirm: from max = 6 x min down to
/// min = 4 x max(1, log10 N) x 1 s, by the logarithm of the confirmations, 2 of which suffice.
/// @source Dadgar, Phillips, Currey 2017 (Lifeguard), section IV.B; memberlist suspicion.go
class Suspicion {
 public:
  static constexpr std::size_t confirmations_wanted = 2;

  /// @param accuser      who suspects; its repeats are no confirmation
  /// @param live_members members that could be asked, self and suspect included: too few
  /// confirmers, no patience
  Suspicion(TimePoint now, const NodeId& accuser, std::size_t live_members);

  /// Another accusation. True when it is a new confirmation that still counts (worth spreading).
  bool confirm(const NodeId& accuser);
  [[nodiscard]] TimePoint deadline() const;
  /// Moves the deadline: time in which this node could not have heard a refutation, or a sign of
  /// life.
  void extend(Duration by) { start_ += by; }
  /// No earlier than the shortest suspicion from `now`.
  void at_least_from(TimePoint now);

  [[nodiscard]] static Duration min_timeout(std::size_t live_members);

 private:
  TimePoint start_;
  Duration min_;
  Duration max_;
  std::size_t wanted_;
  std::array<NodeId, confirmations_wanted + 1> accusers_;
  std::size_t accuser_count_ = 1;
};

}  // namespace waggle::gossip
