// Golden vectors, truncation and limits of the session messages (docs/wire-session.md).
#include "transfer/session_message.hpp"

#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "base/msg.hpp"
#include "transfer/claims.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace waggle;
using namespace waggle::transfer;

namespace {

constexpr const char* tag_hex = "000102030405060708090a0b0c0d0e0f";
const std::string tag_msg = std::string("c410") + tag_hex;

SwarmTag tag() {
  SwarmTag out;
  for (std::size_t i = 0; i < 16; ++i) out.bytes[i] = static_cast<std::byte>(i);
  return out;
}
template <std::size_t N>
std::array<std::byte, N> filled(unsigned value) {
  std::array<std::byte, N> out{};
  out.fill(static_cast<std::byte>(value));
  return out;
}
std::string times(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

/// The bytes are exactly `hex`, they decode to themselves, and every truncation fails.
void check_golden(const SessionMessage& message, const std::string& hex) {
  const Bytes bytes = encode(message);
  CHECK(to_hex(bytes) == hex);
  const auto decoded = decode_session_message(bytes);
  REQUIRE(decoded.has_value());
  CHECK(decoded->index() == message.index());
  CHECK(to_hex(encode(*decoded)) == hex);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(decode_session_message(ByteView(bytes).first(size)).has_value());
  }
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  CHECK_FALSE(decode_session_message(longer).has_value());
}

bool decodes(const SessionMessage& message) {
  return decode_session_message(encode(message)).has_value();
}

}  // namespace

TEST_SUITE("transfer/session_message") {
  TEST_CASE("golden vectors") {
    Bitfield map(4);
    map.set(0);
    map.set(3);
    check_golden(StateMessage{tag(), std::nullopt, {}}, "9401" + tag_msg + "c0c0");
    check_golden(StateMessage{tag(), 1024 * 1024, {.all = true, .chunks = {}}},
                 "9401" + tag_msg + "ce00100000c3");
    check_golden(StateMessage{tag(), 1024 * 1024, {.all = false, .chunks = map}},
                 "9401" + tag_msg + "ce00100000c40190");
    check_golden(HaveMessage{tag(), {ChunkIndex{1}, ChunkIndex{300}}},
                 "9302" + tag_msg + "9201cd012c");
    check_golden(RequestMessage{tag(), ChunkIndex{2}, 65536, 65536, true},
                 "9603" + tag_msg + "02ce00010000ce00010000c3");
    check_golden(CancelMessage{tag(), ChunkIndex{2}}, "9304" + tag_msg + "02");
    check_golden(RejectMessage{tag(), ChunkIndex{2}, RejectReason::no_proof},
                 "9405" + tag_msg + "0203");
    check_golden(RejectMessage{tag(), std::nullopt, RejectReason::not_found},
                 "9405" + tag_msg + "c000");
    check_golden(BusyMessage{tag(), 250}, "9306" + tag_msg + "ccfa");
    check_golden(CrecMessage{tag(),
                             ChunkIndex{1},
                             1024 * 1024,
                             filled<32>(0x11),
                             NodePublicKey{filled<32>(0x22)},
                             Signature{filled<64>(0x33)},
                             {}},
                 "9807" + tag_msg + "01ce00100000c420" + times("11", 32) + "c420" +
                     times("22", 32) + "c440" + times("33", 64) + "c0");
    check_golden(CrecMessage{tag(), ChunkIndex{1}, 1024 * 1024, filled<32>(0x11),
                             NodePublicKey{filled<32>(0x22)}, Signature{filled<64>(0x33)},
                             std::vector<HopName>{7, 0xdeadbeef}},
                 "9807" + tag_msg + "01ce00100000c420" + times("11", 32) + "c420" +
                     times("22", 32) + "c440" + times("33", 64) + "9207cedeadbeef");
    check_golden(RelayMessage{tag(), ChunkIndex{1}, 65536, 1024 * 1024, 9, {0xdeadbeef}},
                 "970c" + tag_msg + "01ce00010000ce001000000991cedeadbeef");
    check_golden(RelayVouchMessage{tag(), ChunkIndex{1}, 9, 5}, "950d" + tag_msg + "010905");
    check_golden(GetMidstatesMessage{tag()}, "9208" + tag_msg);
    check_golden(MidstatesMessage{tag(),
                                  1024 * 1024,
                                  1,
                                  3,
                                  {Midstate{filled<32>(0x44)}},
                                  NodePublicKey{filled<32>(0x22)},
                                  Signature{filled<64>(0x33)}},
                 "9809" + tag_msg + "ce001000000103c420" + times("44", 32) + "c420" +
                     times("22", 32) + "c440" + times("33", 64));
    check_golden(CloseMessage{tag()}, "920a" + tag_msg);
    check_golden(VouchMessage{tag(), ChunkIndex{2}, filled<32>(0x55)},
                 "940b" + tag_msg + "02c420" + times("55", 32));
  }

  TEST_CASE("OPEN carries digest and origin, and its tag must be theirs") {
    const SwarmKey key{sha256_of(as_bytes("abc")), "https://r:443"};
    const OpenMessage open{key.tag(), key.digest, key.origin, 3, {.all = true, .chunks = {}}};
    check_golden(open, "9600c410" + to_hex(key.tag().bytes) +
                           "c42101ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                           "ad68747470733a2f2f723a34343303c3");
    OpenMessage forged = open;
    forged.origin = "https://s:443";
    CHECK(decode_session_message(encode(forged)).error() == BaseError::malformed);
  }

  TEST_CASE("limits: the limit passes, one more does not") {
    CHECK(decodes(StateMessage{tag(), limits::blob_bytes_max, {}}));
    CHECK_FALSE(decodes(StateMessage{tag(), limits::blob_bytes_max + 1, {}}));
    const ChunkIndex last{limits::chunks_per_blob_max - 1};
    CHECK(decodes(CancelMessage{tag(), last}));
    CHECK_FALSE(decodes(CancelMessage{tag(), ChunkIndex{limits::chunks_per_blob_max}}));
    CHECK(decodes(VouchMessage{tag(), last, {}}));
    CHECK_FALSE(decodes(VouchMessage{tag(), ChunkIndex{limits::chunks_per_blob_max}, {}}));
    CHECK(decodes(HaveMessage{tag(), std::vector<ChunkIndex>(have_chunks_max)}));
    CHECK_FALSE(decodes(HaveMessage{tag(), std::vector<ChunkIndex>(have_chunks_max + 1)}));
    CHECK_FALSE(decodes(HaveMessage{tag(), {}}));
    CHECK(decodes(RequestMessage{tag(), last, 0, limits::block_bytes, false}));
    CHECK_FALSE(decodes(RequestMessage{tag(), last, 0, limits::block_bytes + 1, false}));
    CHECK_FALSE(decodes(RequestMessage{tag(), last, 0, 0, false}));
    CHECK_FALSE(decodes(RequestMessage{tag(), last, limits::chunk_bytes_max, 1, false}));
    const std::vector<HopName> hops(limits::relay_hops_max);
    const std::vector<HopName> more(limits::relay_hops_max + 1);
    CHECK(decodes(RelayMessage{tag(), ChunkIndex{3}, 3 * 65536, 1024 * 1024, 1, hops}));
    CHECK_FALSE(decodes(RelayMessage{tag(), ChunkIndex{3}, 3 * 65536, 1024 * 1024, 1, more}));
    CHECK_FALSE(decodes(RelayMessage{tag(), ChunkIndex{4}, 0, 1024 * 1024, 1, {}}));
    CHECK_FALSE(decodes(RelayMessage{tag(), ChunkIndex{3}, 4 * 65536, 1024 * 1024, 1, {}}));
    CHECK_FALSE(decodes(RelayMessage{tag(), ChunkIndex{3}, 1024, 1024 * 1024, 1, {}}));
    CHECK_FALSE(decodes(RelayVouchMessage{tag(), ChunkIndex{3}, 1, 0}));
    CHECK_FALSE(decodes(
        CrecMessage{tag(), ChunkIndex{1}, 1024 * 1024, {}, NodePublicKey{}, Signature{}, more}));
    CHECK(decodes(BusyMessage{tag(), 60'000}));
    CHECK_FALSE(decodes(BusyMessage{tag(), 60'001}));
    CHECK_FALSE(decodes(RejectMessage{tag(), std::nullopt, static_cast<RejectReason>(5)}));
    const SwarmKey key{sha256_of(as_bytes("abc")), std::string(limits::origin_bytes_max, 'o')};
    CHECK(decodes(OpenMessage{key.tag(), key.digest, key.origin, {}, {}}));
    const SwarmKey longer{key.digest, key.origin + "o"};
    CHECK_FALSE(decodes(OpenMessage{longer.tag(), longer.digest, longer.origin, {}, {}}));
  }

  TEST_CASE("a map fits its size, and without a size there is none") {
    Bitfield map(5, true);
    CHECK(decodes(StateMessage{tag(), 1025 * 1024, {.all = false, .chunks = map}}));
    CHECK_FALSE(decodes(StateMessage{tag(), 1024 * 1024, {.all = false, .chunks = map}}));
    CHECK_FALSE(decodes(StateMessage{tag(), 100 * limits::MiB, {.all = false, .chunks = map}}));
    CHECK_FALSE(decodes(StateMessage{tag(), std::nullopt, {.all = true, .chunks = {}}}));
    CHECK_FALSE(decodes(StateMessage{tag(), std::nullopt, {.all = false, .chunks = map}}));
  }

  TEST_CASE("parts of a list lie inside it and it fits the size") {
    const auto part = [](std::uint32_t first, std::uint32_t total, std::size_t count) {
      return decodes(MidstatesMessage{.tag = tag(),
                                      .size = limits::MiB,
                                      .first = first,
                                      .total = total,
                                      .part = std::vector<Midstate>(count),
                                      .prover = {},
                                      .signature = {}});
    };
    CHECK(part(0, 3, 3));
    CHECK(part(3, 3, 0));
    CHECK_FALSE(part(1, 3, 3));
    CHECK_FALSE(part(0, 4, 4));
    const BlobLayout huge(limits::blob_bytes_max);
    const auto many = [&](std::size_t count) {
      return decodes(MidstatesMessage{.tag = tag(),
                                      .size = huge.size(),
                                      .first = 0,
                                      .total = huge.chunk_count() - 1,
                                      .part = std::vector<Midstate>(count),
                                      .prover = {},
                                      .signature = {}});
    };
    CHECK(many(midstates_per_part_max));
    CHECK_FALSE(many(midstates_per_part_max + 1));
  }

  TEST_CASE("unknown kinds, other shapes and over-long frames are refused") {
    CHECK_FALSE(decode_session_message(*from_hex("920c" + tag_msg)).has_value());
    CHECK_FALSE(decode_session_message(*from_hex("9308" + tag_msg + "00")).has_value());
    CHECK_FALSE(decode_session_message(*from_hex("80")).has_value());
    CHECK_FALSE(decode_session_message({}).has_value());
    CHECK(decode_session_message(Bytes(limits::control_frame_bytes_max + 1)).error() ==
          BaseError::limit_exceeded);
  }
}
