// The order of deadlines while suspicions are confirmed, extended and ended.
#include "gossip/suspicions.hpp"

#include "samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;
using namespace std::chrono_literals;

TEST_SUITE("gossip/suspicions") {
  TEST_CASE("the earliest is due first, whatever happened to the others") {
    Suspicions suspicions;
    const TimePoint start{};
    suspicions.start(start, id_of(1), id_of(9), 10);       // 24 s
    suspicions.start(start + 1s, id_of(2), id_of(9), 10);  // 25 s
    CHECK(suspicions.next_deadline() == start + 24s);
    CHECK_FALSE(suspicions.due(start + 23s));
    CHECK(suspicions.confirm(id_of(2), id_of(8)));
    CHECK_FALSE(suspicions.confirm(id_of(2), id_of(8)));
    CHECK(suspicions.confirm(id_of(2), id_of(7)));
    CHECK_FALSE(suspicions.confirm(id_of(3), id_of(8)));
    suspicions.check_invariants();
    CHECK(suspicions.next_deadline() == start + 5s);
    CHECK(suspicions.due(start + 5s) == id_of(2));
    suspicions.extend_all(10s);
    suspicions.check_invariants();
    CHECK(suspicions.next_deadline() == start + 15s);
    suspicions.end(id_of(2));
    suspicions.end(id_of(2));
    CHECK(suspicions.due(start + 34s) == id_of(1));
    CHECK(suspicions.size() == 1);
    suspicions.clear();
    CHECK_FALSE(suspicions.next_deadline());
    suspicions.check_invariants();
  }

  TEST_CASE("a sign of life buys the shortest suspicion, and a telling once a second") {
    Suspicions suspicions;
    const TimePoint start{};
    CHECK_FALSE(suspicions.note_contact(start, id_of(1)));
    suspicions.start(start, id_of(1), id_of(9), 10);
    CHECK(suspicions.note_contact(start + 22s, id_of(1)));
    CHECK(suspicions.next_deadline() == start + 26s);
    CHECK_FALSE(suspicions.note_contact(start + 22900ms, id_of(1)));
    CHECK(suspicions.note_contact(start + 23s, id_of(1)));
    suspicions.check_invariants();
  }
}
