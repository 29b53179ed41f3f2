// Which bytes a reader gets before the digest is proven.
#include "node/early_bytes.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using node::early_until;
using node::EarlyRule;

namespace {
constexpr std::uint64_t chunk = 256 * limits::KiB;
constexpr std::uint64_t size = 10 * chunk + 1000;
const BlobLayout layout(size);
constexpr std::uint64_t held_from = size - 64 * limits::KiB;
}  // namespace

TEST_SUITE("node/early_bytes") {
  TEST_CASE("a whole body lacks its last 64 KiB until it is proven") {
    const Bitfield everything(11, true);
    for (const std::uint64_t offset : {std::uint64_t{0}, 3 * chunk + 5, held_from - 1}) {
      CHECK(early_until(layout, everything, offset, EarlyRule::all_but_tail) == held_from);
      CHECK(early_until(layout, everything, offset, EarlyRule::all) == size);
    }
    for (const std::uint64_t offset : {held_from, size - 1, size}) {
      CHECK(early_until(layout, everything, offset, EarlyRule::all_but_tail) == offset);
    }
  }

  TEST_CASE("a small body is held whole") {
    const BlobLayout small(1000);
    CHECK(early_until(small, Bitfield(1, true), 0, EarlyRule::all_but_tail) == 0);
    CHECK(early_until(small, Bitfield(1, true), 0, EarlyRule::all) == 1000);
    CHECK(early_until(BlobLayout(0), Bitfield(1, true), 0, EarlyRule::all_but_tail) == 0);
  }

  TEST_CASE("only what is here from the reader on") {
    Bitfield some(11);
    for (const std::size_t i : {0U, 1U, 3U}) some.set(i);
    CHECK(early_until(layout, some, 10, EarlyRule::all) == 2 * chunk);
    CHECK(early_until(layout, some, 10, EarlyRule::all_but_tail) == 2 * chunk);
    CHECK(early_until(layout, some, 2 * chunk, EarlyRule::all) == 2 * chunk);
    CHECK(early_until(layout, some, 3 * chunk, EarlyRule::all) == 4 * chunk);
  }

  TEST_CASE("nothing of a tainted digest") {
    CHECK(early_until(layout, Bitfield(11, true), 10, EarlyRule::nothing) == 10);
  }
}
