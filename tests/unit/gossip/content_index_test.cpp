// Facts, definitions, collisions and bounds of the content index.
#include "gossip/content_index.hpp"

#include "base/limits.hpp"
#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;

namespace {

using Change = ContentIndex::Change;

Definition definition_of(int number) {
  return {sha256_of(as_bytes(std::to_string(number))), static_cast<std::uint64_t>(number)};
}
std::vector<NodeSlot> holders_of(const ContentIndex& index, Id64 id, const Digest& digest) {
  const std::vector<std::uint64_t> mask(16, ~std::uint64_t{0});
  std::vector<NodeSlot> out;
  index.for_each_holder(id, digest, mask, [&](NodeSlot slot) { out.push_back(slot); });
  return out;
}

}  // namespace

TEST_SUITE("gossip/content_index") {
  TEST_CASE("an id lives from its first holder to its last") {
    ContentIndex index(1, 100);
    const Definition one = definition_of(1);
    CHECK(index.add(Id64{5}, 3, &one, false) == Change::added);
    CHECK(index.add(Id64{5}, 4, nullptr, false) == Change::added);
    CHECK(index.add(Id64{5}, 4, nullptr, false) == Change::present);
    CHECK(holders_of(index, Id64{5}, one.digest) == std::vector<NodeSlot>{3, 4});
    CHECK(holders_of(index, Id64{5}, definition_of(2).digest).empty());
    CHECK(index.size(Id64{5}, one.digest) == 1);
    CHECK(index.definition(Id64{5}) == one);
    CHECK(index.remove(Id64{5}, 3));
    CHECK_FALSE(index.remove(Id64{5}, 3));
    CHECK(index.remove(Id64{5}, 4));
    CHECK(index.id_count() == 0);
    CHECK(index.fact_count() == 0);
    CHECK(index.size(Id64{5}, one.digest) == std::nullopt);
    index.check_invariants();
  }

  TEST_CASE("a fact without a definition is found by any digest of that id until it is defined") {
    ContentIndex index(1, 100);
    const Definition one = definition_of(1);
    index.add(Id64{5}, 3, nullptr, false);
    CHECK(index.is_unresolved(Id64{5}));
    CHECK(holders_of(index, Id64{5}, one.digest) == std::vector<NodeSlot>{3});
    CHECK(index.size(Id64{5}, one.digest) == std::nullopt);
    CHECK(index.define(Id64{5}, one));
    CHECK_FALSE(index.define(Id64{5}, definition_of(2)));
    CHECK_FALSE(index.define(Id64{6}, one));
    CHECK(index.size(Id64{5}, one.digest) == 1);
    CHECK(holders_of(index, Id64{5}, definition_of(2).digest).empty());
  }

  TEST_CASE("two digests with one id keep their holders apart") {
    ContentIndex index(1, 100);
    const Definition one = definition_of(1);
    const Definition two = definition_of(2);
    index.add(Id64{5}, 1, &one, false);
    CHECK(index.is_plain(Id64{5}, one.digest));
    CHECK(index.add(Id64{5}, 2, &two, false) == Change::added);
    CHECK(index.add(Id64{5}, 3, nullptr, false) == Change::added);
    CHECK_FALSE(index.is_plain(Id64{5}, one.digest));
    CHECK(holders_of(index, Id64{5}, one.digest) == std::vector<NodeSlot>{1, 3});
    CHECK(holders_of(index, Id64{5}, two.digest) == std::vector<NodeSlot>{2});
    CHECK(index.size(Id64{5}, two.digest) == 2);
    CHECK(index.definition_of(Id64{5}, 2) == two);
    CHECK(index.holds(Id64{5}, two.digest, 2));
    CHECK_FALSE(index.holds(Id64{5}, one.digest, 2));
    // The same node under the other digest: its one fact moves.
    CHECK(index.add(Id64{5}, 3, &two, false) == Change::added);
    CHECK(index.fact_count() == 3);
    CHECK(index.ids_of(3) == std::vector<Id64>{Id64{5}});
    index.check_invariants();
    const auto found = index.find_holders(Id64{5}, two.digest);
    REQUIRE(found);
    CHECK(found->count() == 2);
    std::vector<NodeSlot> listed(3);
    CHECK(found->list(std::vector<std::uint64_t>{1U << 3U}, listed) == 1);
    CHECK(listed[0] == 3);
    CHECK(index.remove(Id64{5}, 2));
    CHECK(index.remove(Id64{5}, 3));
    CHECK(index.is_plain(Id64{5}, one.digest));
    index.clear(1);
    CHECK(index.id_count() == 0);
    index.check_invariants();
  }

  TEST_CASE("a sha512 digest is compared to its last byte") {
    ContentIndex index(1, 100);
    Bytes hash(64, std::byte{7});
    const Definition one{Digest(DigestAlgorithm::sha512, hash), 9};
    hash[63] = std::byte{8};
    const Digest other(DigestAlgorithm::sha512, hash);
    index.add(Id64{1}, 1, &one, false);
    CHECK(holders_of(index, Id64{1}, one.digest).size() == 1);
    CHECK(holders_of(index, Id64{1}, other).empty());
    CHECK(index.definition(Id64{1}) == one);
    index.check_invariants();
    index.remove(Id64{1}, 1);
    index.check_invariants();
  }

  TEST_CASE("beyond the limits ids and collisions are refused, own ids are not") {
    ContentIndex index(1, 3);
    for (std::uint64_t id = 0; id < 3; ++id) index.add(Id64{id}, 1, nullptr, false);
    CHECK(index.add(Id64{3}, 1, nullptr, false) == Change::refused);
    CHECK(index.add(Id64{2}, 2, nullptr, false) == Change::added);
    CHECK(index.add(Id64{3}, 0, nullptr, true) == Change::added);
    ContentIndex collided(1, 1'000'000);
    const Definition first = definition_of(-1);
    collided.add(Id64{7}, 1, &first, false);
    for (int i = 0; i < static_cast<int>(limits::id_collisions_max); ++i) {
      const Definition next = definition_of(i);
      CHECK(collided.add(Id64{7}, static_cast<NodeSlot>(i + 2), &next, false) == Change::added);
    }
    const Definition last = definition_of(99'999);
    CHECK(collided.add(Id64{7}, 1, &last, false) == Change::refused);
    CHECK(collided.holds(Id64{7}, 1));
    collided.check_invariants();
  }

  TEST_CASE("an own size replaces one that was told") {
    ContentIndex index(1, 3);
    Definition told = definition_of(1);
    told.size = 77;
    index.add(Id64{1}, 1, &told, false);
    const Definition own = definition_of(1);
    index.add(Id64{1}, 0, &own, true);
    CHECK(index.size(Id64{1}, own.digest) == 1);
  }

  TEST_CASE("several nodes are cleared in one pass, under collisions too") {
    ContentIndex index(1, 1000);
    const Definition one = definition_of(1);
    const Definition two = definition_of(2);
    for (NodeSlot slot = 1; slot <= 40; ++slot) {
      for (std::uint64_t id = 0; id < 20; ++id) index.add(Id64{id}, slot, nullptr, false);
    }
    index.add(Id64{50}, 1, &one, false);
    index.add(Id64{50}, 2, &two, false);
    index.add(Id64{51}, 2, nullptr, false);
    index.clear(std::vector<NodeSlot>{2, 7, 39, 7});
    CHECK(index.fact_count() == 37 * 20 + 1);
    CHECK(index.id_count() == 21);
    CHECK(index.ids_of(7).empty());
    CHECK(index.ids_of(2).empty());
    CHECK(index.ids_of(1).size() == 21);
    CHECK_FALSE(index.holds(Id64{50}, two.digest, 2));
    index.check_invariants();
  }

  TEST_CASE("many ids come and go") {
    ContentIndex index(5, 1'000'000);
    Prng prng(11);
    for (std::uint64_t i = 0; i < 20'000; ++i) index.add(Id64{prng.next()}, 1, nullptr, false);
    CHECK(index.id_count() == 20'000);
    const auto ids = index.ids_of(1);
    for (std::size_t i = 0; i < ids.size(); i += 2) CHECK(index.remove(ids[i], 1));
    index.check_invariants();
    for (std::size_t i = 0; i < ids.size(); ++i) REQUIRE(index.holds(ids[i], 1) == (i % 2 == 1));
    index.clear(1);
    CHECK(index.id_count() == 0);
    index.check_invariants();
  }

  TEST_CASE("random changes agree with a simple model") {
    ContentIndex index(9, 1'000'000);
    std::map<std::uint64_t, std::set<NodeSlot>> model;
    Prng prng(4);
    for (int step = 0; step < 30'000; ++step) {
      const std::uint64_t id = prng.below(600);
      const auto slot = static_cast<NodeSlot>(prng.below(40));
      if (prng.chance(0.5)) {
        index.add(Id64{id}, slot, nullptr, false);
        model[id].insert(slot);
      } else if (prng.chance(0.995)) {
        index.remove(Id64{id}, slot);
        model[id].erase(slot);
      } else {
        index.clear(slot);
        for (auto& [known, slots] : model) slots.erase(slot);
      }
    }
    index.check_invariants();
    for (const auto& [id, slots] : model) {
      CHECK(holders_of(index, Id64{id}, {}) == std::vector<NodeSlot>(slots.begin(), slots.end()));
    }
  }

  TEST_CASE("many facts at once are as one after the other, under collisions too") {
    ContentIndex index(1, 3);
    const Definition one = definition_of(1);
    const Definition two = definition_of(2);
    const std::vector<std::uint64_t> first{0b1110, 1};  // slots 1, 2, 3, 64
    const std::vector<std::uint64_t> second{0b110000};
    CHECK(index.add(Id64{5}, 9, nullptr, false) == Change::added);
    CHECK(index.add_all(Id64{5}, first, &one));
    CHECK(holders_of(index, Id64{5}, one.digest) == std::vector<NodeSlot>{1, 2, 3, 9, 64});
    CHECK(index.size(Id64{5}, one.digest) == 1);
    CHECK(index.add_all(Id64{5}, second, &two));
    CHECK(holders_of(index, Id64{5}, two.digest) == std::vector<NodeSlot>{4, 5});
    CHECK(index.fact_count() == 7);
    CHECK(index.add_all(Id64{6}, second, nullptr));
    CHECK(index.is_unresolved(Id64{6}));
    CHECK_FALSE(index.add_all(Id64{7}, second, &one));  // no room for another id
    CHECK(index.add_all(Id64{6}, first, nullptr));
    CHECK(index.fact_count() == 13);
    index.check_invariants();
    std::vector<NodeSlot> all;
    for (NodeSlot slot = 0; slot < 70; ++slot) all.push_back(slot == 9 ? 70 : slot);
    index.clear(all);  // more than are looked for one by one
    CHECK(index.fact_count() == 1);
    CHECK(index.holds(Id64{5}, 9));
    index.check_invariants();
  }

  TEST_CASE("a range of ids comes in order, with all its definitions") {
    ContentIndex index(1, 1000);
    const Definition one = definition_of(1);
    const Definition two = definition_of(2);
    index.add(Id64{50}, 1, &one, false);
    index.add(Id64{50}, 2, &two, false);
    index.add(Id64{60}, 1, &two, false);
    index.add(Id64{60}, 70, &one, false);
    index.remove(Id64{60}, 1);  // only a second definition is left
    index.add(Id64{10}, 3, nullptr, false);
    index.add(Id64{UINT64_MAX}, 64, nullptr, false);
    using Seen = std::vector<std::tuple<std::uint64_t, std::uint64_t, NodeSlot>>;  // size, slot
    const auto range = [&](std::uint64_t from, std::uint64_t last, std::size_t count,
                           std::optional<std::uint64_t> stop) {
      Seen seen;
      const auto stopped = index.for_each_held(Id64{from}, Id64{last}, 2, [&](const auto& held) {
        if (seen.size() == count) return false;
        for_each_slot(held.holders, [&](NodeSlot slot) {
          seen.emplace_back(to_value(held.id), held.definition ? held.definition->size : 0, slot);
        });
        return true;
      });
      CHECK(stopped == (stop ? std::optional(Id64{*stop}) : std::nullopt));
      return seen;
    };
    CHECK(range(0, UINT64_MAX, 9, std::nullopt) ==
          Seen{{10, 0, 3}, {50, 1, 1}, {50, 2, 2}, {60, 1, 70}, {UINT64_MAX, 0, 64}});
    CHECK(range(11, 50, 9, std::nullopt) == Seen{{50, 1, 1}, {50, 2, 2}});
    CHECK(range(11, 49, 9, std::nullopt).empty());
    CHECK(range(60, 60, 9, std::nullopt) == Seen{{60, 1, 70}});
    CHECK(range(0, 60, 2, 50) == Seen{{10, 0, 3}, {50, 1, 1}});
    CHECK(range(0, 60, 3, 60).size() == 3);
    CHECK(range(51, UINT64_MAX, 1, UINT64_MAX) == Seen{{60, 1, 70}});
  }

  TEST_CASE("a crowded range comes in pieces") {
    ContentIndex index(1, 100'000);
    for (std::uint64_t id = 0; id < 40'000; ++id) index.add(Id64{id * 3}, 1, nullptr, false);
    std::uint64_t count = 0;
    std::uint64_t at = 0;
    int pieces = 0;
    for (;;) {
      ++pieces;
      const auto stopped =
          index.for_each_held(Id64{at}, Id64{UINT64_MAX}, 1, [&](const ContentIndex::Held& held) {
            CHECK(to_value(held.id) == 3 * count++);
            return true;
          });
      if (!stopped) break;
      at = to_value(*stopped);
    }
    CHECK(count == 40'000);
    CHECK(pieces == 2);
  }
}
