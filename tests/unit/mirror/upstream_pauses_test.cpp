// Pauses per host and credential.
#include "mirror/upstream_pauses.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint start{1000s};

}  // namespace

TEST_SUITE("mirror/upstream_pauses") {
  TEST_CASE("a host is left alone for as long as it asked, a tenth longer at most") {
    for (std::uint64_t seed = 1; seed < 50; ++seed) {
      UpstreamPauses pauses(seed);
      pauses.pause(start, "a", 10s);
      CHECK(pauses.remaining(start, "a").value() >= 10s);
      CHECK(pauses.remaining(start, "a").value() <= 11s);
      CHECK(pauses.remaining(start + 9s, "a"));
      CHECK_FALSE(pauses.remaining(start + 11s, "a"));
      CHECK_FALSE(pauses.remaining(start, "b"));
    }
  }

  TEST_CASE(
      "without a time it is a second, with an endless one a minute, with none of it nothing") {
    UpstreamPauses pauses(7);
    pauses.pause(start, "none", std::nullopt);
    pauses.pause(start, "endless", 24h);
    pauses.pause(start, "zero", 0s);
    CHECK(pauses.remaining(start, "none").value() <= 1100ms);
    CHECK(pauses.remaining(start, "none").value() >= 1s);
    CHECK(pauses.remaining(start, "endless").value() <= 66s);
    CHECK(pauses.remaining(start, "endless").value() >= limits::upstream_pause_max);
    CHECK_FALSE(pauses.remaining(start, "zero"));
  }

  TEST_CASE("the later end counts") {
    UpstreamPauses pauses(7);
    pauses.pause(start, "a", 30s);
    pauses.pause(start + 1s, "a", 2s);
    CHECK(pauses.remaining(start + 1s, "a").value() >= 29s);
    pauses.pause(start + 1s, "a", 50s);
    CHECK(pauses.remaining(start + 1s, "a").value() >= 50s);
  }

  TEST_CASE("beyond the limit the pause that ends first is forgotten; those that ended go first") {
    UpstreamPauses pauses(7);
    for (std::size_t i = 0; i < limits::upstream_pauses_max; ++i)
      pauses.pause(start, std::to_string(i), 20s + i * 100ms);
    pauses.pause(start, "one more", 50s);
    CHECK(pauses.size() == limits::upstream_pauses_max);
    CHECK(pauses.remaining(start, "one more"));
    CHECK(pauses.remaining(start, std::to_string(limits::upstream_pauses_max - 1)));
    pauses.pause(start + 120s, "later", 1s);
    CHECK(pauses.size() == 1);
  }
}
