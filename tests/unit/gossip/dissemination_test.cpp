// Which news rides first, how often, and what replaces it.
#include "gossip/dissemination.hpp"

#include "samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

TEST_SUITE("gossip/dissemination") {
  TEST_CASE("retransmits are 4, 8, 12, 16 at 9, 99, 999, 5,000 members, as memberlist's") {
    CHECK(Dissemination::retransmits(9) == 4);
    CHECK(Dissemination::retransmits(10) == 8);
    CHECK(Dissemination::retransmits(99) == 8);
    CHECK(Dissemination::retransmits(999) == 12);
    CHECK(Dissemination::retransmits(5000) == 16);
  }

  TEST_CASE("least sent goes first, of equals the newest, and each leaves after its sends") {
    Dissemination queue;
    queue.add({id_of(1), {}}, 100);
    queue.add({id_of(2), {}}, 100);
    CHECK(queue.take(100, 2).front().about == id_of(2));
    CHECK(queue.take(100, 2).front().about == id_of(1));
    CHECK(queue.take(100, 2).front().about == id_of(2));
    queue.check_invariants();
    CHECK(queue.size() == 1);
    CHECK(queue.take(200, 2).front().about == id_of(1));
    CHECK(queue.empty());
  }

  TEST_CASE("newer news about a member replaces the older and starts over") {
    Dissemination queue;
    queue.add({id_of(1), {}}, 100);
    CHECK(queue.take(1000, 2).size() == 1);
    queue.add({id_of(1), id_of(3)}, 116);
    CHECK(queue.size() == 1);
    CHECK(queue.take(115, 2).empty());
    const auto first = queue.take(1000, 2);
    CHECK(first.front().accuser == id_of(3));
    CHECK(queue.take(1000, 2).size() == 1);
    CHECK(queue.empty());
  }

  TEST_CASE("a budget smaller than a record takes nothing and counts nothing") {
    Dissemination queue;
    queue.add({id_of(1), {}}, 100);
    CHECK(queue.take(99, 1).empty());
    CHECK(queue.take(100, 1).size() == 1);
  }

  TEST_CASE("a smaller record fills what a larger one leaves") {
    Dissemination queue;
    queue.add({id_of(1), {}}, 60);
    queue.add({id_of(2), {}}, 200);
    queue.add({id_of(3), {}}, 100);
    const auto taken = queue.take(160, 4);
    REQUIRE(taken.size() == 2);
    CHECK(taken[0].about == id_of(3));
    CHECK(taken[1].about == id_of(1));
  }
}
