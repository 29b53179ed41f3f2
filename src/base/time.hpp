// Time as the cores know it: told from outside, never read. TimePoint counts from an arbitrary
// start (process start in production, 0 in the simulator) and never runs backwards.
#pragma once

#include <chrono>

namespace waggle {

using Duration = std::chrono::nanoseconds;

/// A clock without now(): drivers convert from steady_clock, the simulator counts.
struct CoreClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<CoreClock, Duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = CoreClock::time_point;

[[nodiscard]] inline double to_seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}
[[nodiscard]] inline Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace waggle
