// Numbers and tables as people read them.
#include "cli/table.hpp"

#include <doctest/doctest.h>

using namespace waggle::cli;

TEST_SUITE("cli/table") {
  TEST_CASE("bytes and durations") {
    CHECK(format_bytes(0) == "0 B");
    CHECK(format_bytes(1023) == "1023 B");
    CHECK(format_bytes(1536) == "1.5 KiB");
    CHECK(format_bytes(std::uint64_t{5} << 40U) == "5.0 TiB");
    CHECK(format_seconds(4.9) == "4s");
    CHECK(format_seconds(192) == "3m12s");
    CHECK(format_seconds(90061) == "1d01h");
  }

  TEST_CASE("columns line up and lines end without spaces") {
    CHECK(format_table({{"A", "B"}, {"long", "x"}, {"c"}}) == "A     B\nlong  x\nc\n");
  }
}
