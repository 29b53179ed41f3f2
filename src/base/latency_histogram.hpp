// How often something took how long: what a core counts and a metric shows.
#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace waggle {

/// Counts durations by range, from 10 ms to 30 s. Cumulative: counts never fall.
struct LatencyHistogram {
  /// Each range ends with its bound, which belongs to it; what is longer than the last has a range
  /// of its own.
  static constexpr std::array<Duration, 13> bounds = [] {
    using namespace std::chrono_literals;
    return std::array<Duration, 13>{10ms, 20ms,   50ms,   100ms, 150ms, 250ms, 500ms,
                                    1s,   1500ms, 2500ms, 5s,    10s,   30s};
  }();

  std::array<std::uint64_t, bounds.size() + 1> counts{};
  Duration sum{0};

  void observe(Duration took) {
    const auto range = std::lower_bound(bounds.begin(), bounds.end(), took) - bounds.begin();
    ++counts[static_cast<std::size_t>(range)];
    sum += took;
  }
  [[nodiscard]] std::uint64_t count() const {
    std::uint64_t count = 0;
    for (const std::uint64_t of_range : counts) count += of_range;
    return count;
  }
};

}  // namespace waggle
