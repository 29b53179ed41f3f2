// Keeps the order of deadlines while suspicions change.
#include "gossip/suspicions.hpp"

#include "base/assert.hpp"

namespace waggle::gossip {

template <typename Change>
auto Suspicions::change(std::map<NodeId, Entry>::iterator it, Change change) {
  const TimePoint before = it->second.suspicion.deadline();
  const auto result = change(it->second);
  const TimePoint after = it->second.suspicion.deadline();
  if (after != before) {
    by_deadline_.erase({before, it->first});
    by_deadline_.emplace(after, it->first);
  }
  return result;
}

void Suspicions::start(TimePoint now, const NodeId& suspect, const NodeId& accuser,
                       std::size_t live_members) {
  const auto [it, fresh] =
      entries_.emplace(suspect, Entry{Suspicion(now, accuser, live_members), {}});
  WAGGLE_ASSERT(fresh);
  by_deadline_.emplace(it->second.suspicion.deadline(), suspect);
}

void Suspicions::end(const NodeId& suspect) {
  const auto it = entries_.find(suspect);
  if (it == entries_.end()) return;
  by_deadline_.erase({it->second.suspicion.deadline(), suspect});
  entries_.erase(it);
}

void Suspicions::clear() {
  entries_.clear();
  by_deadline_.clear();
}

bool Suspicions::confirm(const NodeId& suspect, const NodeId& accuser) {
  const auto it = entries_.find(suspect);
  if (it == entries_.end()) return false;
  return change(it, [&](Entry& entry) { return entry.suspicion.confirm(accuser); });
}

void Suspicions::extend_all(Duration by) {
  by_deadline_.clear();
  for (auto& [id, entry] : entries_) {
    entry.suspicion.extend(by);
    by_deadline_.emplace(entry.suspicion.deadline(), id);
  }
}

bool Suspicions::note_contact(TimePoint now, const NodeId& suspect) {
  const auto it = entries_.find(suspect);
  if (it == entries_.end()) return false;
  return change(it, [&](Entry& entry) {
    entry.suspicion.at_least_from(now);
    if (entry.nudged && *entry.nudged + nudge_interval > now) return false;
    entry.nudged = now;
    return true;
  });
}

std::optional<TimePoint> Suspicions::next_deadline() const {
  if (by_deadline_.empty()) return std::nullopt;
  return by_deadline_.begin()->first;
}

std::optional<NodeId> Suspicions::due(TimePoint now) const {
  if (by_deadline_.empty() || by_deadline_.begin()->first > now) return std::nullopt;
  return by_deadline_.begin()->second;
}

void Suspicions::check_invariants() const {
  WAGGLE_ASSERT(by_deadline_.size() == entries_.size());
  for (const auto& [id, entry] : entries_) {
    WAGGLE_ASSERT(by_deadline_.contains({entry.suspicion.deadline(), id}));
  }
}

}  // namespace waggle::gossip
