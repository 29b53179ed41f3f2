// The Lifeguard timeout against memberlist's published numbers.
#include "gossip/suspicion.hpp"

#include "samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;
using namespace std::chrono_literals;

namespace {
constexpr TimePoint start{};
double seconds_left(const Suspicion& suspicion) { return to_seconds(suspicion.deadline() - start); }
}  // namespace

TEST_SUITE("gossip/suspicion") {
  TEST_CASE("the shortest timeout is 4 s up to 10 members, 8 s at 100, 12 s at 1,000") {
    CHECK(Suspicion::min_timeout(1) == 4s);
    CHECK(Suspicion::min_timeout(10) == 4s);
    CHECK(Suspicion::min_timeout(100) == 8s);
    CHECK(Suspicion::min_timeout(1000) == 12s);
    CHECK(to_seconds(Suspicion::min_timeout(5000)) == doctest::Approx(14.8).epsilon(0.01));
  }

  TEST_CASE("confirmations shorten it by their logarithm from six times to once the minimum") {
    Suspicion suspicion(start, id_of(1), 10);
    CHECK(seconds_left(suspicion) == doctest::Approx(24));
    CHECK(suspicion.confirm(id_of(2)));
    // 24 - log(2)/log(3) * 20, as memberlist's remainingSuspicionTime
    CHECK(seconds_left(suspicion) == doctest::Approx(11.381).epsilon(0.001));
    CHECK(suspicion.confirm(id_of(3)));
    CHECK(seconds_left(suspicion) == doctest::Approx(4));
  }

  TEST_CASE("neither repeats nor a third confirmation count") {
    Suspicion suspicion(start, id_of(1), 10);
    CHECK_FALSE(suspicion.confirm(id_of(1)));
    CHECK(suspicion.confirm(id_of(2)));
    CHECK_FALSE(suspicion.confirm(id_of(2)));
    CHECK(suspicion.confirm(id_of(3)));
    CHECK_FALSE(suspicion.confirm(id_of(4)));
  }

  TEST_CASE("with too few members to confirm, the minimum holds at once") {
    CHECK(seconds_left(Suspicion(start, id_of(1), 3)) == doctest::Approx(4));
    CHECK(seconds_left(Suspicion(start, id_of(1), 4)) == doctest::Approx(24));
  }

  TEST_CASE("a sign of life leaves at least the minimum from now, a pause its own length") {
    Suspicion suspicion(start, id_of(1), 3);
    suspicion.at_least_from(start + 3s);
    CHECK(seconds_left(suspicion) == doctest::Approx(7));
    suspicion.at_least_from(start + 1s);
    CHECK(seconds_left(suspicion) == doctest::Approx(7));
    suspicion.extend(5s);
    CHECK(seconds_left(suspicion) == doctest::Approx(12));
  }
}
