// A fixed set of named timers: enum -> deadline, earliest wins. Every core keeps its deadlines in
// one.
#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace waggle {

/// @tparam Timer  an enum class whose enumerators are 0..n-1 and whose last one is `count`
/// Cost: every call O(number of timers), no allocation.
template <typename Timer>
class TimerTable {
 public:
  void arm(Timer timer, TimePoint deadline) { slot(timer) = deadline; }
  void disarm(Timer timer) { slot(timer).reset(); }
  [[nodiscard]] bool armed(Timer timer) const { return slot(timer).has_value(); }
  [[nodiscard]] std::optional<TimePoint> deadline(Timer timer) const { return slot(timer); }

  /// The earliest deadline, for poll_timeout().
  [[nodiscard]] std::optional<TimePoint> next() const {
    std::optional<TimePoint> earliest;
    for (const auto& deadline : deadlines_) {
      if (deadline && (!earliest || *deadline < *earliest)) earliest = deadline;
    }
    return earliest;
  }

  /// Disarms and returns one timer that is due at `now`, earliest first; nullopt when none is.
  [[nodiscard]] std::optional<Timer> pop_due(TimePoint now) {
    std::optional<std::size_t> due;
    for (std::size_t i = 0; i < deadlines_.size(); ++i) {
      if (deadlines_[i] && *deadlines_[i] <= now && (!due || *deadlines_[i] < *deadlines_[*due])) {
        due = i;
      }
    }
    if (!due) return std::nullopt;
    deadlines_[*due].reset();
    return static_cast<Timer>(*due);
  }

 private:
  [[nodiscard]] std::optional<TimePoint>& slot(Timer timer) {
    return deadlines_[static_cast<std::size_t>(timer)];
  }
  [[nodiscard]] const std::optional<TimePoint>& slot(Timer timer) const {
    return deadlines_[static_cast<std::size_t>(timer)];
  }

  std::array<std::optional<TimePoint>, static_cast<std::size_t>(Timer::count)> deadlines_{};
};

/// The earlier of two optional deadlines, for joining poll_timeout() of several cores.
[[nodiscard]] inline std::optional<TimePoint> earliest(std::optional<TimePoint> a,
                                                       std::optional<TimePoint> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

}  // namespace waggle
