// Lengths of upstream answers that agree or don't, and bodies that trickle.
#include "mirror/upstream_body.hpp"

#include "mirror/error.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;
using namespace std::chrono_literals;

namespace {

Result<UpstreamBody> read206(std::optional<std::uint64_t> length, const char* range) {
  return read_upstream_body(206, length, parse_content_range(range), {100, 299});
}

}  // namespace

TEST_SUITE("mirror/upstream_body") {
  TEST_CASE("a 200 is the whole from byte 0, with or without a length") {
    const auto whole = read_upstream_body(200, 1000, std::nullopt, {100, 299}).value();
    CHECK(whole.whole);
    CHECK(whole.total == 1000U);
    CHECK(whole.first == 0);
    CHECK_FALSE(read_upstream_body(200, std::nullopt, std::nullopt, {0, 9}).value().total);
  }

  TEST_CASE("a 206 is what was asked, or less of it") {
    const auto part = read206(200, "bytes 100-299/1000").value();
    CHECK_FALSE(part.whole);
    CHECK(part.total == 1000U);
    CHECK(part.first == 100);
    CHECK(read206(50, "bytes 100-149/1000").value().total == 1000U);
    CHECK(read206(std::nullopt, "bytes 100-299/1000").has_value());
    CHECK_FALSE(read206(200, "bytes 100-299/*").value().total);
  }

  TEST_CASE("a wrong length is refused: the body's, the range's start, its end, or none at all") {
    for (const auto& answer :
         {read206(199, "bytes 100-299/1000"), read206(201, "bytes 100-299/1000"),
          read206(200, "bytes 0-199/1000"), read206(201, "bytes 100-300/1000"), read206(200, ""),
          read206(200, "bytes */1000")}) {
      CHECK(answer.error() == MirrorError::protocol);
    }
  }

  TEST_CASE("a 416 tells the size alone") {
    const auto empty = read_upstream_body(416, 0, parse_content_range("bytes */0"), {0, 99});
    CHECK(empty.value().total == 0U);
    CHECK(read_upstream_body(416, 0, std::nullopt, {0, 99}).error() == MirrorError::protocol);
  }

  TEST_CASE("a body is too slow when a gap's worth of waiting brought too little, not before") {
    const Duration step = limits::upstream_body_gap / 5;
    RateFloor floor;
    for (int i = 0; i < 4; ++i) CHECK_FALSE(floor.too_slow(step, 1000));
    CHECK(floor.too_slow(step, 1000));
    RateFloor steady;
    for (int i = 0; i < 40; ++i)
      CHECK_FALSE(steady.too_slow(step, limits::upstream_rate_bytes_min / 5));
    RateFloor bursty;
    CHECK_FALSE(bursty.too_slow(0s, limits::upstream_rate_bytes_min));
    CHECK(bursty.too_slow(limits::upstream_body_gap, 1));  // a burst excuses nothing after it
  }
}
