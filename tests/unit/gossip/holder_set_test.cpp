// The three forms of a holder set against std::set.
#include "gossip/holder_set.hpp"

#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <set>
#include <utility>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;

namespace {

std::vector<NodeSlot> all_of(const HolderSet& set) {
  std::vector<NodeSlot> out;
  set.for_each([&](NodeSlot slot) { out.push_back(slot); });
  return out;
}

}  // namespace

TEST_SUITE("gossip/holder_set") {
  TEST_CASE("behaves as a set in every form, for sparse and dense slots") {
    for (const std::uint64_t range : {4ULL, 100ULL, 1000ULL, 65'536ULL}) {
      Prng prng(range);
      HolderSet set;
      std::set<NodeSlot> model;
      for (int step = 0; step < 4000; ++step) {
        const auto slot = static_cast<NodeSlot>(prng.below(range));
        // First it grows, later it shrinks.
        if (prng.chance(step < 2000 ? 0.7 : 0.2)) {
          CHECK(set.insert(slot) == model.insert(slot).second);
        } else {
          CHECK(set.erase(slot) == (model.erase(slot) == 1));
        }
        REQUIRE(set.size() == model.size());
      }
      CHECK(all_of(set) == std::vector<NodeSlot>(model.begin(), model.end()));
      for (const NodeSlot slot : model) CHECK(set.erase(slot));
      CHECK(set.empty());
      CHECK(set.heap_bytes() == 0);
    }
  }

  TEST_CASE("four holders need no heap, a thousand of a thousand take a bit each") {
    HolderSet set;
    for (NodeSlot slot = 0; slot < 4; ++slot) set.insert(static_cast<NodeSlot>(slot * 1000));
    CHECK(set.heap_bytes() == 0);
    CHECK(sizeof(set) == 16);
    HolderSet dense;
    for (NodeSlot slot = 0; slot < 1000; ++slot) dense.insert(slot);
    CHECK(dense.heap_bytes() <= 128);
  }

  TEST_CASE("the mask hides slots in every form") {
    const std::vector<std::uint64_t> mask{0b1010, 1};
    HolderSet set;
    set.insert(1);
    set.insert(2);
    set.insert(3);
    set.insert(500);
    const auto visible = [&] {
      std::vector<NodeSlot> out;
      set.for_each_in(mask, [&](NodeSlot slot) { out.push_back(slot); });
      return out;
    };
    CHECK(visible() == std::vector<NodeSlot>{1, 3});
    for (NodeSlot slot = 64; slot < 400; ++slot) set.insert(slot);
    CHECK(visible() == std::vector<NodeSlot>{1, 3, 64});
    HolderSet moved = std::move(set);
    CHECK(moved.size() == 340);
    CHECK(set.empty());
  }
}
