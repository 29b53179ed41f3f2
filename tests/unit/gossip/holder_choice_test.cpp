// The order of lookups: random, the less loaded first, each holder once.
#include "gossip/holder_choice.hpp"

#include "base/limits.hpp"
#include "gossip/holder_store.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;

namespace {

using namespace std::chrono_literals;

const TimePoint start{100s};

NodeId node(std::size_t n) {
  NodeId id;
  store_le(MutableByteView(id.bytes), static_cast<std::uint64_t>(n + 1));
  return id;
}

/// `count` nodes in slots 0..count-1, all live.
struct World {
  explicit World(std::size_t count) : words(count / 64 + 1) {
    for (std::size_t n = 0; n < count; ++n) {
      const auto slot = slots.allocate(start, node(n));
      slots.set_live(*slot, true);
    }
  }
  void hold(std::size_t slot) {
    words.resize(std::max(words.size(), slot / 64 + 1));
    words[slot / 64] |= std::uint64_t{1} << (slot % 64);
  }
  void hold_all(std::size_t count) {
    for (std::size_t n = 0; n < count; ++n) hold(n);
  }
  std::vector<NodeSlot> choose(std::size_t wanted, TimePoint now = start) {
    std::vector<NodeSlot> out(wanted);
    auto left = words;
    total = choose_slots(now, left, slots, prng, out);
    out.resize(std::min(wanted, total));
    return out;
  }
  NodeSlots slots;
  std::vector<std::uint64_t> words;
  Prng prng{7};
  std::size_t total = 0;
};

}  // namespace

TEST_SUITE("gossip/holder_choice") {
  TEST_CASE("few holders are all named, once each; of many as many as are wanted") {
    for (const std::size_t count : {0UL, 1UL, 2UL, 5UL, 64UL, 65UL, 129UL, 700UL, 5000UL}) {
      for (const std::size_t wanted : {0UL, 1UL, 8UL, 64UL, limits::lookup_holders_max}) {
        CAPTURE(count);
        CAPTURE(wanted);
        World world(count + 3);
        for (std::size_t n = 0; n < count; ++n) world.hold(n + 1);
        const auto chosen = world.choose(wanted);
        CHECK(world.total == count);
        CHECK(chosen.size() == std::min(count, wanted));
        const std::set<NodeSlot> distinct(chosen.begin(), chosen.end());
        CHECK(distinct.size() == chosen.size());
        for (const NodeSlot slot : chosen) REQUIRE((slot >= 1 && slot <= count));
      }
    }
  }

  TEST_CASE("with equal loads every holder is as likely to come at any place") {
    struct Shape {
      std::size_t count;
      std::size_t every;  // so many slots is one a holder
    };
    // All of a list; some of a list; some of a bitmap, dense and half full.
    for (const Shape& shape : {Shape{4, 1}, Shape{60, 16}, Shape{500, 1}, Shape{500, 2}}) {
      CAPTURE(shape.count);
      CAPTURE(shape.every);
      World world(shape.count * shape.every);
      for (std::size_t n = 0; n < shape.count; ++n) world.hold(n * shape.every);
      std::vector<int> first(shape.count);
      std::vector<int> last(shape.count);
      const int rounds = 400 * static_cast<int>(shape.count);
      for (int i = 0; i < rounds; ++i) {
        const auto chosen = world.choose(3);
        ++first[chosen.front() / shape.every];
        ++last[chosen.back() / shape.every];
      }
      // 400 expected, standard deviation 20.
      for (const auto& times : {first, last}) {
        CHECK(*std::min_element(times.begin(), times.end()) > 300);
        CHECK(*std::max_element(times.begin(), times.end()) < 500);
      }
    }
  }

  TEST_CASE("the second place does not depend on the first but for being another one") {
    for (const std::size_t every : {1UL, 16UL}) {  // bitmap and list
      constexpr std::size_t count = 40;
      World world(count * every);
      for (std::size_t n = 0; n < count; ++n) world.hold(n * every);
      std::vector<int> distance(count);
      constexpr int rounds = 400 * (count - 1);
      for (int i = 0; i < rounds; ++i) {
        const auto chosen = world.choose(2);
        ++distance[(chosen[1] / every + count - chosen[0] / every) % count];
      }
      CHECK(distance[0] == 0);
      CHECK(*std::min_element(distance.begin() + 1, distance.end()) > 300);
      CHECK(*std::max_element(distance.begin() + 1, distance.end()) < 500);
    }
  }

  TEST_CASE("of two holders the less loaded comes first, always") {
    World world(2);
    world.hold_all(2);
    world.slots.set_load(start, 0, 200);
    world.slots.set_load(start, 1, 10);
    for (int i = 0; i < 50; ++i) CHECK(world.choose(2) == std::vector<NodeSlot>{1, 0});
  }

  TEST_CASE("the busy half comes first in a quarter of the lookups, and still comes") {
    for (const std::size_t count : {20UL, 400UL}) {
      World world(count);
      world.hold_all(count);
      for (std::size_t n = 0; n < count; ++n) {
        world.slots.set_load(start, static_cast<NodeSlot>(n), n < count / 2 ? 255 : 0);
      }
      int busy = 0;
      constexpr int rounds = 4000;
      for (int i = 0; i < rounds; ++i) busy += world.choose(1).front() < count / 2 ? 1 : 0;
      CHECK(busy > rounds / 5);  // both drawn are busy: 1/4
      CHECK(busy < rounds * 3 / 10);
    }
  }

  TEST_CASE("many are wanted: one of four is busy, and those that lost come last") {
    for (const std::size_t count : {100UL, 101UL, 1000UL}) {
      CAPTURE(count);
      World world(count);
      world.hold_all(count);
      for (std::size_t n = 0; n < count; ++n) {
        world.slots.set_load(start, static_cast<NodeSlot>(n), n % 2 == 0 ? 255 : 0);
      }
      std::array<int, 4> busy{};  // of 16 places each
      constexpr int rounds = 300;
      for (int round = 0; round < rounds; ++round) {
        const auto chosen = world.choose(64);
        for (std::size_t i = 0; i < 64; ++i) busy[i / 16] += chosen[i] % 2 == 0 ? 1 : 0;
      }
      for (std::size_t i = 0; i < 3; ++i) {
        CHECK(busy[i] > rounds * 16 * 20 / 100);
        CHECK(busy[i] < rounds * 16 * 30 / 100);
      }
      CHECK((busy[3] > rounds * 16 * 50 / 100) == (count < 128));
    }
  }

  TEST_CASE("one idle holder that is known draws no herd: it comes first at most twice as often") {
    World world(100);
    world.hold_all(100);
    for (NodeSlot slot = 0; slot < 100; ++slot) world.slots.set_load(start, slot, 100);
    world.slots.set_load(start, 42, 0);
    int chosen = 0;
    constexpr int rounds = 20'000;
    for (int i = 0; i < rounds; ++i) chosen += world.choose(1).front() == 42 ? 1 : 0;
    CHECK(chosen > rounds / 100 * 3 / 2);
    CHECK(chosen < rounds / 100 * 5 / 2);
  }

  TEST_CASE("holders that are not live are neither named nor counted, however many") {
    constexpr std::size_t count = 1000;
    for (const std::size_t held : {3UL, 60UL, 400UL, 1000UL}) {
      for (const std::size_t dead_of_ten : {0UL, 1UL, 9UL, 10UL}) {
        CAPTURE(held);
        CAPTURE(dead_of_ten);
        World world(count);
        ContentIndex index(1, 10);
        const Definition definition{sha256_of(as_bytes("blob")), 1};
        std::set<NodeSlot> live;
        for (std::size_t n = 0; n < held; ++n) {
          const auto slot = static_cast<NodeSlot>(n * count / held);
          index.add(Id64{1}, slot, &definition, false);
          const bool dead = n % 10 < dead_of_ten;
          world.slots.set_live(slot, !dead);
          if (!dead) live.insert(slot);
        }
        const auto found = index.find_holders(Id64{1}, definition.digest);
        REQUIRE(found);
        CHECK(found->count() == held);
        for (const std::size_t wanted : {0UL, 1UL, 8UL, 64UL, limits::lookup_holders_max}) {
          std::vector<NodeSlot> out(wanted);
          CHECK(choose_holders(start, *found, world.slots, world.prng, out) == live.size());
          out.resize(std::min(wanted, live.size()));
          const std::set<NodeSlot> distinct(out.begin(), out.end());
          CHECK(distinct.size() == out.size());
          CHECK(std::includes(live.begin(), live.end(), distinct.begin(), distinct.end()));
        }
      }
    }
  }

  TEST_CASE("a load older than 10 s counts as the average of what was heard last") {
    World world(3);
    world.hold_all(3);
    world.slots.set_load(start, 0, 255);
    CHECK(world.slots.load(start, 0) == 255);
    CHECK(world.slots.load(start + 10s, 0) == 255);
    for (int i = 0; i < 100; ++i) world.slots.set_load(start + 8s, 1, 60);
    const auto average = world.slots.load(start + 8s, 2);  // never heard
    CHECK(average >= 55);
    CHECK(average <= 60);
    CHECK(world.slots.load(start + 12s, 0) == average);
    world.slots.release(start + 12s, 1);
    const auto again = world.slots.allocate(start + 12s + NodeSlots::quarantine, node(9));
    REQUIRE(again == NodeSlot{1});
    CHECK(world.slots.load(start + 12s + NodeSlots::quarantine, 1) == average);
  }

  TEST_CASE("a node with two slots is counted once where both hold, and found where one does") {
    World world(4);
    const auto fresh = world.slots.allocate(start, node(2));
    REQUIRE(fresh == NodeSlot{4});
    world.slots.set_load(start, 2, 9);
    world.slots.pair(2, 4);
    CHECK(world.slots.load(start, 4) == 9);
    std::vector<std::uint64_t> both{0b10110};
    world.slots.drop_doubles(both);
    CHECK(both[0] == 0b10010);
    std::vector<std::uint64_t> former{0b00110};
    world.slots.drop_doubles(former);
    CHECK(former[0] == 0b00110);
    world.slots.release(start, 2);
    both[0] = 0b10110;
    world.slots.drop_doubles(both);
    CHECK(both[0] == 0b10110);
  }

  TEST_CASE("a released slot waits 60 s for its next node") {
    World world(2);
    world.slots.release(start, 0);
    CHECK(world.slots.allocate(start + NodeSlots::quarantine - 1ns, node(7)) == NodeSlot{2});
    CHECK(world.slots.allocate(start + NodeSlots::quarantine, node(8)) == NodeSlot{0});
    CHECK(world.slots.taken() == 3);
  }
}
