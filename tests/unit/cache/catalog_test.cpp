// The catalog's bookkeeping: bytes, reservations, users.
#include "cache/catalog.hpp"

#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "base/prng.hpp"
#include "result_strings.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace waggle;
using namespace waggle::cache;
using namespace std::chrono_literals;

namespace {

Digest digest_of(std::uint64_t number) { return sha256_of(as_bytes(std::to_string(number))); }
TimePoint at(int seconds) { return TimePoint(std::chrono::seconds(seconds)); }
constexpr std::uint64_t MiB = limits::MiB;

}  // namespace

TEST_SUITE("cache/catalog") {
  TEST_CASE("a download reserves its size, moves it chunk by chunk, and becomes a blob") {
    Catalog catalog(10 * MiB);
    REQUIRE(catalog.begin(at(1), digest_of(1), "o", 2 * MiB));
    CHECK(catalog.reserved() == 2 * MiB);
    CHECK(catalog.bytes() == 0);
    for (std::uint32_t i = 0; i < 8; ++i) {
      catalog.chunk_stored(at(2), digest_of(1), "o", ChunkIndex{i});
      catalog.chunk_stored(at(2), digest_of(1), "o", ChunkIndex{i});  // again: nothing changes
      CHECK(catalog.bytes() == (i + 1) * 256 * limits::KiB);
      catalog.check_invariants();
    }
    catalog.commit(at(3), digest_of(1), "o");
    CHECK(catalog.bytes() == 2 * MiB);
    CHECK(catalog.reserved() == 0);
    CHECK(catalog.find_partial(digest_of(1), "o") == nullptr);
    REQUIRE(catalog.find_blob(digest_of(1)) != nullptr);
    CHECK(catalog.find_blob(digest_of(1))->last_use == at(3));
    CHECK(catalog.begin(at(4), digest_of(1), "o", 2 * MiB).error() == CacheError::already_stored);
    catalog.check_invariants();
  }

  TEST_CASE("concurrent downloads cannot promise more than the quota together") {
    Catalog catalog(5 * MiB);
    CHECK(catalog.begin(at(1), digest_of(1), "o", 2 * MiB));
    CHECK(catalog.begin(at(1), digest_of(2), "o", 2 * MiB));
    CHECK(catalog.begin(at(1), digest_of(3), "o", 2 * MiB).error() == CacheError::limit_exceeded);
    CHECK(catalog.begin(at(1), digest_of(3), "o", 1 * MiB));
    CHECK(catalog.begin(at(1), digest_of(4), "o", 1).error() == CacheError::limit_exceeded);
    catalog.end(at(2), digest_of(1), "o");
    CHECK(catalog.begin(at(2), digest_of(4), "o", 1));
    catalog.check_invariants();
  }

  TEST_CASE("quota to the byte, sizes to the limit, no overflow on the way") {
    Catalog catalog(MiB);
    CHECK(catalog.begin(at(1), digest_of(1), "o", MiB + 1).error() == CacheError::limit_exceeded);
    CHECK(catalog.begin(at(1), digest_of(1), "o", MiB));
    catalog.set_quota_bytes(10);
    CHECK(catalog.begin(at(1), digest_of(2), "o", 0).error() == CacheError::limit_exceeded);
    Catalog large(UINT64_MAX);
    CHECK(large.begin(at(1), digest_of(1), "o", limits::blob_bytes_max + 1).error() == CacheError::invalid);
    CHECK(large.begin(at(1), digest_of(1), "o", limits::blob_bytes_max));
  }

  TEST_CASE("a paused partial keeps its chunks and reserves only the rest when it resumes") {
    Catalog catalog(2 * MiB);
    REQUIRE(catalog.begin(at(1), digest_of(1), "o", 2 * MiB));
    CHECK(catalog.begin(at(1), digest_of(1), "o", 2 * MiB).error() == CacheError::busy);
    catalog.chunk_stored(at(1), digest_of(1), "o", ChunkIndex{0});
    catalog.end(at(2), digest_of(1), "o");
    catalog.end(at(2), digest_of(1), "o");
    CHECK(catalog.reserved() == 0);
    CHECK(catalog.bytes() == 256 * limits::KiB);
    REQUIRE(catalog.begin(at(3), digest_of(1), "o", 2 * MiB));
    CHECK(catalog.reserved() == 2 * MiB - 256 * limits::KiB);
    catalog.chunk_dropped(digest_of(1), "o", ChunkIndex{0});
    CHECK(catalog.reserved() == 2 * MiB);
    catalog.check_invariants();
  }

  TEST_CASE("a partial that turns out to have another size starts anew") {
    Catalog catalog(4 * MiB);
    Bitfield held(8);
    held.set(1);
    catalog.add_partial(digest_of(1), "o", 2 * MiB, held, at(1));
    CHECK(catalog.bytes() == 256 * limits::KiB);
    REQUIRE(catalog.begin(at(2), digest_of(1), "o", 3 * MiB));
    CHECK(catalog.bytes() == 0);
    CHECK(catalog.reserved() == 3 * MiB);
    CHECK(catalog.find_partial(digest_of(1), "o")->held.size() == BlobLayout(3 * MiB).chunk_count());
    catalog.check_invariants();
  }

  TEST_CASE("partials of two origins are two copies until one is complete, and one blob after both are") {
    Catalog catalog(4 * MiB);
    for (const auto* origin : {"a", "b"}) {
      REQUIRE(catalog.begin(at(1), digest_of(1), origin, 100));
      catalog.chunk_stored(at(1), digest_of(1), origin, ChunkIndex{0});
    }
    CHECK(catalog.bytes() == 200);
    catalog.commit(at(2), digest_of(1), "a");
    REQUIRE(catalog.retain(at(2), digest_of(1)));
    catalog.commit(at(3), digest_of(1), "b", true);
    CHECK(catalog.bytes() == 100);
    CHECK(catalog.find_blob(digest_of(1))->users == 1);
    CHECK(catalog.find_blob(digest_of(1))->pinned);
    catalog.check_invariants();
  }

  TEST_CASE("what is not there is said so") {
    Catalog catalog(MiB);
    CHECK_FALSE(catalog.retain(at(1), digest_of(1)));
    CHECK_FALSE(catalog.touch(at(1), digest_of(1)));
    CHECK_FALSE(catalog.set_pinned(digest_of(1), true));
    CHECK_FALSE(catalog.set_redundant(digest_of(1), true));
    CHECK_FALSE(catalog.erase({digest_of(1), std::nullopt}));
    catalog.end(at(1), digest_of(1), "o");
    catalog.release(at(1), digest_of(1));
  }

  TEST_CASE("any sequence of calls keeps the sums right and the promise below the quota") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      CAPTURE(seed);
      Prng prng(seed);
      Catalog catalog(6 * MiB);
      for (int step = 0; step < 400; ++step) {
        const Digest digest = digest_of(prng.below(6));
        const std::string origin = prng.chance(0.5) ? "a" : "b";
        const TimePoint now = at(step);
        const CopyEntry* partial = catalog.find_partial(digest, origin);
        const bool begun = partial != nullptr && partial->users > 0;
        switch (prng.below(8)) {
          case 0: static_cast<void>(catalog.begin(now, digest, origin, prng.below(3) * MiB)); break;
          case 1: catalog.end(now, digest, origin); break;
          case 2:
          case 3:
            if (begun) {
              const auto count = partial->held.size();
              catalog.chunk_stored(now, digest, origin, ChunkIndex{static_cast<std::uint32_t>(prng.below(count))});
            }
            break;
          case 4:
            if (begun) catalog.chunk_dropped(digest, origin, ChunkIndex{0});
            break;
          case 5:
            if (begun && partial->held.all()) catalog.commit(now, digest, origin);
            break;
          case 6: catalog.touch(now, digest); break;
          default:
            if (prng.chance(0.2)) catalog.erase({digest, std::nullopt});
        }
        catalog.check_invariants();
        REQUIRE(catalog.bytes() + catalog.reserved() <= catalog.quota_bytes());
      }
    }
  }
}
