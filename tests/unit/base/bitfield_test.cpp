// Bitfield: counting, searching, wire form of BEP 3.
#include "base/bitfield.hpp"

#include <doctest/doctest.h>

using namespace waggle;

TEST_SUITE("base/bitfield") {
  TEST_CASE("set and reset report changes and keep the count") {
    Bitfield field(130);
    CHECK(field.set(129));
    CHECK_FALSE(field.set(129));
    CHECK(field.count() == 1);
    CHECK(field.reset(129));
    CHECK(field.none());
    CHECK(Bitfield(130, true).all());
    CHECK(Bitfield(0).all());
  }

  TEST_CASE("find stays inside the size") {
    Bitfield field(65, true);
    CHECK_FALSE(field.find(false).has_value());
    field.reset(64);
    CHECK(field.find(false) == 64);
    CHECK_FALSE(field.find(true, 64).has_value());
    CHECK(field.run_length() == 64);
    CHECK(field.run_length(64) == 0);
    CHECK(field.run_length(65) == 0);
  }

  TEST_CASE("the wire form has position 0 in the high bit, as BEP 3 says") {
    Bitfield field(10);
    field.set(0);
    field.set(9);
    CHECK(to_hex(field.to_wire()) == "8040");
    CHECK(Bitfield::from_wire(*from_hex("8040"), 10).value() == field);
  }

  TEST_CASE("a wrong length and a set spare bit are malformed") {
    CHECK(Bitfield::from_wire(*from_hex("80"), 10).error() == BaseError::malformed);
    CHECK(Bitfield::from_wire(*from_hex("804000"), 10).error() == BaseError::malformed);
    CHECK(Bitfield::from_wire(*from_hex("8020"), 10).error() == BaseError::malformed);
  }
}
