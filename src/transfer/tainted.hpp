// Digests whose bytes turned out wrong after some of them may have been given out. Used by the
// exchange; what follows from the mark: docs/adversity.md.
#pragma once

#include "base/digest.hpp"
#include "base/time.hpp"

#include <cstddef>
#include <map>
#include <vector>

namespace waggle::transfer {

/// Holds at most limits::tainted_digests_max marks, each for limits::tainted_for; full: the oldest
/// goes. Not kept over a restart. Every call O(marks).
class TaintedDigests {
 public:
  /// True when the digest was not marked. A mark is renewed by another mismatch.
  bool mark(TimePoint now, const Digest& digest);
  [[nodiscard]] bool contains(TimePoint now, const Digest& digest) const;
  /// Ascending.
  [[nodiscard]] std::vector<Digest> list(TimePoint now) const;

 private:
  std::map<Digest, TimePoint> until_;
};

}  // namespace waggle::transfer
