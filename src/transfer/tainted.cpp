// Marks end when they are looked at, and make room when a new one comes.
#include "transfer/tainted.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::transfer {

bool TaintedDigests::mark(TimePoint now, const Digest& digest) {
  std::erase_if(until_, [&](const auto& entry) { return entry.second <= now; });
  const bool is_new = !until_.contains(digest);
  if (is_new && until_.size() >= limits::tainted_digests_max) {
    until_.erase(std::min_element(until_.begin(), until_.end(), [](const auto& a, const auto& b) {
      return a.second < b.second;
    }));
  }
  until_[digest] = now + limits::tainted_for;
  return is_new;
}

bool TaintedDigests::contains(TimePoint now, const Digest& digest) const {
  const auto it = until_.find(digest);
  return it != until_.end() && it->second > now;
}

std::vector<Digest> TaintedDigests::list(TimePoint now) const {
  std::vector<Digest> digests;
  for (const auto& [digest, until] : until_) {
    if (until > now) digests.push_back(digest);
  }
  return digests;
}

}  // namespace waggle::transfer
