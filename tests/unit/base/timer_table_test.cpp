// Named timers: earliest first, popped once.
#include "base/timer_table.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

TEST_SUITE("base/timer_table") {
  TEST_CASE("due timers come earliest first and only once") {
    enum class Timer { probe, gossip, count };
    TimerTable<Timer> timers;
    const TimePoint start{};
    CHECK_FALSE(timers.next().has_value());
    timers.arm(Timer::probe, start + 2s);
    timers.arm(Timer::gossip, start + 1s);
    CHECK(timers.next() == start + 1s);
    CHECK_FALSE(timers.pop_due(start).has_value());
    CHECK(timers.pop_due(start + 3s) == Timer::gossip);
    CHECK(timers.pop_due(start + 3s) == Timer::probe);
    CHECK_FALSE(timers.pop_due(start + 3s).has_value());
  }
}
