// Two processes with one identity: what was proven about them, how often it is told, and how often
// a member contradicts records of itself that it never issued. How proof comes about: courier.hpp;
// page: docs/wire-gossip.md, "Doubles".
#pragma once

#include "base/endpoint.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "base/token_bucket.hpp"
#include "gossip/gossip.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace waggle::gossip {

/// Identities that proved themselves alive in two runs at a time. At most
/// limits::clones_told_max of them; the one heard of longest ago is forgotten first.
class CloneWatch {
 public:
  /// A run of `id` that is not the one listened to answered just now.
  /// @return  what to tell the operator: at once the first time, then once a minute
  std::optional<CloneSeen> proved(TimePoint now, const CloneSeen& seen);
  /// Those proven within the last limits::clone_remembered.
  [[nodiscard]] std::vector<CloneSeen> seen(TimePoint now) const;
  void check_invariants() const;

 private:
  struct Sighting {
    CloneSeen seen;
    TimePoint last;
    TimePoint told;
  };
  std::map<NodeId, Sighting> sightings_;
};

/// How often a member refutes records of itself that are ahead of what it issued and do not say
/// that it is failing: a few at once (after a restart from an older disk there are such), then one
/// per limits::refutation_interval, so that two clones do not outbid each other at gossip speed.
/// Suspicions and deaths are denied at once, whatever this says.
class RefutationLimit {
 public:
  explicit RefutationLimit(TimePoint now);
  /// True: refute now. False: it is remembered, and due() says when.
  [[nodiscard]] bool admit(TimePoint now, std::uint64_t claimed_incarnation);
  [[nodiscard]] std::optional<TimePoint> due() const { return due_; }
  /// The greatest incarnation remembered, once it is due.
  [[nodiscard]] std::optional<std::uint64_t> take_due(TimePoint now);
  /// This node has just refuted at least that.
  void refuted(std::uint64_t incarnation);

 private:
  TokenBucket tokens_;
  std::optional<TimePoint> due_;
  std::uint64_t claimed_ = 0;
};

}  // namespace waggle::gossip
