// Once per counter, in any order within the window. Cases as in RFC 6479 and WireGuard's counter
// self-test.
#include "gossip/replay_window.hpp"

#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <set>

using waggle::gossip::ReplayWindow;

TEST_SUITE("gossip/replay_window") {
  TEST_CASE("each counter passes once, out of order too") {
    ReplayWindow window;
    for (const std::uint64_t counter : {0, 1, 9, 8, 7, 64, 63, 2000}) CHECK(window.accept(counter));
    for (const std::uint64_t counter : {0, 1, 9, 8, 7, 64, 63, 2000})
      CHECK_FALSE(window.accept(counter));
    CHECK(window.accept(16));
  }

  TEST_CASE("the edge of the window is accepted, one behind it refused") {
    ReplayWindow window;
    CHECK(window.accept(10'000));
    CHECK(window.accept(10'000 - ReplayWindow::span));
    CHECK_FALSE(window.accept(10'000 - ReplayWindow::span - 1));
  }

  TEST_CASE("a jump far ahead clears the window, the highest counter works") {
    ReplayWindow window;
    CHECK(window.accept(5));
    CHECK(window.accept(1ULL << 40U));
    CHECK_FALSE(window.accept(5));
    CHECK(window.accept((1ULL << 40U) - 1));
    CHECK(window.accept(UINT64_MAX));
    CHECK_FALSE(window.accept(UINT64_MAX));
  }

  TEST_CASE("random order agrees with a plain set") {
    waggle::Prng prng(3);
    ReplayWindow window;
    std::set<std::uint64_t> seen;
    std::uint64_t newest = 0;
    for (int i = 0; i < 20'000; ++i) {
      const std::uint64_t counter = static_cast<std::uint64_t>(i) / 2 + prng.below(3000);
      const bool in_span = counter + ReplayWindow::span >= newest;
      const bool is_new = in_span && seen.insert(counter).second;
      CHECK(window.accept(counter) == is_new);
      newest = std::max(newest, counter);
    }
  }

  TEST_CASE("a window that begins after a counter knows all up to it") {
    for (const std::uint64_t counter : {0U, 1U, 62U, 63U, 64U, 5000U}) {
      CAPTURE(counter);
      ReplayWindow window;
      window.begin_after(counter);
      for (std::uint64_t old = counter > 3000 ? counter - 3000 : 0; old <= counter; ++old) {
        CHECK_FALSE(window.accept(old));
      }
      CHECK(window.accept(counter + 1));
      CHECK_FALSE(window.accept(counter + 1));
      CHECK(window.accept(counter + 130));
      CHECK(window.accept(counter + 70));
      CHECK_FALSE(window.accept(counter));
    }
  }
}
