// What to do about two vectors, and the bounds of set pulls.
#include "gossip/anti_entropy.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace std::chrono_literals;

namespace {

NodeId node(std::uint8_t number) {
  NodeId id;
  id.bytes[0] = std::byte{number};
  return id;
}
constexpr TimePoint start{};
const NodeId self = node(1);
const NodeId peer = node(2);

Repair about(std::uint8_t origin, OriginState mine, OriginState theirs) {
  mine.origin = theirs.origin = node(origin);
  return compare(mine, to_wire(theirs, NodeRef{theirs.origin}), self, peer);
}

}  // namespace

TEST_SUITE("gossip/anti_entropy") {
  TEST_CASE("states of another origin: who is behind pulls, from the log when it reaches back") {
    CHECK(about(9, {{}, 1, 5, 7, 1}, {{}, 1, 5, 7, 1}) == Repair::none);
    CHECK(about(9, {{}, 1, 5, 7, 1}, {{}, 1, 8, 9, 6}) == Repair::pull_records);
    CHECK(about(9, {{}, 1, 5, 7, 1}, {{}, 1, 8, 9, 7}) == Repair::pull_set);
    CHECK(about(9, {{}, 1, 0, 0, 1}, {{}, 1, 8, 9, 1}) == Repair::pull_records);
    CHECK(about(9, {{}, 1, 8, 9, 1}, {{}, 1, 5, 7, 1}) == Repair::peer_behind);
    CHECK(about(9, {{}, 2, 1, 9, 1}, {{}, 1, 50, 7, 1}) == Repair::none);  // membership's business
    CHECK(compare({node(9), 1, 8, 9, 1}, {NodeRef{node(9)}, 0, 0, 0, 0}, self, peer) ==
          Repair::peer_behind);  // the peer does not list it
    CHECK(about(9, {{}, 2, 0, 0, 1}, {{}, 1, 50, 7, 1}) == Repair::none);
    CHECK(about(9, {{}, 1, 50, 9, 1}, {{}, 2, 1, 7, 1}) == Repair::none);
  }

  TEST_CASE("different sets at the same seq: only the origin is believed, nobody about ourselves") {
    CHECK(about(9, {{}, 1, 5, 7, 1}, {{}, 1, 5, 8, 1}) == Repair::none);
    CHECK(about(2, {{}, 1, 5, 7, 1}, {{}, 1, 5, 8, 1}) == Repair::pull_set);
    CHECK(about(1, {{}, 1, 5, 7, 1}, {{}, 1, 5, 8, 1}) == Repair::peer_behind);
    CHECK(about(1, {{}, 1, 5, 7, 1}, {{}, 1, 9, 8, 1}) == Repair::none);
    CHECK(about(1, {{}, 1, 5, 7, 1}, {{}, 1, 4, 8, 1}) == Repair::peer_behind);
  }

  TEST_CASE("the root depends on every field") {
    const IdKey key = IdKey::for_cluster("test");
    const auto hash = [&](OriginState state) { return RootTable::hash_of(key, state); };
    const std::uint64_t known = hash({node(3), 4, 5, 6, 1});
    CHECK(known == hash({node(3), 4, 5, 6, 2}));  // what a log still has does not matter
    CHECK(known != hash({node(4), 4, 5, 6, 1}));
    CHECK(known != hash({node(3), 5, 5, 6, 1}));
    CHECK(known != hash({node(3), 4, 6, 6, 1}));
    CHECK(known != hash({node(3), 4, 5, 7, 1}));
  }

  TEST_CASE("buckets are ranges of ids that cover all, and their hashes make the root") {
    RootTable table;
    CHECK(table.root() == 0);
    CHECK(RootTable::range_of(0, index_buckets - 1) == std::pair(0U, UINT32_MAX));
    std::uint64_t begin = 0;
    for (std::size_t bucket = 0; bucket < index_buckets; ++bucket) {
      const auto [from, to] = RootTable::range_of(bucket, bucket);
      CHECK(from == begin);
      CHECK(RootTable::bucket_of(NodeRef::lowest(from)) == bucket);
      CHECK(RootTable::bucket_of(NodeRef::lowest(to)) == bucket);
      begin = std::uint64_t{to} + 1;
      table.toggle(NodeRef::lowest(from), bucket + 1);
      CHECK(table.buckets()[bucket] == bucket + 1);
    }
    CHECK(begin == std::uint64_t{1} << 32U);
    table.toggle(node(3), 99);
    table.toggle(node(3), 99);
    std::uint64_t all = 0;
    for (std::size_t bucket = 0; bucket < index_buckets; ++bucket) all ^= bucket + 1;
    CHECK(table.root() == all);
  }

  TEST_CASE("one pull per origin, 16 in all, 5 s each") {
    AntiEntropy pulls;
    for (std::size_t i = 0; i < limits::set_pulls_max; ++i) {
      CHECK(pulls.start_pull(start, node(static_cast<std::uint8_t>(10 + i)), peer));
    }
    CHECK_FALSE(pulls.start_pull(start, node(99), peer));
    pulls.cancel(node(10), node(3));  // not its pull
    CHECK_FALSE(pulls.has_room());
    pulls.cancel(node(10), peer);
    CHECK_FALSE(pulls.start_pull(start, node(11), peer));
    CHECK(pulls.start_pull(start, node(99), node(3)));
    pulls.cancel_peer(peer);
    CHECK(pulls.pull_count() == 1);
    CHECK(pulls.next_deadline() == start + 5s);
    pulls.expire(start + 5s);
    CHECK(pulls.pull_count() == 0);
    CHECK(pulls.next_deadline() == std::nullopt);
  }

  TEST_CASE("parts join in order, from the node that was asked") {
    AntiEntropy pulls;
    const auto part = [](std::uint64_t number) {
      return SetData{node(9), 1, 5, 7, number, 3, {}, {std::make_shared<SignedName>()}};
    };
    CHECK_FALSE(pulls.take_part(start, peer, part(0)));  // nobody asked
    REQUIRE(pulls.start_pull(start, node(9), peer));
    CHECK_FALSE(pulls.take_part(start, peer, part(1)));
    CHECK_FALSE(pulls.take_part(start, node(3), part(0)));
    CHECK_FALSE(pulls.take_part(start, peer, part(0)));
    CHECK_FALSE(pulls.take_part(start, peer, part(0)));
    CHECK_FALSE(pulls.take_part(start, peer, part(2)));
    SetData other = part(1);
    other.seq = 6;
    CHECK_FALSE(pulls.take_part(start, peer, other));
    CHECK_FALSE(pulls.take_part(start, peer, part(1)));
    const auto whole = pulls.take_part(start, peer, part(2));
    REQUIRE(whole);
    CHECK(whole->names.size() == 3);
    CHECK(pulls.pull_count() == 0);
  }

  TEST_CASE("a wrong set blocks its origin for 10 s, the own set is served 4 times a second") {
    AntiEntropy pulls;
    pulls.block(start, node(9));
    CHECK_FALSE(pulls.start_pull(start + 9s, node(9), peer));
    CHECK(pulls.start_pull(start + 10s, node(9), peer));
    for (std::size_t i = 0; i < limits::own_set_serves_max; ++i) {
      CHECK(pulls.admit_own_serve(start + 500ms));
    }
    CHECK_FALSE(pulls.admit_own_serve(start + 1499ms));
    CHECK(pulls.admit_own_serve(start + 1500ms));
  }
}
