// A rate with a burst: who is asked too often says no. Used by cores (replies to strangers,
// repair) and by the log.
#pragma once

#include "base/time.hpp"

#include <algorithm>

namespace waggle {

/// Holds up to `burst` tokens, full at the start, and gains `per_second` of them. O(1). Time never
/// runs backwards between calls.
class TokenBucket {
 public:
  TokenBucket(double per_second, double burst, TimePoint now = TimePoint{})
      : per_second_(per_second), burst_(burst), tokens_(burst), at_(now) {}

  /// Takes `tokens` when that many are there; takes nothing otherwise.
  [[nodiscard]] bool take(TimePoint now, double tokens = 1) {
    refill(now);
    if (tokens_ < tokens) return false;
    tokens_ -= tokens;
    return true;
  }

 private:
  void refill(TimePoint now) {
    tokens_ = std::min(burst_, tokens_ + per_second_ * to_seconds(now - at_));
    at_ = now;
  }

  double per_second_;
  double burst_;
  double tokens_;
  TimePoint at_;
};

}  // namespace waggle
