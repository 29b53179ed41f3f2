// Who goes when room is needed, in which order, and who never does.
#include "cache/eviction.hpp"

#include "base/blob_layout.hpp"
#include "base/prng.hpp"
#include "result_strings.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

using namespace waggle;
using namespace waggle::cache;

namespace {

Digest digest_of(std::uint64_t number) { return sha256_of(as_bytes(std::to_string(number))); }
TimePoint at(std::uint64_t seconds) { return TimePoint(std::chrono::seconds(seconds)); }
const KeeperTest nobody = [](const Digest&) { return false; };
constexpr std::uint64_t plenty = std::uint64_t{1} << 50U;

/// Blobs 1..count of 100 bytes each; blob n was used at second n.
Catalog catalog_of(std::uint64_t count, std::uint64_t quota) {
  Catalog catalog(quota);
  for (std::uint64_t i = 1; i <= count; ++i) catalog.add_blob(digest_of(i), 100, at(i));
  return catalog;
}

std::vector<Digest> digests(const RoomDecision& decision) {
  std::vector<Digest> digests;
  for (const auto& victim : decision.victims) digests.push_back(victim.copy.digest);
  return digests;
}

}  // namespace

TEST_SUITE("cache/eviction") {
  TEST_CASE("with room nobody goes; without, the oldest and no more than needed") {
    const Catalog catalog = catalog_of(5, 600);
    const Eviction eviction({.min_free_bytes = 0});
    CHECK(eviction.make_room(catalog, 100, plenty, nobody).possible);
    CHECK(eviction.make_room(catalog, 100, plenty, nobody).victims.empty());
    CHECK(digests(eviction.make_room(catalog, 101, plenty, nobody)) == std::vector{digest_of(1)});
    CHECK(digests(eviction.make_room(catalog, 300, plenty, nobody)) ==
          std::vector{digest_of(1), digest_of(2)});
  }

  TEST_CASE("a use moves a blob to the end of the order") {
    Catalog catalog = catalog_of(3, 300);
    catalog.touch(at(9), digest_of(1));
    CHECK(digests(Eviction({}).make_room(catalog, 200, plenty, nobody)) ==
          std::vector{digest_of(2), digest_of(3)});
  }

  TEST_CASE("minimum free space counts what downloads under way will still write") {
    Catalog catalog = catalog_of(3, 10'000);
    const Eviction eviction({.min_free_bytes = 1000});
    CHECK(eviction.make_room(catalog, 500, 1500, nobody).victims.empty());
    CHECK(digests(eviction.make_room(catalog, 500, 1499, nobody)) == std::vector{digest_of(1)});
    REQUIRE(catalog.begin(at(9), digest_of(9), "o", 150));
    CHECK(digests(eviction.make_room(catalog, 500, 1500, nobody)) ==
          std::vector{digest_of(1), digest_of(2)});
  }

  TEST_CASE("what is open, downloading or pinned never goes, and then there may be no room") {
    Catalog catalog = catalog_of(3, 400);
    REQUIRE(catalog.begin(at(4), digest_of(4), "o", 100));
    catalog.chunk_stored(at(4), digest_of(4), "o", ChunkIndex{0});
    catalog.set_pinned(digest_of(1), true);
    REQUIRE(catalog.retain(at(2), digest_of(2)));
    const Eviction eviction({});
    CHECK(digests(eviction.make_room(catalog, 100, plenty, nobody)) == std::vector{digest_of(3)});
    const auto refused = eviction.make_room(catalog, 101, plenty, nobody);
    CHECK_FALSE(refused.possible);
    CHECK(refused.victims.empty());
    catalog.release(at(2), digest_of(2));
    CHECK(digests(eviction.make_room(catalog, 101, plenty, nobody)) ==
          std::vector{digest_of(2), digest_of(3)});
  }

  TEST_CASE("an idle partial goes in its turn, unless it is the one to be resumed") {
    Catalog catalog(1000);
    Bitfield held(1);
    held.set(0);
    catalog.add_partial(digest_of(1), "o", 400, held, at(1));
    catalog.add_blob(digest_of(2), 400, at(2));
    const CopyKey partial{digest_of(1), "o"};
    const auto decision = Eviction({}).make_room(catalog, 300, plenty, nobody);
    REQUIRE(decision.victims.size() == 1);
    CHECK(decision.victims[0] == Victim{.copy = partial, .bytes = 400, .keeper = false});
    CHECK(digests(Eviction({}).make_room(catalog, 300, plenty, nobody, &partial)) ==
          std::vector{digest_of(2)});
  }

  TEST_CASE("copies another store has go first, keepers last and marked") {
    Catalog catalog = catalog_of(4, 400);
    catalog.set_redundant(digest_of(4), true);
    const KeeperTest keeps = [](const Digest& digest) {
      return digest == digest_of(1) || digest == digest_of(4);
    };
    const auto decision = Eviction({}).make_room(catalog, 400, plenty, keeps);
    REQUIRE(decision.possible);
    CHECK(digests(decision) == std::vector{digest_of(4), digest_of(2), digest_of(3), digest_of(1)});
    CHECK_FALSE(decision.victims[0].keeper);  // it lies here twice
    CHECK(decision.victims[3].keeper);
  }

  TEST_CASE("upkeep names what it can even when that is not enough") {
    Catalog catalog = catalog_of(3, 300);
    catalog.set_pinned(digest_of(1), true);
    const Eviction eviction({.min_free_bytes = 1000});
    const auto decision = eviction.relieve(catalog, 700, nobody);
    CHECK_FALSE(decision.possible);
    CHECK(digests(decision) == std::vector{digest_of(2), digest_of(3)});
    CHECK(eviction.relieve(catalog, 1000, nobody).victims.empty());
    catalog.set_quota_bytes(250);
    CHECK(digests(eviction.relieve(catalog, 1000, nobody)) == std::vector{digest_of(2)});
  }

  TEST_CASE("a limit as large as the type does not overflow") {
    const Catalog catalog = catalog_of(1, 100);
    CHECK_FALSE(Eviction({.min_free_bytes = UINT64_MAX}).make_room(catalog, 1, plenty, nobody).possible);
  }

  TEST_CASE("on random catalogs the victims free enough, spare everyone protected, and are needed to the last") {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      CAPTURE(seed);
      Prng prng(seed);
      Catalog catalog(3000);
      std::set<Digest> protected_digests;
      for (std::uint64_t i = 0; i < 12; ++i) {
        catalog.add_blob(digest_of(i), prng.below(300), at(prng.below(6)));
        if (prng.chance(0.2)) catalog.set_pinned(digest_of(i), true);
        if (prng.chance(0.2)) catalog.retain(at(7), digest_of(i));
        if (catalog.find_blob(digest_of(i))->users > 0 || catalog.find_blob(digest_of(i))->pinned) {
          protected_digests.insert(digest_of(i));
        }
      }
      const std::uint64_t wanted = prng.below(3000);
      const auto decision = Eviction({}).make_room(catalog, wanted, plenty, nobody);
      const std::uint64_t before = catalog.bytes();
      for (const auto& victim : decision.victims) {
        REQUIRE_FALSE(protected_digests.contains(victim.copy.digest));
        REQUIRE(before + wanted > 3000);
        REQUIRE(catalog.bytes() + wanted > 3000);  // still short before this one goes
        REQUIRE(catalog.erase(victim.copy));
      }
      if (decision.possible) {
        REQUIRE(catalog.bytes() + wanted <= 3000);
      } else {
        std::uint64_t stuck = 0;
        for (const auto& digest : protected_digests) stuck += catalog.find_blob(digest)->size;
        REQUIRE(stuck + wanted > 3000);
      }
    }
  }
}
