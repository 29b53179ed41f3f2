// Sightings by identity, and the brake on a war of incarnations.
#include "gossip/clone_watch.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {

std::optional<CloneSeen> CloneWatch::proved(TimePoint now, const CloneSeen& seen) {
  auto it = sightings_.find(seen.id);
  if (it == sightings_.end()) {
    if (sightings_.size() >= limits::clones_told_max) {
      sightings_.erase(std::min_element(
          sightings_.begin(), sightings_.end(),
          [](const auto& a, const auto& b) { return a.second.last < b.second.last; }));
    }
    sightings_.emplace(seen.id, Sighting{seen, now, now});
    return seen;
  }
  Sighting& sighting = it->second;
  sighting.seen = seen;
  sighting.last = now;
  if (now - sighting.told < limits::clone_told_every) return std::nullopt;
  sighting.told = now;
  return seen;
}

std::vector<CloneSeen> CloneWatch::seen(TimePoint now) const {
  std::vector<CloneSeen> recent;
  for (const auto& [id, sighting] : sightings_) {
    if (now - sighting.last < limits::clone_remembered) recent.push_back(sighting.seen);
  }
  return recent;
}

void CloneWatch::check_invariants() const {
  WAGGLE_ASSERT(sightings_.size() <= limits::clones_told_max);
}

RefutationLimit::RefutationLimit(TimePoint now)
    : tokens_(1 / to_seconds(limits::refutation_interval), limits::refutations_burst, now) {}

bool RefutationLimit::admit(TimePoint now, std::uint64_t claimed_incarnation) {
  if (!due_ && tokens_.take(now)) return true;
  claimed_ = std::max(claimed_, claimed_incarnation);
  if (!due_) due_ = now + limits::refutation_interval;
  return false;
}

std::optional<std::uint64_t> RefutationLimit::take_due(TimePoint now) {
  if (!due_ || *due_ > now) return std::nullopt;
  due_.reset();
  return std::exchange(claimed_, 0);
}

void RefutationLimit::refuted(std::uint64_t incarnation) {
  if (claimed_ > incarnation) return;
  due_.reset();
  claimed_ = 0;
}

}  // namespace waggle::gossip
