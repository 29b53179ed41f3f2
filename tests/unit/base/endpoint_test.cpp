// Endpoints: text, wire and the IPv4-mapped form.
#include "base/endpoint.hpp"

#include <doctest/doctest.h>

using namespace waggle;

TEST_SUITE("base/endpoint") {
  TEST_CASE("text survives") {
    for (const char* text : {"10.0.0.1:7947", "[fe80::1]:80", "[::]:0", "127.0.0.1:65535"}) {
      CHECK(Endpoint::parse(text).value().to_string() == text);
    }
    CHECK(Endpoint::parse("[::ffff:10.0.0.1]:7").value() == Endpoint::v4(10, 0, 0, 1, 7));
  }

  TEST_CASE("names, missing ports and bare IPv6 are malformed") {
    for (const char* text :
         {"host:1", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "::1:80", "1.2.3:4"}) {
      CAPTURE(text);
      CHECK(Endpoint::parse(text).error() == BaseError::malformed);
    }
  }

  TEST_CASE("kinds of addresses") {
    CHECK(Endpoint::parse("127.9.9.9:1")->is_loopback());
    CHECK(Endpoint::parse("[::1]:1")->is_loopback());
    CHECK(Endpoint::parse("0.0.0.0:1")->is_unspecified());
    CHECK(Endpoint::parse("[::]:1")->is_unspecified());
    CHECK_FALSE(Endpoint::parse("[::2]:1")->is_unspecified());
    CHECK(Endpoint::from_wire(Endpoint::parse("[::2]:513")->to_wire()).value().port == 513);
  }
}
