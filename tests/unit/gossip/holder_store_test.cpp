// Sets of node slots in every form, against std::set.
#include "gossip/holder_store.hpp"

#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;

namespace {

std::vector<NodeSlot> all_of(const HolderStore& store, std::uint32_t set) {
  SlotWords words;
  store.expand(set, words);
  std::vector<NodeSlot> out;
  for_each_slot(words, [&](NodeSlot slot) { out.push_back(slot); });
  return out;
}

std::vector<NodeSlot> listed(const HolderStore& store, std::uint32_t set,
                             std::span<const std::uint64_t> mask) {
  std::vector<NodeSlot> out(store.count(set) + 1);
  out.resize(store.list(set, mask, out));
  return out;
}

std::vector<NodeSlot> to_vector(const std::set<NodeSlot>& set) { return {set.begin(), set.end()}; }

/// Bytes beyond those of an empty store.
std::size_t bytes_of(const HolderStore& store) {
  return store.memory_bytes() - HolderStore().memory_bytes();
}

}  // namespace

TEST_SUITE("gossip/holder_store") {
  TEST_CASE("behaves as a set in every form, for sparse and dense slots") {
    for (const std::uint64_t range : {4ULL, 100ULL, 300ULL, 1000ULL, 65'536ULL}) {
      CAPTURE(range);
      Prng prng(range);
      HolderStore store;
      store.push_back();
      std::set<NodeSlot> model;
      for (int step = 0; step < 4000; ++step) {
        const auto slot = static_cast<NodeSlot>(prng.below(range));
        // First it grows, later it shrinks.
        if (prng.chance(step < 2000 ? 0.7 : 0.2)) {
          CHECK(store.insert(0, slot) == model.insert(slot).second);
        } else {
          CHECK(store.erase(0, slot) == (model.erase(slot) == 1));
        }
        REQUIRE(store.count(0) == model.size());
        REQUIRE(store.contains(0, slot) == model.contains(slot));
      }
      CHECK(all_of(store, 0) == to_vector(model));
      store.check_invariants();
      for (const NodeSlot slot : std::set(model)) CHECK(store.erase(0, slot));
      CHECK(store.empty(0));
      store.check_invariants();
    }
  }

  TEST_CASE("a list names what the bitmap has under the same mask, also under a short one") {
    for (const std::uint64_t range : {4ULL, 100ULL, 300ULL, 1000ULL, 65'536ULL}) {
      for (const std::size_t count : {0UL, 3UL, 5UL, 40UL, 900UL}) {
        CAPTURE(range);
        CAPTURE(count);
        Prng prng(range + count);
        HolderStore store;
        store.push_back();
        for (std::size_t i = 0; i < count; ++i) {
          store.insert(0, static_cast<NodeSlot>(prng.below(range)));
        }
        const std::vector<NodeSlot> all = all_of(store, 0);
        for (const std::size_t words : {0UL, 1UL, 3UL, 5UL, 1024UL}) {
          std::vector<std::uint64_t> mask(words);
          for (auto& word : mask) word = prng.next() | prng.next();
          std::vector<NodeSlot> live;
          for (const NodeSlot slot : all) {
            if (has_slot(mask, slot)) live.push_back(slot);
          }
          CHECK(listed(store, 0, mask) == live);
        }
      }
    }
  }

  TEST_CASE("every slot at once, and none again") {
    HolderStore store;
    store.push_back();
    for (std::size_t slot = 0; slot < slots_max; ++slot) {
      REQUIRE(store.insert(0, static_cast<NodeSlot>(slot)));
    }
    CHECK(store.count(0) == slots_max);
    CHECK_FALSE(store.insert(0, 65'535));
    store.check_invariants();
    for (std::size_t slot = slots_max; slot > 0; --slot) {
      REQUIRE(store.erase(0, static_cast<NodeSlot>(slot - 1)));
    }
    CHECK(store.empty(0));
    store.check_invariants();
  }

  TEST_CASE("sets that grow and shrink side by side keep to themselves") {
    HolderStore store;
    std::vector<std::set<NodeSlot>> model(50);
    for (std::size_t i = 0; i < model.size(); ++i) store.push_back();
    Prng prng(3);
    for (int step = 0; step < 40'000; ++step) {
      const auto set = static_cast<std::uint32_t>(prng.below(model.size()));
      const auto slot = static_cast<NodeSlot>(prng.below(700));
      if (prng.chance(step % 10'000 < 6'000 ? 0.8 : 0.1)) {
        CHECK(store.insert(set, slot) == model[set].insert(slot).second);
      } else {
        CHECK(store.erase(set, slot) == (model[set].erase(slot) == 1));
      }
    }
    store.check_invariants();
    std::map<std::uint32_t, std::size_t> found;
    const std::vector<NodeSlot> asked{5, 699};
    store.for_each_with(asked, [&](std::uint32_t set, std::size_t i) {
      CHECK(model[set].contains(asked[i]));
      ++found[set];
    });
    for (std::uint32_t set = 0; set < model.size(); ++set) {
      CHECK(all_of(store, set) == to_vector(model[set]));
      CHECK(found[set] == model[set].count(5) + model[set].count(699));
    }
  }

  TEST_CASE("four holders need no block, a hundred a byte each, all of a thousand a bit each") {
    HolderStore store;
    constexpr std::size_t sets = 16'384;
    for (std::uint32_t set = 0; set < sets; ++set) {
      store.push_back();
      for (NodeSlot slot = 0; slot < 4; ++slot)
        store.insert(set, static_cast<NodeSlot>(slot * 250));
    }
    const std::size_t small = bytes_of(store);
    CHECK(small <= sets * 11);
    for (std::uint32_t set = 0; set < sets; ++set) {
      for (std::size_t i = 0; i < 96; ++i) store.insert(set, static_cast<NodeSlot>(i * 10 + 1));
    }
    const std::size_t hundred = bytes_of(store);
    // Two bytes of length, four of owner, up to an eighth of room; a chunk per size and 8 spare
    // ones.
    constexpr std::size_t chunks = 30 * BlockPool::chunk_bytes;
    CHECK(hundred - small <= sets * 125 + chunks);
    for (std::uint32_t set = 0; set < sets; ++set) {
      for (NodeSlot slot = 0; slot < 1000; ++slot) store.insert(set, slot);
    }
    CHECK(bytes_of(store) - small <= sets * 155 + chunks);
    store.check_invariants();
  }

  TEST_CASE("what sets leave when they grow in step is used by their next size") {
    HolderStore store;
    constexpr std::uint32_t sets = 16'384;
    for (std::uint32_t set = 0; set < sets; ++set) store.push_back();
    for (NodeSlot slot = 0; slot < 120; ++slot) {
      for (std::uint32_t set = 0; set < sets; ++set) {
        store.insert(set, static_cast<NodeSlot>(slot * 8 + set % 8));
      }
    }
    CHECK(bytes_of(store) <= sets * (10 + 152) + 30 * BlockPool::chunk_bytes);
  }

  TEST_CASE("words that end early leave slots out") {
    HolderStore store;
    store.push_back();
    for (const NodeSlot slot : {1, 2, 63, 64, 127, 128, 200, 500, 501, 502}) store.insert(0, slot);
    std::array<std::uint64_t, 2> words{};
    store.expand(0, words);
    CHECK(words[0] == (1ULL << 63U | 0b110));
    CHECK(words[1] == (1ULL << 63U | 1));
  }

  TEST_CASE("many slots at once are as one after the other") {
    for (const std::uint64_t range : {5ULL, 60ULL, 300ULL, 1000ULL, 8000ULL}) {
      CAPTURE(range);
      Prng prng(range);
      HolderStore store;
      std::vector<std::set<NodeSlot>> model(8);
      for (std::size_t i = 0; i < model.size(); ++i) store.push_back();
      for (int step = 0; step < 1000; ++step) {
        const auto set = static_cast<std::uint32_t>(prng.below(model.size()));
        SlotWords words{};
        std::set<NodeSlot> many;
        for (std::uint64_t i = prng.below(range) + 1; i > 0; --i) {
          const auto slot = static_cast<NodeSlot>(prng.below(range));
          many.insert(slot);
          words[slot / 64U] |= std::uint64_t{1} << (slot % 64U);
        }
        const std::size_t before = model[set].size();
        const auto bits = std::span(words).first(*many.rbegin() / 64U + 1U);
        if (prng.chance(0.5)) {
          model[set].insert(many.begin(), many.end());
          REQUIRE(store.insert_all(set, bits) == model[set].size() - before);
        } else {
          for (const NodeSlot slot : many) model[set].erase(slot);
          REQUIRE(store.erase_all(set, bits) == before - model[set].size());
        }
        const auto slot = static_cast<NodeSlot>(prng.below(range));  // and single ones between
        REQUIRE(store.insert(set, slot) == model[set].insert(slot).second);
        REQUIRE(store.count(set) == model[set].size());
        REQUIRE(all_of(store, set) == to_vector(model[set]));
      }
      store.check_invariants();
    }
  }
}
