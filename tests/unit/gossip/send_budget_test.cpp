// No second above the hard budget, and stretching while the soft one is exceeded.
#include "gossip/send_budget.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t body = 1000;
constexpr double bytes_of_one = body + SendBudget::overhead_bytes;

/// Sends `per_second` messages each second for so long.
void keep_sending(SendBudget& budget, TimePoint& now, std::size_t per_second, Duration time) {
  const TimePoint end = now + time;
  for (; now < end; now += Duration(1s) / per_second) budget.spend(now, body);
}

}  // namespace

TEST_SUITE("gossip/send_budget") {
  TEST_CASE("whoever sends all it may never exceeds 256 KiB in any second") {
    SendBudget budget{TimePoint{}};
    std::vector<TimePoint> sent;
    TimePoint now{};
    while (now < TimePoint(10s)) {
      const TimePoint ready = budget.ready_at(now, body);
      if (ready > now) {
        now = ready;
        CHECK(budget.ready_at(now, body) <= now);
      }
      budget.spend(now, body);
      sent.push_back(now);
    }
    for (std::size_t first = 0, last = 0; first < sent.size(); ++first) {
      while (last < sent.size() && sent[last] < sent[first] + 1s) ++last;
      CHECK(static_cast<double>(last - first) * bytes_of_one <= 256.0 * 1024);
    }
    const double rate = static_cast<double>(sent.size()) * bytes_of_one / 10;
    CHECK(rate >= SendBudget::hard_bytes_per_second);
  }

  TEST_CASE("above the soft rate the relay stretches, then the origin, then one copy must do") {
    SendBudget budget{TimePoint{}};
    TimePoint now{};
    CHECK(budget.relay_interval(now, 5000) == 50ms);
    CHECK(budget.origin_interval(now, 5000) == 100ms);
    CHECK(budget.redundancy(now) == 3);
    keep_sending(budget, now, 50, 1s);
    CHECK(budget.level() == 0);
    CHECK(budget.relay_interval(now, 1000) == 500ms);
    CHECK(budget.origin_interval(now, 1000) == 1s);
    CHECK(budget.relay_interval(now, 5000) == 1s);
    CHECK(budget.origin_interval(now, 5000) == 2s);
    CHECK(budget.redundancy(now) == 2);
    CHECK(budget.relay_interval(now + 5s, 1000) == 50ms);
    const std::vector<std::pair<Duration, Duration>> steps = {{1s, 1s}, {2s, 1s}, {2s, 2s},
                                                              {2s, 4s}, {2s, 8s}, {2s, 8s}};
    keep_sending(budget, now, 150, 1010ms);
    for (const auto& [relay, origin] : steps) {
      CHECK(budget.relay_interval(now, 1000) == relay);
      CHECK(budget.origin_interval(now, 1000) == origin);
      keep_sending(budget, now, 150, 1s);
    }
    CHECK(budget.redundancy(now) == 1);
    CHECK(budget.level() == 6);
    // Between the two rates it stays, below half of the soft one it comes back.
    keep_sending(budget, now, 70, 5s);
    CHECK(budget.level() == 6);
    keep_sending(budget, now, 30, 1100ms);
    CHECK(budget.level() < 6);
    CHECK(budget.redundancy(now) == 2);
    now += 1min;
    budget.spend(now, body);
    CHECK(budget.level() == 0);
  }
}
