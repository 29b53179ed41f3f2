// One line a minute per kind of trouble.
#include "node/trouble_log.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::node;
using namespace std::chrono_literals;

TEST_SUITE("node/trouble_log") {
  TEST_CASE(
      "a trouble is told at once with what, where and what to do, then counted for a minute") {
    TroubleLog log;
    const Trouble trouble{"r.test", "it fails", "HTTP 500", "look at its log"};
    CHECK(log.note(TimePoint(1s), trouble) ==
          "upstream r.test: it fails (HTTP 500); look at its log");
    for (int i = 0; i < 1000; ++i) CHECK_FALSE(log.note(TimePoint(2s + i * 1ms), trouble));
    CHECK(log.note(TimePoint(61s), trouble) ==
          "upstream r.test: it fails (HTTP 500); look at its log [1000 more since the last such "
          "line]");
  }

  TEST_CASE("another place or another trouble has a line of its own") {
    TroubleLog log;
    CHECK(log.note(TimePoint(1s), {"a", "it fails", "", ""}) == "upstream a: it fails");
    CHECK(log.note(TimePoint(1s), {"b", "it fails", "", ""}));
    CHECK(log.note(TimePoint(1s), {"a", "it stalls", "", ""}));
    CHECK_FALSE(log.note(TimePoint(1s), {"a", "it fails", "other particulars", ""}));
  }

  TEST_CASE("what is remembered is bounded") {
    TroubleLog log;
    for (std::size_t i = 0; i < 2 * limits::upstream_troubles_max; ++i)
      CHECK(log.note(TimePoint(i * 1ms), {std::to_string(i), "it fails", "", ""}));
    CHECK(log.size() == limits::upstream_troubles_max);
  }
}
