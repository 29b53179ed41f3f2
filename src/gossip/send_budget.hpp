// How much announcements may send, and how they stretch when that is too little. Part of
// announcements.
#pragma once

#include "base/time.hpp"
#include "base/token_bucket.hpp"

#include <cstddef>
#include <cstdint>

namespace waggle::gossip {

/// What this node sends about content, bytes as on the wire. Above the soft rate it announces and
/// relays less often in larger batches, then with one copy instead of two; above the hard one it
/// waits. While it sends little, batches hardly wait at all. Nothing is left out: state is only
/// told later.
class SendBudget {
 public:
  static constexpr double soft_bytes_per_second = 100e3;
  /// With the burst no second has more than 256 KiB.
  static constexpr double hard_bytes_per_second = 192.0 * 1024;
  static constexpr double hard_burst_bytes = 64.0 * 1024;
  /// Seal, UDP and IP headers around a message body.
  static constexpr std::size_t overhead_bytes = 28 + 44 + 8;
  static constexpr std::size_t large_cluster = 2000;  ///< above it everything takes twice as long
  /// Below it nothing needs to wait for a batch.
  static constexpr double light_bytes_per_second = 20e3;

  explicit SendBudget(TimePoint now);

  /// When a message of `body_bytes` may leave; `now` or earlier: at once.
  [[nodiscard]] TimePoint ready_at(TimePoint now, std::size_t body_bytes) const;
  /// It left.
  void spend(TimePoint now, std::size_t body_bytes);

  /// Least time between two batches of own announcements.
  [[nodiscard]] Duration origin_interval(TimePoint now, std::size_t members) const;
  /// Between two batches of relayed ones.
  [[nodiscard]] Duration relay_interval(TimePoint now, std::size_t members) const;
  /// Copies that each receiver gets: one more than two while little is sent, when all a lost pair
  /// could save is a repair round.
  [[nodiscard]] std::size_t redundancy(TimePoint now) const;
  /// So little is sent that nothing waits for a batch.
  [[nodiscard]] bool is_light(TimePoint now) const;
  /// 0: nothing is stretched.
  [[nodiscard]] unsigned level() const { return level_; }

 private:
  static constexpr unsigned level_max = 6;

  void close_window(TimePoint now);

  TokenBucket hard_;
  TimePoint window_began_;
  double window_bytes_ = 0;
  double last_rate_ = 0;  ///< of the window before
  unsigned level_ = 0;
};

}  // namespace waggle::gossip
