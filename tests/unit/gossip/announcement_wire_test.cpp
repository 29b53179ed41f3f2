// Golden vectors (packed by hand from docs/wire-announcements.md), truncation, and every limit plus
// one.
#include "gossip/announcement_wire.hpp"

#include "base/limits.hpp"
#include "base/msg.hpp"
#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace waggle;
using namespace waggle::gossip;

namespace {

NodeId node_a() {
  NodeId id;
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::byte>(i + 1);
  return id;
}
NodeId node_b() {
  NodeId id;
  id.bytes.fill(std::byte{0x11});
  return id;
}
Definition definition() {
  return {Digest(DigestAlgorithm::sha256, Bytes(32, std::byte{0xaa})), 4096};
}
std::shared_ptr<const SignedName> name() {
  auto name = std::make_shared<SignedName>();
  name->record = {0x77, definition().digest, 9, "a/b"};
  name->author = node_a();
  name->hlc_ms = 1000;
  name->signature.bytes.fill(std::byte{0x55});
  return name;
}

struct Golden {
  Message message;
  std::string hex;
};
struct GoldenBulk {
  BulkMessage message;
  std::string hex;
};

std::vector<Golden> golden_messages() {
  return {
      {Records{node_a(),
               300,
               7,
               {Have{Id64{5}}, DefinedHave{definition()}, Drop{Id64{1ULL << 63U}}, Named{name()},
                Base{299, 6, 0x1234}}},
       "9501c4100102030405060708090a0b0c0d0e0f10cd012c07959201059302c42101aaaaaaaaaaaaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacd10009203cf800000000000000097"
       "0477c42101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa09a361"
       "2f62cd03e8c440555555555555555555555555555555555555555555555555555555555555555555"
       "555555555555555555555555555555555555555555555555555555555555559405cd012b06cd1234"},
      {AeRoot{0x0123456789abcdef, true}, "9302cf0123456789abcdefc3"},
      {AeVectors{true, true, {}, {{node_a(), 1, 2, 3, 1}, {node_b(), 1, 200, 3, 201}}},
       "9503c3c3c410000000000000000000000000000000009295c4100102030405060708090a0b0c0d0e"
       "0f100102030195c4101111111111111111111111111111111101ccc803ccc9"},
      {AePull{{{node_a(), 5, 6}}}, "92049193c4100102030405060708090a0b0c0d0e0f100506"},
      {DefinitionPull{{Id64{1}, Id64{1ULL << 40U}}}, "9205c41001000000000000000000000000010000"},
      {Definitions{{definition()}},
       "92069192c42101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacd"
       "1000"},
  };
}

std::vector<GoldenBulk> golden_frames() {
  return {
      {SetPull{{node_a(), node_b()}},
       "920792c4100102030405060708090a0b0c0d0e0f10c41011111111111111111111111111111111"},
      {SetData{node_a(), 5, 9, 77, 0, 2, {Id64{1}, Id64{2}}, {name()}},
       "9908c4100102030405060708090a0b0c0d0e0f1005094d0002c41001000000000000000200000000"
       "000000919677c42101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aa09a3612f62cd03e8c4405555555555555555555555555555555555555555555555555555555555"
       "5555555555555555555555555555555555555555555555555555555555555555555555"},
      {SetNone{node_a()}, "9209c4100102030405060708090a0b0c0d0e0f10"},
      {DefinitionPull{{Id64{1}, Id64{1ULL << 40U}}}, "9205c41001000000000000000000000000010000"},
      {Definitions{{definition()}},
       "92069192c42101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacd"
       "1000"},
  };
}

/// The error of an encoded message; nullopt when it decodes.
std::optional<boost::system::error_code> failure(const Message& message) {
  const auto decoded = decode_message(encode(message));
  if (decoded) return std::nullopt;
  return decoded.error();
}
std::optional<boost::system::error_code> bulk_failure(const BulkMessage& message) {
  const auto decoded = decode_bulk(encode_bulk(message));
  if (decoded) return std::nullopt;
  return decoded.error();
}

}  // namespace

TEST_SUITE("gossip/announcement_wire") {
  TEST_CASE("every message encodes to its golden bytes and back") {
    for (const auto& [message, hex] : golden_messages()) {
      CHECK(to_hex(encode(message)) == hex);
      const auto decoded = decode_message(*from_hex(hex));
      REQUIRE(decoded.has_value());
      CHECK(decoded->index() == message.index());
      CHECK(to_hex(encode(*decoded)) == hex);
    }
    for (const auto& [message, hex] : golden_frames()) {
      CHECK(to_hex(encode_bulk(message)) == hex);
      const auto decoded = decode_bulk(*from_hex(hex));
      REQUIRE(decoded.has_value());
      CHECK(decoded->index() == message.index());
      CHECK(to_hex(encode_bulk(*decoded)) == hex);
    }
  }

  TEST_CASE("a message cut anywhere, or longer than itself, is refused") {
    for (const auto& [message, hex] : golden_messages()) {
      Bytes bytes = *from_hex(hex);
      for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK_FALSE(decode_message(ByteView(bytes).first(size)).has_value());
      }
      bytes.push_back(std::byte{0});
      CHECK_FALSE(decode_message(bytes).has_value());
    }
    for (const auto& [message, hex] : golden_frames()) {
      Bytes bytes = *from_hex(hex);
      for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK_FALSE(decode_bulk(ByteView(bytes).first(size)).has_value());
      }
      bytes.push_back(std::byte{0});
      CHECK_FALSE(decode_bulk(bytes).has_value());
    }
  }

  TEST_CASE("flipped bytes and noise never do more than fail") {
    Prng prng(11);
    std::size_t accepted = 0;
    for (const auto& [message, hex] : golden_messages()) {
      const Bytes bytes = *from_hex(hex);
      for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (int flip = 0; flip < 16; ++flip) {
          Bytes copy = bytes;
          copy[at] = static_cast<std::byte>(prng.below(256));
          if (decode_message(copy)) ++accepted;
          if (decode_bulk(copy)) ++accepted;
        }
      }
    }
    CHECK(accepted > 0);
    for (int i = 0; i < 20'000; ++i) {
      Bytes noise(prng.below(64));
      for (auto& byte : noise) byte = static_cast<std::byte>(prng.below(256));
      CHECK_FALSE(decode_message(noise).has_value());
      CHECK_FALSE(decode_bulk(noise).has_value());
    }
  }

  TEST_CASE("lists at their limit pass, one more is refused") {
    const auto limit = make_error_code(BaseError::limit_exceeded);
    Records records{node_a(), 1, 1, {}};
    CHECK(failure(records).has_value());  // none at all
    records.records.assign(limits::records_per_message_max / 2, Have{});
    CHECK_FALSE(failure(records).has_value());
    records.records.assign(limits::records_per_message_max + 1, Have{});
    CHECK(failure(records) == limit);
    AePull pull{std::vector<LogRange>(limits::pulls_per_message_max, LogRange{{}, 1, 1})};
    CHECK(encode(pull).size() <= limits::datagram_bytes_max);
    CHECK_FALSE(failure(pull).has_value());
    pull.ranges.push_back({{}, 1, 1});
    CHECK(failure(pull).has_value());
    DefinitionPull ids;
    for (std::size_t i = 0; i < limits::definitions_per_message_max; ++i) {
      ids.ids.push_back(Id64{i});
    }
    CHECK_FALSE(failure(ids).has_value());
    ids.ids.push_back(Id64{1000});
    CHECK(failure(ids) == limit);
    CHECK_FALSE(bulk_failure(ids).has_value());
    SetPull sets{std::vector<NodeId>(limits::set_pulls_max, node_a())};
    CHECK_FALSE(bulk_failure(sets).has_value());
    sets.origins.push_back(node_b());
    CHECK(bulk_failure(sets) == limit);
    Definitions many{std::vector<Definition>(limits::definitions_per_frame_max, definition())};
    CHECK_FALSE(bulk_failure(many).has_value());
    many.definitions.push_back(definition());
    CHECK(bulk_failure(many) == limit);
    SetData data{node_a(), 1, 1, 0, 0, 1, {}, {}};
    for (std::size_t i = 0; i < limits::ids_per_origin_max; ++i) data.ids.push_back(Id64{i});
    CHECK(encode_bulk(data).size() <= limits::control_frame_bytes_max);
    CHECK_FALSE(bulk_failure(data).has_value());
    data.ids.push_back(Id64{1'000'000});
    CHECK(bulk_failure(data) == limit);
  }

  TEST_CASE("values out of range are refused") {
    const auto with_record = [](Record record) {
      return failure(Records{node_a(), 1, 1, {std::move(record)}});
    };
    Definition big = definition();
    big.size = limits::blob_bytes_max;
    CHECK_FALSE(with_record(DefinedHave{big}).has_value());
    ++big.size;
    CHECK(with_record(DefinedHave{big}).has_value());
    SignedName named = *name();
    named.record.media_type = std::string(limits::media_type_bytes_max, 'x');
    named.hlc_ms = limits::hlc_ms_max;
    CHECK_FALSE(with_record(Named{std::make_shared<SignedName>(named)}).has_value());
    named.record.media_type += 'x';
    CHECK(with_record(Named{std::make_shared<SignedName>(named)}).has_value());
    named.record.media_type.clear();
    ++named.hlc_ms;
    CHECK(with_record(Named{std::make_shared<SignedName>(named)}).has_value());
    CHECK(failure(Records{node_a(), 1, 0, {Have{}}}).has_value());
    CHECK(failure(Records{node_a(), 1, UINT64_MAX, {Have{}}}).has_value());
    CHECK(failure(AePull{{{node_a(), 1, 0}}}).has_value());
    CHECK(failure(AeVectors{false, false, {}, {{node_a(), 1, 0, 0, 1}}})
              .has_value());  // no record at all
    CHECK(failure(AeVectors{false, false, {}, {{node_a(), 1, 5, 0, 7}}})
              .has_value());  // log beyond its end
    const AeVectors descending{false, false, {}, {{node_b(), 1, 5, 0, 1}, {node_a(), 1, 5, 0, 1}}};
    CHECK(failure(descending).has_value());
    CHECK(failure(AeVectors{true, false, node_b(), {{node_b(), 1, 5, 0, 1}}}).has_value());
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 0, 1, {Id64{2}, Id64{1}}, {}}).has_value());
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 0, 1, {Id64{2}, Id64{2}}, {}}).has_value());
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 1, 2, {Id64{2}}, {}})
              .has_value());  // ids beside part 0
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 1, 1, {}, {}}).has_value());
    const SetData many_parts{node_a(), 1, 1, 0, 0, limits::set_parts_max + 1, {}, {}};
    CHECK(bulk_failure(many_parts).has_value());
    // Bulk kinds are no datagrams, unknown kinds nothing, foreign digests neither.
    CHECK_FALSE(decode_message(encode_bulk(SetNone{node_a()})).has_value());
    CHECK_FALSE(decode_bulk(encode(AeRoot{1, false})).has_value());
    CHECK_FALSE(decode_message(*from_hex("920a00")).has_value());
    CHECK_FALSE(decode_message(*from_hex("92069192c4020300"
                                         "00"))
                    .has_value());
    CHECK_FALSE(decode_message(Bytes(limits::datagram_bytes_max + 1)).has_value());
    CHECK_FALSE(decode_bulk(Bytes(limits::control_frame_bytes_max + 1)).has_value());
  }

  TEST_CASE("packed records fill datagrams in order and never exceed them") {
    std::vector<Record> records;
    SignedName longest = *name();
    longest.record.media_type = std::string(limits::media_type_bytes_max, 'x');
    longest.record.digest = Digest(DigestAlgorithm::sha512, Bytes(64, std::byte{1}));
    longest.record.key64 = UINT64_MAX;
    longest.record.size = limits::blob_bytes_max;
    for (std::uint64_t i = 0; i < 300; ++i) {
      records.emplace_back(Have{Id64{i << 40U}});
      if (i % 50 == 0) records.emplace_back(Named{std::make_shared<SignedName>(longest)});
    }
    for (const std::size_t bytes_max : {512U, 1200U, 1400U}) {
      std::uint64_t seq = 1ULL << 40U;
      for (const auto& body : pack_records(node_a(), UINT64_MAX, seq, records, bytes_max)) {
        CHECK(body.size() <= bytes_max);
        const auto message = decode_message(body);
        REQUIRE(message.has_value());
        const auto& part = std::get<Records>(*message);
        CHECK(part.first_seq == seq);
        seq += part.records.size();
      }
      CHECK(seq == (1ULL << 40U) + records.size());
    }
  }

  TEST_CASE("packed vectors cover the whole range without overlap") {
    std::vector<OriginVector> vectors;
    for (std::uint8_t i = 1; i <= 200; ++i) {
      NodeId id;
      id.bytes[0] = std::byte{i};
      vectors.push_back({id, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX, 1});
    }
    NodeId after;
    std::size_t seen = 0;
    bool last = false;
    for (const auto& body : pack_vectors(vectors, true, 1200)) {
      CHECK(body.size() <= 1200);
      const auto message = decode_message(body);
      REQUIRE(message.has_value());
      const auto& part = std::get<AeVectors>(*message);
      CHECK(part.after == after);
      CHECK_FALSE(last);
      last = part.last;
      seen += part.vectors.size();
      after = part.vectors.back().origin;
    }
    CHECK(last);
    CHECK(seen == 200);
    CHECK(pack_vectors({}, true, 1200).size() == 1);
    CHECK(pack_vectors({}, false, 1200).empty());
    const std::vector<Definition> definitions(100, definition());
    std::size_t packed = 0;
    for (const auto& body : pack_definitions(definitions, 1200)) {
      CHECK(body.size() <= 1200);
      packed += std::get<Definitions>(*decode_message(body)).definitions.size();
    }
    CHECK(packed == 100);
  }

  TEST_CASE("every field of a name is under its signature") {
    const IdKey key = IdKey::for_cluster("a");
    const Bytes signed_bytes = name_signed_bytes(key, *name());
    CHECK(name_signed_bytes(IdKey::for_cluster("b"), *name()) != signed_bytes);
    const auto changed = [&](auto change) {
      SignedName copy = *name();
      change(copy);
      return name_signed_bytes(key, copy) != signed_bytes;
    };
    CHECK(changed([](SignedName& n) { n.author = node_b(); }));
    CHECK(changed([](SignedName& n) { ++n.record.key64; }));
    CHECK(changed([](SignedName& n) { ++n.record.size; }));
    CHECK(changed([](SignedName& n) { ++n.hlc_ms; }));
    CHECK(changed([](SignedName& n) { n.record.media_type = "a/c"; }));
    CHECK(changed([](SignedName& n) { n.record.digest = Digest(); }));
  }
}
