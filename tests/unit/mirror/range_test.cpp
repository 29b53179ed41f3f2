// Byte ranges: the examples of RFC 9110 section 14 and the OCI conformance suite's.
#include "mirror/range.hpp"

#include <doctest/doctest.h>

using namespace waggle::mirror;

namespace {

/// "first-last" of what `header` selects in a blob of `size`; "whole" and "416" otherwise.
std::string selected(std::string_view header, std::uint64_t size) {
  const auto spec = parse_range(header);
  if (!spec) return "whole";
  const auto range = resolve_range(*spec, size);
  if (!range) return "416";
  return std::to_string(range->first) + "-" + std::to_string(range->last);
}

}  // namespace

TEST_SUITE("mirror/range") {
  TEST_CASE("RFC 9110's examples for a representation of 10000 bytes") {
    CHECK(selected("bytes=0-499", 10'000) == "0-499");
    CHECK(selected("bytes=500-999", 10'000) == "500-999");
    CHECK(selected("bytes=-500", 10'000) == "9500-9999");
    CHECK(selected("bytes=9500-", 10'000) == "9500-9999");
    CHECK(selected("bytes=0-0", 10'000) == "0-0");
    CHECK(selected("bytes=0-0,-1", 10'000) == "whole");
    CHECK(selected("bytes= 0-999, 4500-5499, -1000", 10'000) == "whole");
  }

  TEST_CASE("ranges are clamped to the blob and refused behind its end") {
    CHECK(selected("bytes=2000-5000", 4000) == "2000-3999");
    CHECK(selected("bytes=3999-", 4000) == "3999-3999");
    CHECK(selected("bytes=4000-", 4000) == "416");
    CHECK(selected("bytes=5000-10000", 4000) == "416");
    CHECK(selected("bytes=-5000", 4000) == "0-3999");
    CHECK(selected("bytes=-0", 4000) == "416");
    CHECK(selected("bytes=0-", 0) == "416");
    CHECK(selected("bytes=-1", 0) == "416");
  }

  TEST_CASE("numbers beyond 64 bits lie behind every end") {
    CHECK(selected("bytes=0-99999999999999999999999", 10) == "0-9");
    CHECK(selected("bytes=99999999999999999999999-", 10) == "416");
    CHECK(selected("bytes=-99999999999999999999999", 10) == "0-9");
    CHECK(selected("bytes=18446744073709551615-18446744073709551615", 10) == "416");
  }

  TEST_CASE("malformed headers, other units and several ranges are as if absent") {
    for (const char* header :
         {"", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=500-0", "bytes=1", "bytes 0-1",
          "bytes=0-1-2", "bytes=+0-1", "bytes=0x0-1", "lines=0-1", "bytes=0- 5", "bytes=0-1;",
          "bytes=0-1,x", "bytess=0-1"}) {
      CAPTURE(header);
      CHECK_FALSE(parse_range(header).has_value());
    }
  }

  TEST_CASE("the unit is case-insensitive, white space and empty list elements are ignored") {
    CHECK(selected("Bytes=0-1", 10) == "0-1");
    CHECK(selected("  bytes=0-1 ", 10) == "0-1");
    CHECK(selected("bytes=,0-1 ,", 10) == "0-1");
  }

  TEST_CASE("a spec survives its text") {
    for (const char* text : {"bytes=0-99", "bytes=8388608-", "bytes=-500"}) {
      CHECK(parse_range(text).value().to_string() == text);
    }
  }

  TEST_CASE("Content-Range both ways") {
    CHECK(content_range_text({42, 1233}, 1234) == "bytes 42-1233/1234");
    CHECK(unsatisfied_range_text(1234) == "bytes */1234");
    CHECK(parse_content_range("bytes 42-1233/1234") == ContentRange{ByteRange{42, 1233}, 1234});
    CHECK(parse_content_range("bytes 42-1233/*") ==
          ContentRange{ByteRange{42, 1233}, std::nullopt});
    CHECK(parse_content_range("bytes */1234") == ContentRange{std::nullopt, 1234});
    for (const char* text : {"", "bytes", "bytes 0-1", "bytes */*", "bytes 5-4/10", "bytes 0-10/10",
                             "items 0-1/2", "bytes 0-1/x", "bytes -1/2", "bytes=0-1/2"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_content_range(text).has_value());
    }
  }
}
