// Golden vectors (packed by hand from docs/wire-announcements.md), truncation, and every limit plus
// one.
#include "gossip/announcement_wire.hpp"

#include "base/limits.hpp"
#include "base/msg.hpp"
#include "base/prng.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

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

AeBuckets counting_buckets() {
  AeBuckets buckets;
  for (std::size_t i = 0; i < index_buckets; ++i) buckets.hashes[i] = i;
  return buckets;
}

/// Row 0 holds the definition's id, row 1 that and id 5.
SnapshotPart snapshot_part() {
  SnapshotPart part{{false, 1}, 9, 7, 2, {}, {}, {}};
  part.origins = {{NodeRef::short_of(node_a()), 300, 7, 0x1234},
                  {NodeRef{node_b()}, 0xffff, 200, 1}};
  const std::uint64_t both = 3;
  const std::uint64_t second = 2;
  SnapshotPacker packer(2, 1000);
  CHECK(packer.append({definition(), {}, {&both, 1}}));
  CHECK(packer.append({std::nullopt, Id64{5}, {&second, 1}}));
  part.entries = packer.take();
  return part;
}
SnapshotPart snapshot_names() { return {{true, 0x77}, 0, 7, 2, {}, {}, {name()}}; }

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
      {Records{16,
               {{NodeRef::short_of(node_a()),
                 300,
                 7,
                 {Have{Id64{5}}, DefinedHave{definition()}, Drop{Id64{1ULL << 63U}}, Named{name()},
                  Base{299, 6, 0x1234}}},
                {NodeRef{node_b()},
                 0xffff,
                 1,
                 {Have{Id64{1}}, Have{Id64{2}}},
                 std::chrono::milliseconds(1024)}}},
       "930110c4e504010203042c01070005000000000000002001aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa802040000000000000008060770000000000000001aaaaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0903612f62e80300000000"
       "55555555555555555555555555555555555555555555555555555555555555555555555555555555"
       "55555555555555555555555555555555555555555555555580ab0206341200000000000081111111"
       "11111111111111111111111111ffff01d00101000000000000000200000000000000"},
      {AeRoot{0x0123456789abcdef, true}, "9302cf0123456789abcdefc3"},
      {AeStates{
           true,
           0,
           UINT32_MAX,
           {{NodeRef::short_of(node_a()), 1, 2, 3, 2}, {NodeRef{node_b()}, 1, 200, 0x89abcdef, 0}}},
       "9503c300ceffffffffc4250201020304010002030000008011111111111111111111111111111111"
       "0100c801efcdab89"},
      {AePull{{{NodeRef::short_of(node_a()), 5, 300}}}, "9204c40900010203040500ac02"},
      {DefinitionPull{{Id64{1}, Id64{1ULL << 40U}}}, "9205c41001000000000000000000000000010000"},
      {Definitions{{definition()}},
       "92069192c42101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacd"
       "1000"},
      {counting_buckets(),
       "920ac502000000000000000000010000000000000002000000000000000300000000000000040000"
       "00000000000500000000000000060000000000000007000000000000000800000000000000090000"
       "00000000000a000000000000000b000000000000000c000000000000000d000000000000000e0000"
       "00000000000f00000000000000100000000000000011000000000000001200000000000000130000"
       "00000000001400000000000000150000000000000016000000000000001700000000000000180000"
       "000000000019000000000000001a000000000000001b000000000000001c000000000000001d0000"
       "00000000001e000000000000001f0000000000000020000000000000002100000000000000220000"
       "00000000002300000000000000240000000000000025000000000000002600000000000000270000"
       "0000000000280000000000000029000000000000002a000000000000002b000000000000002c0000"
       "00000000002d000000000000002e000000000000002f000000000000003000000000000000310000"
       "00000000003200000000000000330000000000000034000000000000003500000000000000360000"
       "00000000003700000000000000380000000000000039000000000000003a000000000000003b0000"
       "00000000003c000000000000003d000000000000003e000000000000003f00000000000000"},
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
      {SnapshotPull{{false, 300}, 0x0123456789abcdef}, "940bc2cd012ccf0123456789abcdef"},
      {snapshot_part(),
       "990cc201090702c42d00010203042c010734120000000000008011111111111111111111111111111111"
       "ffffc8010100000000000000c42e81aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaaaaaaaa80200380050000000000000002"
       "90"},
      {snapshot_names(),
       "990cc377000702c400c4009197c4100102030405060708090a0b0c0d0e0f1077c42101aaaaaaaaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa09a3612f62cd03e8c440555555"
       "55555555555555555555555555555555555555555555555555555555555555555555555555555555"
       "555555555555555555555555555555555555555555"},
      {SnapshotNone{}, "910d"},
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
    const LogSlice slice{NodeRef::short_of(node_a()), 1, 1, {Have{}}};
    CHECK(failure(Records{}).has_value());  // none at all
    Records records{0, std::vector<LogSlice>(limits::slices_per_message_max / 2, slice)};
    CHECK_FALSE(failure(records).has_value());
    // What does not fit one datagram cannot be too many: 10 bytes are the least for a slice.
    CHECK(limits::slices_per_message_max * 10 < limits::datagram_bytes_max);
    for (const std::uint32_t rows : {1U, 2U, 512U, static_cast<unsigned>(limits::relay_rows_max)}) {
      CHECK_FALSE(failure(Records{rows, {slice}}).has_value());
      CHECK(failure(Records{3 * rows, {slice}}).has_value());
    }
    CHECK(failure(Records{2 * limits::relay_rows_max, {slice}}).has_value());
    AePull pull;
    for (std::uint32_t i = 0; i < limits::pulls_per_message_max; ++i) {
      pull.ranges.push_back({NodeRef{NodeRef::lowest(i), false}, 1, 1});
    }
    CHECK(encode(pull).size() <= limits::datagram_bytes_max);
    CHECK_FALSE(failure(pull).has_value());
    pull.ranges.push_back({NodeRef{NodeRef::lowest(1000), false}, 1, 1});
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
    SnapshotPart names = snapshot_names();
    while (names.names.size() < limits::snapshot_names_per_part_max) {
      SignedName next = *names.names.back();
      ++next.record.key64;
      names.names.push_back(std::make_shared<SignedName>(next));
    }
    CHECK_FALSE(bulk_failure(names).has_value());
    names.names.insert(names.names.begin(), std::make_shared<SignedName>());
    CHECK(bulk_failure(names) == limit);
    SnapshotPart part = snapshot_part();
    part.origins.clear();
    for (std::uint32_t row = 0; row < limits::members_max; ++row) {
      part.origins.push_back({NodeRef{NodeRef::lowest(row << 8U)}, 1, UINT64_MAX, UINT64_MAX});
    }
    part.origin_count = part.origins.size();
    SnapshotPacker packer(part.origin_count, limits::snapshot_part_bytes_max);
    SnapshotBits bits{};
    bits[127] = 1;
    while (packer.append({std::nullopt, Id64{5}, bits})) {
    }
    part.entries = packer.take();
    CHECK(encode_bulk(part).size() <= limits::control_frame_bytes_max);
    CHECK_FALSE(bulk_failure(part).has_value());
    SnapshotPacker larger(part.origin_count, limits::snapshot_part_bytes_max + 100);
    while (larger.append({std::nullopt, Id64{5}, bits})) {
    }
    part.entries = larger.take();
    CHECK(bulk_failure(part) == limit);
    part.entries.clear();
    part.origins.push_back({NodeRef{node_b()}, 1, 1, 1});
    ++part.origin_count;
    CHECK(bulk_failure(part).has_value());
  }

  TEST_CASE("values out of range are refused") {
    const auto with_record = [](Record record) {
      return failure(one_log(node_a(), 1, 1, {std::move(record)}));
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
    CHECK(failure(one_log(node_a(), 1, 0, {Have{}})).has_value());
    CHECK(failure(one_log(node_a(), 1, UINT64_MAX, {Have{}})).has_value());
    CHECK(failure(AePull{{{NodeRef{node_a()}, 1, 0}}}).has_value());
    CHECK(failure(AePull{{{NodeRef{node_a()}, 1, 1}, {NodeRef{node_a()}, 1, 2}}}).has_value());
    const LogState state{NodeRef{node_a()}, 1, 5, 0, 1};
    const LogState later{NodeRef{node_b()}, 1, 5, 0, 1};
    CHECK_FALSE(failure(AeStates{false, 0, 0, {state, later}}).has_value());
    CHECK(failure(AeStates{false, 0, 0, {later, state}}).has_value());
    CHECK(failure(AeStates{false, 0, 0, {state, state}}).has_value());
    CHECK(failure(AeStates{false, 0, 0, {{NodeRef{node_a()}, 1, 0, 0, 0}}})
              .has_value());  // no record at all
    CHECK(failure(AeStates{false, 0, 0, {{NodeRef{node_a()}, 1, 5, 0, 6}}})
              .has_value());                                // more in the log than there were
    CHECK(failure(AeStates{false, 0, 1, {}}).has_value());  // a range that does not count
    CHECK(failure(AeStates{true, 2, 1, {}}).has_value());
    CHECK_FALSE(failure(AeStates{true, 0x01020304, 0x01020304, {state}}).has_value());
    CHECK(failure(AeStates{true, 0x01020305, UINT32_MAX, {state}}).has_value());
    CHECK(failure(AeStates{true, 0, 0x01020303, {state}}).has_value());
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 0, 1, {Id64{2}, Id64{1}}, {}}).has_value());
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 0, 1, {Id64{2}, Id64{2}}, {}}).has_value());
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 1, 2, {Id64{2}}, {}})
              .has_value());  // ids beside part 0
    CHECK(bulk_failure(SetData{node_a(), 1, 1, 0, 1, 1, {}, {}}).has_value());
    const SetData many_parts{node_a(), 1, 1, 0, 0, limits::set_parts_max + 1, {}, {}};
    CHECK(bulk_failure(many_parts).has_value());
    const auto changed = [](auto change) {
      SnapshotPart part = snapshot_part();
      change(part);
      return bulk_failure(part).has_value();
    };
    CHECK_FALSE(changed([](SnapshotPart& part) { part.next = 2; }));
    CHECK(changed([](SnapshotPart& part) { part.next = 1; }));  // goes nowhere
    CHECK_FALSE(changed([](SnapshotPart& part) { part.next = 0; }));
    CHECK_FALSE(changed([](SnapshotPart& part) { part.origins.clear(); }));
    CHECK(changed([](SnapshotPart& part) { part.origins.pop_back(); }));
    CHECK(changed([](SnapshotPart& part) { std::swap(part.origins[0], part.origins[1]); }));
    CHECK(changed([](SnapshotPart& part) { part.origins[1] = part.origins[0]; }));
    CHECK(changed([](SnapshotPart& part) { part.origins[1].seq = 0; }));
    CHECK(changed([](SnapshotPart& part) { part.origin_count = 1; }));
    CHECK(changed([](SnapshotPart& part) { part.entries.pop_back(); }));
    CHECK(changed([](SnapshotPart& part) { part.from.names = true; }));  // ids among names
    CHECK(changed([](SnapshotPart& part) { part.names = {name()}; }));   // names among ids
    SnapshotPart names = snapshot_names();
    names.names.push_back(names.names[0]);
    CHECK(bulk_failure(names).has_value());
    // Bulk kinds are no datagrams, unknown kinds nothing, foreign digests neither.
    CHECK_FALSE(decode_message(encode_bulk(SetNone{node_a()})).has_value());
    CHECK_FALSE(decode_bulk(encode(AeRoot{1, false})).has_value());
    CHECK_FALSE(decode_message(*from_hex("920b00")).has_value());
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
    const LogSlice other{NodeRef::short_of(node_b()), 2, 9, {Have{Id64{1}}}};
    for (const std::size_t bytes_max : {512U, 1200U, 1400U}) {
      std::uint64_t seq = 1ULL << 40U;
      const std::vector<LogSlice> slices{{NodeRef{node_a()}, 1, seq, records}, other};
      const auto bodies = pack_records(64, slices, bytes_max);
      for (const auto& body : bodies) {
        CHECK(body.size() <= bytes_max);
        const auto message = decode_message(body);
        REQUIRE(message.has_value());
        const auto& part = std::get<Records>(*message);
        CHECK(part.rows == 64);
        for (const LogSlice& slice : part.logs) {
          if (slice.origin == other.origin) continue;
          CHECK(slice.first_seq == seq);
          seq += slice.records.size();
        }
      }
      CHECK(seq == (1ULL << 40U) + records.size());
      CHECK(std::get<Records>(*decode_message(bodies.back())).logs.back().origin == other.origin);
    }
  }

  TEST_CASE("the size of a growing slice is what it packs to, whatever kinds follow each other") {
    Prng prng(5);
    for (std::size_t round = 0; round < 200; ++round) {
      LogSlice slice{round % 2 == 0 ? NodeRef{node_a()} : NodeRef::short_of(node_a()),
                     static_cast<std::uint16_t>(round),
                     1 + (prng.next() >> prng.below(63)),
                     {}};
      if (round % 3 == 0) slice.age = std::chrono::milliseconds(prng.below(5000));
      SliceSize size(slice);
      while (slice.records.size() < 1 + prng.below(limits::records_per_slice_max)) {
        // Runs longer than one run byte can count, and changes of kind.
        const std::uint64_t kind = slice.records.empty() || prng.chance(0.03)
                                       ? prng.below(5)
                                       : slice.records.back().index();
        Record record = Have{Id64{prng.next()}};
        if (kind == 1)
          record = DefinedHave{{definition().digest, prng.below(limits::blob_bytes_max)}};
        if (kind == 2) record = Drop{Id64{prng.next()}};
        if (kind == 3) record = Named{name()};
        if (kind == 4) record = Base{prng.next() >> prng.below(63), prng.next(), prng.next()};
        size.add(record);
        slice.records.push_back(std::move(record));
      }
      Bytes packed;
      append_packed(packed, slice);
      CHECK(size.bytes() == packed.size());
    }
  }

  TEST_CASE("what sixty nodes of a row announced in half a second is one datagram") {
    std::vector<LogSlice> slices;
    for (std::uint32_t i = 1; i <= 60; ++i) {
      slices.push_back({NodeRef{NodeRef::lowest(i), false}, 7, 40, {Have{Id64{i}}}});
    }
    CHECK(pack_records(0, slices, 1200).size() == 1);
  }

  TEST_CASE("packed states cover the whole range without overlap") {
    std::vector<LogState> states;
    for (std::uint32_t i = 1; i <= 300; ++i) {
      states.push_back({NodeRef{NodeRef::lowest(i), false}, 0xffff, UINT64_MAX, 7, 1});
    }
    // Two ids with the same first bytes stand together.
    for (std::byte last : {std::byte{1}, std::byte{2}}) {
      NodeId id = NodeRef::lowest(301);
      id.bytes[15] = last;
      states.push_back({NodeRef{id}, 1, 1, 0, 0});
    }
    for (const std::size_t bytes_max : {512U, 530U, 545U, 1200U}) {
      std::uint64_t begin = 0;
      std::size_t seen = 0;
      for (const auto& body : pack_full_states(states, 0, 5000, bytes_max)) {
        CHECK(body.size() <= bytes_max);
        const auto message = decode_message(body);
        REQUIRE(message.has_value());
        const auto& part = std::get<AeStates>(*message);
        CHECK(part.full);
        CHECK(part.from == begin);
        begin = std::uint64_t{part.to} + 1;
        seen += part.states.size();
      }
      CHECK(begin == 5001);
      CHECK(seen == states.size());
      seen = 0;
      for (const auto& body : pack_some_states(states, bytes_max)) {
        CHECK(body.size() <= bytes_max);
        seen += std::get<AeStates>(*decode_message(body)).states.size();
      }
      CHECK(seen == states.size());
    }
    CHECK(pack_full_states({}, 0, UINT32_MAX, 1200).size() == 1);
    CHECK(pack_some_states({}, 1200).empty());
    std::vector<LogRange> ranges;
    for (const LogState& state : states) ranges.push_back({state.origin, 1, UINT64_MAX});
    std::size_t pulled = 0;
    for (const auto& body : pack_pulls(ranges, 512)) {
      CHECK(body.size() <= 512);
      pulled += std::get<AePull>(*decode_message(body)).ranges.size();
    }
    CHECK(pulled == ranges.size());
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
