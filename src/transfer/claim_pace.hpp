// How many extents are fetched from upstream at once, by all nodes together: of one blob (its
// registrar counts) and from one host (host_book.hpp). Few: then blobs come nearly in order, for
// readers and for the running proof; more as long as that makes them come faster. DESIGN section 6,
// "Pacing".
#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace waggle::transfer {

class ClaimPace {
 public:
  static constexpr std::uint32_t first = 2;
  static constexpr Duration window = std::chrono::seconds(1);
  /// A rate that is higher by less is no rise.
  static constexpr double rise = 1.05;

  [[nodiscard]] std::uint32_t limit() const { return limit_; }
  /// All claims together in the best window so far, bytes per second; 0 before the first has
  /// passed.
  [[nodiscard]] double best() const { return best_; }
  /// So many are under way anyhow: growth goes on from there.
  void reach(std::uint32_t count) { limit_ = std::max(limit_, count); }
  /// One more per window, after the first, while the rate rises.
  /// @param received  bytes that claimants have told of since the begin
  /// @param is_full  limit() extents are under way, and somebody waits for another
  void update(TimePoint now, std::uint64_t received, bool is_full) {
    if (!begun_) {
      begun_ = now;
      received_ = received;
    }
    was_full_ = was_full_ || is_full;
    if (now - *begun_ < window) return;
    const double rate = static_cast<double>(received - received_) / to_seconds(now - *begun_);
    if (was_full_ && best_ > 0 && rate > rise * best_) ++limit_;
    if (rate > best_) best_ = rate;
    begun_ = now;
    received_ = received;
    was_full_ = false;
  }

 private:
  std::uint32_t limit_ = first;
  std::optional<TimePoint> begun_;  ///< of the window
  std::uint64_t received_ = 0;      ///< at its begin
  double best_ = 0;                 ///< bytes per second of the best window
  bool was_full_ = false;
};

}  // namespace waggle::transfer
