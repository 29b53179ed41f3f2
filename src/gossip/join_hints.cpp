// A sorted list with a count each.
#include "gossip/join_hints.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {

bool JoinHints::set(std::span<const Endpoint> hints, std::span<const Endpoint> own) {
  std::vector<Hint> fresh;
  for (const Endpoint& hint : hints) {
    if (fresh.size() >= limits::join_hints_max) break;
    const auto at = std::lower_bound(
        fresh.begin(), fresh.end(), hint,
        [](const Hint& known, const Endpoint& endpoint) { return known.endpoint < endpoint; });
    const bool repeated = at != fresh.end() && at->endpoint == hint;
    if (repeated || std::find(own.begin(), own.end(), hint) != own.end()) continue;
    fresh.insert(at, {hint, 0});
  }
  const bool same =
      std::equal(fresh.begin(), fresh.end(), hints_.begin(), hints_.end(),
                 [](const Hint& one, const Hint& other) { return one.endpoint == other.endpoint; });
  if (!same) hints_ = std::move(fresh);
  return !same;
}

const JoinHints::Hint* JoinHints::find(const Endpoint& endpoint) const {
  const auto at = std::lower_bound(
      hints_.begin(), hints_.end(), endpoint,
      [](const Hint& hint, const Endpoint& wanted) { return hint.endpoint < wanted; });
  return at == hints_.end() || at->endpoint != endpoint ? nullptr : &*at;
}

JoinHints::Hint* JoinHints::find(const Endpoint& endpoint) {
  return const_cast<Hint*>(std::as_const(*this).find(endpoint));
}

void JoinHints::add_member(std::span<const Endpoint> endpoints) {
  for (const Endpoint& endpoint : endpoints) {
    if (Hint* hint = find(endpoint)) ++hint->members;
  }
}

void JoinHints::remove_member(std::span<const Endpoint> endpoints) {
  for (const Endpoint& endpoint : endpoints) {
    Hint* hint = find(endpoint);
    if (hint == nullptr) continue;
    WAGGLE_ASSERT(hint->members > 0);
    --hint->members;
  }
}

std::vector<Endpoint> JoinHints::pick(Prng& prng, std::size_t count) const {
  std::vector<Hint> order = hints_;
  prng.shuffle(std::span<Hint>(order));
  std::vector<Endpoint> picked;
  for (const bool leads_to_members : {false, true}) {
    for (const Hint& hint : order) {
      if (picked.size() < count && (hint.members > 0) == leads_to_members) {
        picked.push_back(hint.endpoint);
      }
    }
  }
  return picked;
}

std::uint32_t JoinHints::members_at(const Endpoint& hint) const {
  const Hint* known = find(hint);
  return known == nullptr ? 0 : known->members;
}

}  // namespace waggle::gossip
