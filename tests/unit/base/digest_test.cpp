// Digest text as the OCI image spec writes it.
#include "base/digest.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace waggle;

TEST_SUITE("base/digest") {
  TEST_CASE("sha256 and sha512 survive text and wire") {
    for (const std::string& text :
         {"sha256:" + std::string(64, 'a'), "sha512:" + std::string(128, '0')}) {
      const auto digest = Digest::parse(text);
      REQUIRE(digest.has_value());
      CHECK(digest->to_string() == text);
      CHECK(Digest::from_wire(digest->to_wire()).value() == *digest);
    }
  }

  TEST_CASE("bad digests are refused") {
    CHECK(Digest::parse("sha256").error() == BaseError::malformed);
    CHECK(Digest::parse("sha256:" + std::string(63, 'a')).error() == BaseError::malformed);
    CHECK(Digest::parse("sha256:" + std::string(64, 'A')).error() == BaseError::malformed);
    CHECK(Digest::parse("md5:" + std::string(32, 'a')).error() == BaseError::unsupported);
    CHECK(Digest::from_wire({}).error() == BaseError::truncated);
    CHECK(Digest::from_wire(*from_hex("09")).error() == BaseError::unsupported);
    CHECK(Digest::from_wire(*from_hex("0100")).error() == BaseError::malformed);
  }
}
