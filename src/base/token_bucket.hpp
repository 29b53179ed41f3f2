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
    if (available(now) < tokens) return false;
    spend(now, tokens);
    return true;
  }
  /// Takes them in any case: what was not there has to be earned before the next.
  void spend(TimePoint now, double tokens) {
    tokens_ = available(now) - tokens;
    at_ = now;
  }
  [[nodiscard]] double available(TimePoint now) const {
    return std::min(burst_, tokens_ + per_second_ * to_seconds(now - at_));
  }
  /// From when on `tokens` are there; `now` when they are already. @pre tokens is within the burst
  [[nodiscard]] TimePoint ready_at(TimePoint now, double tokens) const {
    const double missing = tokens - available(now);
    if (missing <= 0) return now;
    return now + from_seconds(missing / per_second_) + Duration{1};  // never a rounding too early
  }

 private:
  double per_second_;
  double burst_;
  double tokens_;
  TimePoint at_;
};

}  // namespace waggle
