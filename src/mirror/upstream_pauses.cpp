// A map small enough to be searched for its earliest end.
#include "mirror/upstream_pauses.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::mirror {

void UpstreamPauses::pause(TimePoint now, const std::string& who,
                           std::optional<Duration> retry_after) {
  const Duration wanted =
      std::min<Duration>(retry_after.value_or(std::chrono::seconds(1)), limits::upstream_pause_max);
  if (wanted <= Duration::zero()) return;
  std::erase_if(until_, [&](const auto& entry) { return entry.second <= now; });
  if (until_.size() >= limits::upstream_pauses_max && !until_.contains(who)) {
    until_.erase(std::min_element(until_.begin(), until_.end(), [](const auto& a, const auto& b) {
      return a.second < b.second;
    }));
  }
  TimePoint& until = until_[who];
  until = std::max(until, now + wanted + from_seconds(to_seconds(wanted) * 0.1 * prng_.unit()));
}

std::optional<Duration> UpstreamPauses::remaining(TimePoint now, const std::string& who) const {
  const auto found = until_.find(who);
  if (found == until_.end() || found->second <= now) return std::nullopt;
  return found->second - now;
}

}  // namespace waggle::mirror
