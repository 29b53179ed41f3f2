// The strict reader: what it takes, and every way it refuses.
#include "base/msg.hpp"

#include <doctest/doctest.h>

using namespace waggle;

TEST_SUITE("base/msgpack") {
  TEST_CASE("a message survives, every truncation fails") {
    MsgWriter out;
    out.array(5).uint(300).str("zone").bin(as_bytes("\x01\x02")).boolean(true).array(1).nil();
    const Bytes bytes = out.take();
    MsgReader in = MsgReader::parse(bytes, {});
    CHECK(in.uint() == 300);
    CHECK(in.str() == "zone");
    CHECK(to_hex(in.bin_array<2>()) == "0102");
    CHECK(in.boolean());
    MsgReader nested = in.array();
    CHECK(nested.next_is_nil());
    CHECK(nested.done());
    CHECK(in.done());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CHECK_FALSE(MsgReader::parse(ByteView(bytes).first(size), {}).ok());
    }
  }

  TEST_CASE("limits, trailing bytes and foreign types are refused") {
    CHECK(MsgReader::parse(*from_hex("9001"), {}).error() == BaseError::malformed);
    CHECK(MsgReader::parse(*from_hex("80"), {}).error() == BaseError::malformed);
    CHECK(MsgReader::parse(*from_hex("9181a10101"), {}).error() == BaseError::limit_exceeded);
    MsgReader negative = MsgReader::parse(*from_hex("91ff"), {});
    CHECK(negative.uint() == 0);
    CHECK(negative.error() == BaseError::malformed);
    CHECK(MsgReader::parse(*from_hex("dd7fffffff"), {}).error() == BaseError::limit_exceeded);
    CHECK(MsgReader::parse(*from_hex("919191919190"), {}).error() == BaseError::limit_exceeded);
    MsgReader big = MsgReader::parse(*from_hex("91cd012c"), {});
    CHECK(big.uint(255) == 0);
    CHECK(big.error() == BaseError::limit_exceeded);
  }
}
