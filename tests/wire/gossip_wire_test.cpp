// The datagram format, byte for byte (docs/wire-gossip.md): golden vectors, truncations, limits
// plus one, bit flips.
#include "../unit/gossip/samples.hpp"
#include "base/limits.hpp"
#include "base/msg.hpp"
#include "base/prng.hpp"
#include "gossip/error.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/wire.hpp"

#include <doctest/doctest.h>

#include <functional>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

/// Node 1: identity seed 01 00..00; its id and key below are BLAKE2b-128 and Ed25519 of it.
Member first_member() {
  Member member = member_of(1, MemberState::alive, 0x0102030405);
  member.endpoints.push_back(Endpoint::parse("[2001:db8::7]:7947").value());
  member.name = "n1";
  member.zone = "z";
  member.draining = true;
  member.keys = names_of(keys_of({1, 2}));
  return member;
}

Ping sample_ping() {
  Ping ping;
  ping.seq = 0x11223344;
  ping.to = id_of(2);
  ping.echo = 0xfedcba9876543210;
  ping.table_hash = 0x0123456789abcdef;
  ping.load = 200;
  ping.self = first_member();
  ping.news = {{member_of(2, MemberState::suspect), id_of(3)},
               {member_of(3, MemberState::left, 300), {}}};
  return ping;
}

Ack sample_ack() {
  Ack ack;
  ack.seq = 7;
  ack.target = id_of(2);
  ack.cookie = 1;
  return ack;
}

MemberHashes sample_hashes() {
  MemberHashes message{true, {}};
  for (std::size_t i = 0; i < member_buckets; ++i) message.hashes[i] = i;
  return message;
}

std::vector<GossipMessage> samples() {
  return {sample_ping(),
          sample_ack(),
          PingReq{300, id_of(2)},
          Nack{300},
          sample_hashes(),
          MemberRecords{true, {{first_member(), {}}}},
          AnnouncementBody{to_bytes(as_bytes("opaque"))},
          App{5, to_bytes(as_bytes("want"))}};
}

std::string hex_of(const GossipMessage& message) { return to_hex(encode(message)); }

const std::string id1 = id_of(1).to_string();
const std::string id2 = id_of(2).to_string();
const std::string id3 = id_of(3).to_string();
std::string key_hex(unsigned n) { return to_hex(identity_of(n).public_key().bytes); }

/// [id, incarnation, state, key, [endpoints], name, zone, flags, version min, version max, accuser,
/// keys]
const std::string first_member_hex =
    "9c"
    "c410" +
    id1 +
    "cf0000000102030405"
    "00"
    "c420" +
    key_hex(1) +
    "92"
    "c406"
    "0a000001"
    "1f0b"
    "c412"
    "20010db8000000000000000000000007"
    "1f0b"
    "a2"
    "6e31"
    "a1"
    "7a"
    "01"
    "01"
    "01"
    "c0"
    "c404"
    "bc14"
    "9d72";
const std::string second_member_hex =
    "9c"
    "c410" +
    id2 +
    "01"
    "01"
    "c420" +
    key_hex(2) +
    "91"
    "c406"
    "0a000002"
    "1f0b"
    "a6"
    "6e6f64652d32"
    "a6"
    "7261636b2d31"
    "00"
    "01"
    "01"
    "c410" +
    id3 +
    "c402"
    "bc14";
const std::string third_member_hex =
    "9c"
    "c410" +
    id3 +
    "cd012c"
    "03"
    "c420" +
    key_hex(3) +
    "91"
    "c406"
    "0a000003"
    "1f0b"
    "a6"
    "6e6f64652d33"
    "a6"
    "7261636b2d31"
    "00"
    "01"
    "01"
    "c0"
    "c402"
    "bc14";

Bytes records_with(const std::function<void(MsgWriter&)>& write_member) {
  MsgWriter out;
  out.array(2).boolean(false).array(1);
  write_member(out);
  return out.take();
}

struct RecordFields {
  std::size_t endpoints = 1;
  std::size_t endpoint_bytes = 6;
  std::string name = "n";
  std::string zone = "z";
  std::uint64_t state = 0;
  std::uint64_t version_min = 1;
  std::uint16_t port = 7947;
  bool accused = false;
  unsigned key_of = 1;
  Bytes keys = {std::byte{0xbc}, std::byte{0x14}};
};

Result<GossipMessage> decode_record(const RecordFields& fields) {
  return decode(PacketType::member_records, records_with([&](MsgWriter& out) {
                  const Member member = member_of(1);
                  out.array(12).bin(member.id.bytes).uint(1).uint(fields.state);
                  out.bin(identity_of(fields.key_of).public_key().bytes).array(fields.endpoints);
                  for (std::size_t i = 0; i < fields.endpoints; ++i) {
                    Endpoint endpoint = endpoint_of(1);
                    endpoint.port = fields.port;
                    out.bin(ByteView(endpoint.to_wire()).last(fields.endpoint_bytes));
                  }
                  out.str(fields.name).str(fields.zone).uint(0).uint(fields.version_min).uint(1);
                  if (fields.accused) {
                    out.bin(member.id.bytes);
                  } else {
                    out.nil();
                  }
                  out.bin(fields.keys);
                }));
}

}  // namespace

TEST_SUITE("wire/gossip") {
  TEST_CASE("golden vectors of every message") {
    CHECK(hex_of(sample_ping()) ==
          "97"
          "ce11223344"
          "c410" +
              id2 +
              "cffedcba9876543210"
              "cf0123456789abcdef"
              "ccc8" +
              first_member_hex + "92" + second_member_hex + third_member_hex);
    CHECK(hex_of(sample_ack()) ==
          "97"
          "07"
          "c410" +
              id2 +
              "01"
              "00"
              "00"
              "c0"
              "90");
    CHECK(hex_of(PingReq{300, id_of(2)}) ==
          "92"
          "cd012c"
          "c410" +
              id2);
    CHECK(hex_of(Nack{300}) ==
          "91"
          "cd012c");
    const std::string hashes = hex_of(sample_hashes());
    CHECK(hashes.substr(0, 10) ==
          "92"
          "c3"
          "c50200");
    CHECK(hashes.substr(10, 48) ==
          "0000000000000000"
          "0100000000000000"
          "0200000000000000");
    CHECK(hex_of(MemberRecords{true, {{first_member(), {}}}}) ==
          "92"
          "c3"
          "91" +
              first_member_hex);
    CHECK(hex_of(AnnouncementBody{to_bytes(as_bytes("opaque"))}) ==
          "91"
          "c406"
          "6f7061717565");
    CHECK(hex_of(App{5, to_bytes(as_bytes("want"))}) ==
          "92"
          "05"
          "c404"
          "77616e74");
  }

  TEST_CASE("identities of the vectors: BLAKE2b-128 of the Ed25519 key of seed 01 00..00") {
    CHECK(key_hex(1) == "cecc1507dc1ddd7295951c290888f095adb9044d1b73d696e6df065d683bd4fc");
    CHECK(id1 == "b47fb1c05dca405424624af35a01aed6");
  }

  TEST_CASE("every message survives encode and decode") {
    for (const GossipMessage& message : samples()) {
      const auto decoded = decode(type_of(message), encode(message));
      REQUIRE(decoded.has_value());
      CHECK(encode(*decoded) == encode(message));
    }
  }

  TEST_CASE("every truncation and every trailing byte is refused") {
    for (const GossipMessage& message : samples()) {
      const Bytes bytes = encode(message);
      for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK(decode(type_of(message), ByteView(bytes).first(size)).error() ==
              GossipError::malformed);
      }
      Bytes longer = bytes;
      longer.push_back(std::byte{0xc0});
      CHECK(decode(type_of(message), longer).error() == GossipError::malformed);
    }
  }

  TEST_CASE("what a newer version adds to a MEMBER is skipped, up to 8 elements") {
    const GossipMessage message = MemberRecords{true, {{test::member_of(1), {}}}};
    const Bytes bytes = encode(message);
    // [repair, [MEMBER]]: the MEMBER is the last thing in the body.
    constexpr std::size_t member_at = 3;
    const auto elements = std::to_integer<std::size_t>(bytes[member_at]) & 0x0fU;
    REQUIRE(bytes[member_at] == static_cast<std::byte>(0x90U | elements));
    const auto with_extra = [&](std::size_t extra, const Bytes& element) {
      Bytes longer = to_bytes(ByteView(bytes).first(member_at));
      longer.insert(longer.end(),
                    {std::byte{0xdc}, std::byte{0}, static_cast<std::byte>(elements + extra)});
      append(longer, ByteView(bytes).subspan(member_at + 1));
      for (std::size_t i = 0; i < extra; ++i) append(longer, element);
      return longer;
    };
    for (const Bytes& element :
         {Bytes{std::byte{7}}, Bytes{std::byte{0xc4}, std::byte{1}, std::byte{2}},
          Bytes{std::byte{0x91}, std::byte{0xc0}}}) {
      for (const std::size_t extra : {1, 2, 8}) {
        const auto decoded = decode(PacketType::member_records, with_extra(extra, element));
        REQUIRE(decoded.has_value());
        CHECK(encode(*decoded) == bytes);
      }
      CHECK(decode(PacketType::member_records, with_extra(9, element)).error() ==
            GossipError::malformed);
    }
  }

  TEST_CASE("a type that is not known is told apart from a malformed body") {
    CHECK(decode(static_cast<PacketType>(9), Bytes{std::byte{0x90}}).error() ==
          GossipError::unknown_type);
    CHECK(decode(static_cast<PacketType>(255), {}).error() == GossipError::unknown_type);
    CHECK(decode(static_cast<PacketType>(0), {}).error() == GossipError::unknown_type);
  }

  TEST_CASE("flipped bits decode to something valid or fail, never worse") {
    Prng prng(4);
    for (const GossipMessage& message : samples()) {
      const Bytes bytes = encode(message);
      for (int i = 0; i < 2000; ++i) {
        Bytes changed = bytes;
        for (int flips = 0; flips < 3; ++flips) {
          changed[static_cast<std::size_t>(prng.below(changed.size()))] ^=
              static_cast<std::byte>(1U << prng.below(8));
        }
        const auto decoded = decode(type_of(message), changed);
        // What was accepted is canonical or at least stable.
        if (decoded) CHECK(decode(type_of(message), encode(*decoded)).has_value());
      }
    }
  }

  TEST_CASE("a record at its limits is accepted, one beyond refused") {
    CHECK(decode_record({}).has_value());
    CHECK(decode_record({.endpoints = limits::member_addresses_max}).has_value());
    CHECK(decode_record({.name = std::string(limits::node_name_bytes_max, 'n')}).has_value());
    CHECK(decode_record({.zone = std::string(limits::zone_bytes_max, 'z')}).has_value());
    CHECK(decode_record({.state = 1, .accused = true}).has_value());
    for (const RecordFields& bad :
         std::vector<RecordFields>{{.endpoints = 0},
                                   {.endpoints = limits::member_addresses_max + 1},
                                   {.endpoint_bytes = 5},
                                   {.endpoint_bytes = 18},  // IPv4 in the long form
                                   {.name = std::string(limits::node_name_bytes_max + 1, 'n')},
                                   {.name = "a\nb"},
                                   {.name = "\x1b[2J"},
                                   {.zone = std::string(limits::zone_bytes_max + 1, 'z')},
                                   {.state = 4},
                                   {.version_min = 2},
                                   {.port = 0},
                                   {.accused = true}}) {  // accuser without suspicion
      CHECK(decode_record(bad).error() == GossipError::malformed);
    }
    CHECK(decode_record({.key_of = 2}).error() == GossipError::id_mismatch);
  }

  TEST_CASE("a record names one or two keys, neither of them 0, and none twice") {
    const auto with_keys = [](std::string_view hex) {
      RecordFields fields;
      fields.keys = from_hex(hex).value();
      return decode_record(fields);
    };
    const auto keys_in = [](const Result<GossipMessage>& message) {
      return std::get<MemberRecords>(*message).records.front().member.keys;
    };
    REQUIRE(with_keys("bc01").has_value());
    CHECK(keys_in(with_keys("bc01")) == KeyNames{0xbc01, 0});
    REQUIRE(with_keys("bc01bc02").has_value());
    CHECK(keys_in(with_keys("bc01bc02")) == KeyNames{0xbc01, 0xbc02});
    for (const char* bad :
         {"", "bc", "bc01bc", "0000", "bc010000", "0000bc01", "bc01bc01", "bc01bc02bc03"}) {
      CAPTURE(bad);
      CHECK(with_keys(bad).error() == GossipError::malformed);
    }
  }

  TEST_CASE("a sender's own record may be alive or left, nothing else") {
    Ping ping;
    ping.self = member_of(1, MemberState::left);
    CHECK(decode(PacketType::ping, encode(ping)).has_value());
    ping.self = member_of(1, MemberState::suspect);
    CHECK(decode(PacketType::ping, encode(ping)).error() == GossipError::malformed);
  }

  TEST_CASE("a type reads only its own shape") {
    const Bytes nack = encode(Nack{1});
    for (const PacketType type :
         {PacketType::ping, PacketType::ack, PacketType::ping_req, PacketType::member_hashes,
          PacketType::member_records, PacketType::announcement, PacketType::app}) {
      CHECK_FALSE(decode(type, nack).has_value());
    }
    CHECK_FALSE(decode(static_cast<PacketType>(9), nack).has_value());
  }

  TEST_CASE("golden sealed packet: fixed key, sender, boot and counter") {
    PacketSeal seal(keys_of({1}), "waggle", id_of(1), 0x8877665544332211);
    const Bytes packet =
        seal.seal(PacketType::nack, Destination{id_of(2), 0x42}, encode(Nack{300}));
    // version, type, key id, flags | sender | boot | counter | sealed body | tag
    CHECK(to_hex(packet) ==
          "01"
          "04"
          "bc"
          "01" +
              id1.substr(0, 16) +
              "1122334455667788"
              "0100000000000000"
              "0a8703a8ab3391b48c9fe256cac0144535f13ad8");
    const Bytes ping = seal.seal(PacketType::ping, std::nullopt, as_bytes("p"));
    CHECK(to_hex(ping) ==
          "01"
          "01"
          "bc"
          "00" +
              id1.substr(0, 16) +
              "1122334455667788"
              "0200000000000000"
              "1c91d4bca4bf15596d36495a976cedda84");
    const Bytes to_group =
        seal.seal(PacketType::announcement, std::nullopt, as_bytes("a"), Cast::multicast);
    CHECK(to_hex(to_group) ==
          "01"
          "07"
          "bc"
          "02" +
              id1.substr(0, 16) +
              "1122334455667788"
              "0300000000000000"
              "6f421517486b05f0dd227f67853f80bd2d");
  }
}
