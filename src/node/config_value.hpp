// Scalars of the configuration: sizes ("64MiB", "2GB", "20%") and durations ("250ms", "10s", "7d").
#pragma once

#include "base/time.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waggle::node {

/// Bytes, or a share of a file system.
struct SizeOrPercent {
  std::uint64_t bytes = 0;
  double percent = 0;  ///< used when is_percent
  bool is_percent = false;
  /// @param whole  size of the file system in bytes
  [[nodiscard]] std::uint64_t resolve(std::uint64_t whole) const;
};

/// "0", "1024", "64KiB", "64MiB", "2GB", "1.5GiB", "1TB": decimal units are powers of 1000, binary
/// ones of 1024.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);
/// A size, or "0%".."100%".
[[nodiscard]] std::optional<SizeOrPercent> parse_size_or_percent(std::string_view text);
/// A number with a unit: ns, us, ms, s, m, h, d. "0" needs none.
[[nodiscard]] std::optional<Duration> parse_duration(std::string_view text);

/// The candidate that needs the fewest edits to become `text`, if at most 3: for "did you mean".
template <typename Candidates>
[[nodiscard]] std::optional<std::string> closest(std::string_view text,
                                                 const Candidates& candidates);

[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

template <typename Candidates>
std::optional<std::string> closest(std::string_view text, const Candidates& candidates) {
  std::optional<std::string> best;
  std::size_t best_distance = 4;
  for (const auto& candidate : candidates) {
    const std::size_t distance = edit_distance(text, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = std::string(candidate);
    }
  }
  return best;
}

}  // namespace waggle::node
