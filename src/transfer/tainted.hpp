// Digests whose bytes turned out wrong after some of them may have been given out. Used by the
// exchange; what follows from the mark: docs/adversity.md.
#pragma once

#include "base/digest.hpp"
#include "base/time.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace waggle::transfer {

/// Why a digest is marked.
enum class Taint : std::uint8_t {
  convicted,  ///< whose list it rested on was convicted: who else speaks for it is worth as before
  refuted,    ///< every word that there was for it passed, and the digest is another
};

/// Holds at most limits::tainted_digests_max marks, each for limits::tainted_for; full: the oldest
/// goes. Not kept over a restart. Every call O(marks).
class TaintedDigests {
 public:
  /// True when the digest was not marked. A mark is renewed by another mismatch, and stays
  /// `refuted` once it was.
  bool mark(TimePoint now, const Digest& digest, Taint taint);
  [[nodiscard]] bool contains(TimePoint now, const Digest& digest) const;
  [[nodiscard]] bool is_refuted(TimePoint now, const Digest& digest) const;
  /// Ascending.
  [[nodiscard]] std::vector<Digest> list(TimePoint now) const;

 private:
  struct Mark {
    TimePoint until;
    Taint taint{};
  };
  std::map<Digest, Mark> marks_;
};

}  // namespace waggle::transfer
