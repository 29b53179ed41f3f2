// A peer's learned delivery rate: an exponentially weighted mean over its finished chunks.
#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace waggle::transfer {

class RateMeter {
 public:
  /// `bytes` arrived while they were the peer's business for `elapsed`.
  void add(std::uint64_t bytes, Duration elapsed) {
    const double seconds = std::max(to_seconds(elapsed), 1e-6);
    const double sample = static_cast<double>(bytes) / seconds;
    rate_ = rate_ ? *rate_ + weight * (sample - *rate_) : sample;
  }
  /// A timeout: what was learned is too good.
  void halve() {
    if (rate_) *rate_ /= 2;
  }
  /// [bytes/s]; nullopt before the first chunk.
  [[nodiscard]] std::optional<double> rate() const { return rate_; }
  /// How long `bytes` should take; zero before anything is known.
  [[nodiscard]] Duration expected(std::uint64_t bytes) const {
    constexpr double longest = 60;  // a learned rate near zero must not overflow Duration
    if (!rate_) return Duration::zero();
    return from_seconds(std::min(longest, static_cast<double>(bytes) / std::max(*rate_, 1.0)));
  }

 private:
  static constexpr double weight = 0.3;
  std::optional<double> rate_;
};

}  // namespace waggle::transfer
