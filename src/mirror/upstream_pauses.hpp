// Registries that asked to be left alone: until when, per origin and credential.
#pragma once

#include "base/prng.hpp"
#include "base/time.hpp"

#include <map>
#include <optional>
#include <string>

namespace waggle::mirror {

/// A 429 or 503 is about the host and who asks, not about one blob: while the pause lasts nothing
/// is sent to that host under that credential. Bounded by limits::upstream_pauses_max: the pause
/// that ends first goes first. What this node was asked for or was told by others (decision D-165).
/// @source  RFC 9110 section 10.2.3
class UpstreamPauses {
 public:
  /// @param who  origin and account, as one text
  explicit UpstreamPauses(std::uint64_t seed) : prng_(seed) {}

  /// The host said 429, or 503 with Retry-After. The pause is limits::upstream_pause_max at most,
  /// 1 s when the host names none, and ends up to a tenth later, so that not everybody is back at
  /// the same moment. A later end than the present one counts, an earlier one does not.
  void pause(TimePoint now, const std::string& who, std::optional<Duration> retry_after);
  /// How long it still lasts; nullopt: go on.
  [[nodiscard]] std::optional<Duration> remaining(TimePoint now, const std::string& who) const;
  [[nodiscard]] std::size_t size() const { return until_.size(); }

 private:
  std::map<std::string, TimePoint> until_;
  Prng prng_;
};

}  // namespace waggle::mirror
