// Marks end when they are looked at, and make room when a new one comes.
#include "transfer/tainted.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::transfer {

bool TaintedDigests::mark(TimePoint now, const Digest& digest, Taint taint) {
  std::erase_if(marks_, [&](const auto& entry) { return entry.second.until <= now; });
  const bool is_new = !marks_.contains(digest);
  if (is_new && marks_.size() >= limits::tainted_digests_max) {
    marks_.erase(std::min_element(marks_.begin(), marks_.end(), [](const auto& a, const auto& b) {
      return a.second.until < b.second.until;
    }));
  }
  Mark& mark = marks_[digest];
  mark = {now + limits::tainted_for, std::max(mark.taint, taint)};
  return is_new;
}

bool TaintedDigests::contains(TimePoint now, const Digest& digest) const {
  const auto it = marks_.find(digest);
  return it != marks_.end() && it->second.until > now;
}

bool TaintedDigests::is_refuted(TimePoint now, const Digest& digest) const {
  return contains(now, digest) && marks_.at(digest).taint == Taint::refuted;
}

std::vector<Digest> TaintedDigests::list(TimePoint now) const {
  std::vector<Digest> digests;
  for (const auto& [digest, mark] : marks_) {
    if (mark.until > now) digests.push_back(digest);
  }
  return digests;
}

}  // namespace waggle::transfer
