// The order of claims, tombstones and hashes.
#include "gossip/member_table.hpp"

#include "base/limits.hpp"
#include "samples.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint start{};

MemberTable table_of_self() { return {IdKey::for_cluster("waggle"), member_of(0)}; }

MemberState state_after(const std::vector<Member>& claims) {
  MemberTable table = table_of_self();
  for (const Member& claim : claims) table.apply(start, claim);
  table.check_invariants();
  return table.find(claims.front().id)->state;
}

}  // namespace

TEST_SUITE("gossip/member_table") {
  TEST_CASE(
      "on equal incarnation left beats faulty beats suspect beats alive, in any order of arrival") {
    const std::vector<MemberState> ladder = {MemberState::alive, MemberState::suspect,
                                             MemberState::faulty, MemberState::left};
    for (const MemberState first : ladder) {
      for (const MemberState second : ladder) {
        CHECK(state_after({member_of(1, first), member_of(1, second)}) == std::max(first, second));
      }
    }
  }

  TEST_CASE("a higher incarnation beats every state, a lower one nothing") {
    CHECK(state_after({member_of(1, MemberState::faulty, 5),
                       member_of(1, MemberState::alive, 6)}) == MemberState::alive);
    CHECK(state_after({member_of(1, MemberState::alive, 6), member_of(1, MemberState::left, 5)}) ==
          MemberState::alive);
  }

  TEST_CASE("a jump of the incarnation is accepted up to 2^40 and refused one beyond") {
    MemberTable table = table_of_self();
    table.apply(start, member_of(1, MemberState::alive, 7));
    CHECK(table.apply(start,
                      member_of(1, MemberState::alive, 7 + limits::incarnation_jump_max + 1)) ==
          MemberTable::Outcome::ignored);
    CHECK(table.apply(start, member_of(1, MemberState::alive, 7 + limits::incarnation_jump_max)) ==
          MemberTable::Outcome::changed);
  }

  TEST_CASE("claims about the node itself never change its record") {
    MemberTable table = table_of_self();
    CHECK(table.apply(start, member_of(0, MemberState::faulty, 9)) ==
          MemberTable::Outcome::about_self);
    CHECK(table.apply(start, member_of(0)) == MemberTable::Outcome::ignored);
    CHECK(table.self().state == MemberState::alive);
    CHECK(table.self().incarnation == 1);
  }

  TEST_CASE("live is sorted and holds self; draining members are no candidates") {
    MemberTable table = table_of_self();
    Member draining = member_of(1);
    draining.draining = true;
    table.apply(start, draining);
    table.apply(start, member_of(2, MemberState::suspect));
    table.apply(start, member_of(3, MemberState::faulty));
    CHECK(table.live().size() == 3);
    CHECK(std::is_sorted(table.live().begin(), table.live().end()));
    CHECK(table.candidates().size() == 2);
    Member self = table.self();
    self.state = MemberState::left;
    table.update_self(self);
    CHECK(table.live().size() == 3);
    CHECK(table.candidates().size() == 1);
    table.check_invariants();
  }

  TEST_CASE(
      "a repair gives whole buckets, as many as there is room for, from the first one asked on") {
    MemberTable mine = table_of_self();
    for (std::uint64_t i = 1; i <= 200; ++i) mine.apply(start, member_of(i));
    const std::array<std::uint64_t, member_buckets> nothing{};
    const auto all = mine.differing(nothing, 0, SIZE_MAX);
    CHECK(all.size() == mine.live().size());

    constexpr std::size_t first = 17;
    const auto some = mine.differing(nothing, first, 50);
    CHECK(some.size() <= 50);
    std::map<std::size_t, std::size_t> given;
    std::map<std::size_t, std::size_t> there;
    for (const Member* member : some) ++given[MemberTable::bucket_of(member->id)];
    for (const Member* member : all) ++there[MemberTable::bucket_of(member->id)];
    std::size_t largest = 0;
    for (const auto& [bucket, count] : there) largest = std::max(largest, count);
    CHECK(some.size() + largest > 50);
    for (const auto& [bucket, count] : given) CHECK(count == there[bucket]);
    CHECK(given.begin()->first >= first);
    CHECK(mine.differing(nothing, first, 0).empty());
  }

  TEST_CASE(
      "the hash tells who is live at which incarnation, whatever the order, and hides suspicion") {
    MemberTable a = table_of_self();
    MemberTable b = table_of_self();
    a.apply(start, member_of(1));
    a.apply(start, member_of(2));
    b.apply(start, member_of(2, MemberState::suspect));
    CHECK(a.hash() != b.hash());
    CHECK(a.differing(b.bucket_hashes(), 0, SIZE_MAX).size() >= 1);
    b.apply(start, member_of(1));
    CHECK(a.hash() == b.hash());
    CHECK(a.differing(b.bucket_hashes(), 0, SIZE_MAX).empty());
    b.apply(start, member_of(1, MemberState::faulty));
    CHECK(a.hash() != b.hash());
    a.apply(start, member_of(1, MemberState::left));
    CHECK(a.hash() == b.hash());
    a.apply(start, member_of(2, MemberState::alive, 2));
    CHECK(a.hash() != b.hash());
  }

  TEST_CASE("tombstones go when there are too many, oldest first, or after a day") {
    MemberTable table = table_of_self();
    for (unsigned n = 1; n <= limits::tombstones_min + 2; ++n) {
      table.apply(start + n * 1s, member_of(n, MemberState::faulty));
    }
    const auto forgotten = table.expire(start + 100s);
    CHECK(forgotten == std::vector<NodeId>{id_of(1), id_of(2)});
    table.check_invariants();
    CHECK(table.expire(start + 25h).size() == limits::tombstones_min);
    CHECK(table.size() == 1);
  }

  TEST_CASE("a member that came back is no tombstone any more") {
    MemberTable table = table_of_self();
    table.apply(start, member_of(1, MemberState::faulty, 1));
    table.apply(start + 1s, member_of(1, MemberState::alive, 2));
    CHECK(table.expire(start + 48h).empty());
    CHECK(table.count(MemberState::alive) == 2);
    table.check_invariants();
  }
}
