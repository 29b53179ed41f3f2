// The Lifeguard timeout.
#include "gossip/suspicion.hpp"

#include <algorithm>
#include <cmath>

namespace waggle::gossip {
namespace {

constexpr double suspicion_mult = 4;
constexpr int max_over_min = 6;

}  // namespace

Duration Suspicion::min_timeout(std::size_t live_members) {
  const double scale =
      std::max(1.0, std::log10(static_cast<double>(std::max<std::size_t>(1, live_members))));
  return from_seconds(suspicion_mult * scale);
}

Suspicion::Suspicion(TimePoint now, const NodeId& accuser, std::size_t live_members)
    : start_(now),
      min_(min_timeout(live_members)),
      max_(min_ * max_over_min),
      // Besides the suspect and the first accuser, N - 2 members could confirm.
      wanted_(live_members < confirmations_wanted + 2 ? 0 : confirmations_wanted),
      accusers_{accuser} {}

bool Suspicion::confirm(const NodeId& accuser) {
  if (accuser_count_ > wanted_) return false;
  const auto end = accusers_.begin() + static_cast<std::ptrdiff_t>(accuser_count_);
  if (std::find(accusers_.begin(), end, accuser) != end) return false;
  accusers_[accuser_count_++] = accuser;
  return true;
}

TimePoint Suspicion::deadline() const {
  if (wanted_ == 0) return start_ + min_;
  const double share =
      std::log(static_cast<double>(accuser_count_)) / std::log(static_cast<double>(wanted_ + 1));
  const Duration decay = from_seconds(to_seconds(max_ - min_) * std::min(1.0, share));
  return start_ + std::max(min_, max_ - decay);
}

void Suspicion::at_least_from(TimePoint now) {
  const Duration short_by = now + min_ - deadline();
  if (short_by > Duration::zero()) start_ += short_by;
}

}  // namespace waggle::gossip
