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
    queue.add({member_of(1), {}});
    queue.add({member_of(2), {}});
    const std::size_t one = encoded_bytes({member_of(1), {}});
    CHECK(queue.take(one, 2).front().member.id == id_of(2));
    CHECK(queue.take(one, 2).front().member.id == id_of(1));
    CHECK(queue.take(one, 2).front().member.id == id_of(2));
    queue.check_invariants();
    CHECK(queue.size() == 1);
    CHECK(queue.take(2 * one, 2).front().member.id == id_of(1));
    CHECK(queue.empty());
  }

  TEST_CASE("newer news about a member replaces the older and starts over") {
    Dissemination queue;
    queue.add({member_of(1), {}});
    CHECK(queue.take(1000, 2).size() == 1);
    queue.add({member_of(1, MemberState::suspect), id_of(3)});
    CHECK(queue.size() == 1);
    const auto first = queue.take(1000, 2);
    CHECK(first.front().member.state == MemberState::suspect);
    CHECK(first.front().accuser == id_of(3));
    CHECK(queue.take(1000, 2).size() == 1);
    CHECK(queue.empty());
  }

  TEST_CASE("a budget smaller than a record takes nothing and counts nothing") {
    Dissemination queue;
    queue.add({member_of(1), {}});
    const std::size_t one = encoded_bytes({member_of(1), {}});
    CHECK(queue.take(one - 1, 1).empty());
    CHECK(queue.take(one, 1).size() == 1);
  }
}
