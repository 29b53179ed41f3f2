// Hex, base64 (RFC 4648 vectors) and little-endian integers.
#include "base/bytes.hpp"

#include <doctest/doctest.h>

using namespace waggle;

TEST_SUITE("base/bytes") {
  TEST_CASE("base64 as in RFC 4648 section 10") {
    CHECK(to_base64(as_bytes("")).empty());
    CHECK(to_base64(as_bytes("f")) == "Zg==");
    CHECK(to_base64(as_bytes("foobar")) == "Zm9vYmFy");
    CHECK(as_text(*from_base64("Zm9vYmE=\n")) == "fooba");
    CHECK_FALSE(from_base64("Zm9v*mE=").has_value());
    CHECK_FALSE(from_base64("Zm9vYmE").has_value());
  }

  TEST_CASE("hex refuses odd lengths and strangers") {
    CHECK(to_hex(*from_hex("00FFaa")) == "00ffaa");
    CHECK_FALSE(from_hex("0").has_value());
    CHECK_FALSE(from_hex("0g").has_value());
    CHECK(from_hex("")->empty());
  }

  TEST_CASE("integers are little-endian") {
    Bytes out;
    append_le<std::uint32_t>(out, 0x01020304);
    CHECK(to_hex(out) == "04030201");
    CHECK(load_le<std::uint32_t>(out) == 0x01020304);
  }
}
