// Token bucket and stretch levels.
#include "gossip/send_budget.hpp"

#include <algorithm>

namespace waggle::gossip {
namespace {

using namespace std::chrono_literals;

constexpr Duration window = 1s;
constexpr double relax_below = SendBudget::soft_bytes_per_second / 2;
// Levels 1 and 2 double the relays' interval, 3 to 5 the origin's, 6 saves the second copy.
constexpr unsigned relay_levels = 2;
constexpr unsigned origin_levels = 5;
constexpr Duration relay_interval_light = 50ms;
constexpr Duration relay_interval_base = 500ms;
constexpr Duration origin_interval_light = 100ms;
constexpr Duration origin_interval_base = 1s;
constexpr Duration relay_interval_max = 2s;
constexpr Duration origin_interval_max = 8s;

}  // namespace

SendBudget::SendBudget(TimePoint now)
    : hard_(hard_bytes_per_second, hard_burst_bytes, now), window_began_(now) {}

TimePoint SendBudget::ready_at(TimePoint now, std::size_t body_bytes) const {
  return hard_.ready_at(now, static_cast<double>(body_bytes + overhead_bytes));
}

void SendBudget::spend(TimePoint now, std::size_t body_bytes) {
  close_window(now);
  const double bytes = static_cast<double>(body_bytes + overhead_bytes);
  hard_.spend(now, bytes);
  window_bytes_ += bytes;
}

void SendBudget::close_window(TimePoint now) {
  if (now - window_began_ < window) return;
  const double rate = window_bytes_ / to_seconds(now - window_began_);
  if (rate > soft_bytes_per_second) {
    level_ = std::min(level_max, level_ + 1);
  } else if (rate < relax_below) {
    // After a quiet time nothing is left of it.
    const auto quiet =
        static_cast<unsigned>(std::min<Duration::rep>(level_max, (now - window_began_) / window));
    level_ -= std::min(level_, quiet);
  }
  last_rate_ = rate;
  window_began_ = now;
  window_bytes_ = 0;
}

bool SendBudget::is_light(TimePoint now) const {
  if (level_ > 0) return false;
  const double elapsed = to_seconds(std::max(now - window_began_, window));
  const double before = now - window_began_ < window ? last_rate_ : 0;
  return std::max(window_bytes_ / elapsed, before) < light_bytes_per_second;
}

std::size_t SendBudget::redundancy(TimePoint now) const {
  if (level_ == level_max) return 1;
  return is_light(now) ? 3 : 2;
}

Duration SendBudget::relay_interval(TimePoint now, std::size_t members) const {
  if (is_light(now)) return relay_interval_light;
  const Duration base = members > large_cluster ? 2 * relay_interval_base : relay_interval_base;
  return std::min(relay_interval_max, base * (1U << std::min(level_, relay_levels)));
}

Duration SendBudget::origin_interval(TimePoint now, std::size_t members) const {
  if (is_light(now)) return origin_interval_light;
  const Duration base = members > large_cluster ? 2 * origin_interval_base : origin_interval_base;
  const unsigned doubled = std::clamp(level_, relay_levels, origin_levels) - relay_levels;
  return std::min(origin_interval_max, base * (1U << doubled));
}

}  // namespace waggle::gossip
