// Record headers, the stream decoder under every split, and the joining of control messages.
#include "transfer/frame.hpp"

#include "base/prng.hpp"
#include "transfer/error.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using namespace waggle::transfer;

namespace {

/// Bodies are not opened here, so any bytes will do.
Bytes record_of(RecordKind kind, std::size_t length, int fill) {
  const auto header = RecordHeader{kind, static_cast<std::uint32_t>(length)}.to_wire();
  Bytes out = to_bytes(header);
  out.resize(out.size() + length, static_cast<std::byte>(fill));
  return out;
}

/// Feeds `stream` in pieces of the sizes given by `next_size` and returns the records' bytes.
template <typename NextSize>
std::vector<Bytes> decode(ByteView stream, NextSize next_size) {
  FrameReader reader;
  std::vector<Bytes> out;
  while (!stream.empty()) {
    const MutableByteView space = reader.prepare();
    const std::size_t size = std::min({next_size(), stream.size(), space.size()});
    std::copy_n(stream.begin(), size, space.begin());
    reader.commit(size);
    stream = stream.subspan(size);
    for (;;) {
      const auto record = reader.next().value();
      if (!record) break;
      out.push_back(to_bytes(record->header));
      append(out.back(), record->body);
    }
  }
  CHECK(reader.buffered() == 0);
  return out;
}

Bytes part(std::byte flag, std::size_t size) {
  Bytes out{flag};
  out.resize(1 + size, std::byte{5});
  return out;
}

}  // namespace

TEST_SUITE("transfer/frame") {
  TEST_CASE("golden headers") {
    CHECK(to_hex(RecordHeader{RecordKind::control, 0x1234}.to_wire()) == "34120001");
    CHECK(to_hex(RecordHeader{RecordKind::payload, 65'580}.to_wire()) == "2c000102");
    PayloadHeader header;
    header.tag.bytes.fill(std::byte{0xaa});
    header.chunk = ChunkIndex{0x01020304};
    header.offset = 0x10000;
    header.length = 7;
    std::array<std::byte, payload_header_bytes> wire{};
    header.to_wire(wire);
    CHECK(to_hex(wire) == "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa040302010000010007000000");
    CHECK(PayloadHeader::from_wire(wire) == header);
  }

  TEST_CASE("kinds and lengths at and beyond their limits") {
    const auto error_of = [](RecordKind kind, std::uint32_t length) {
      const auto header = RecordHeader::from_wire(RecordHeader{kind, length}.to_wire());
      return header ? boost::system::error_code{} : header.error();
    };
    CHECK_FALSE(error_of(RecordKind::control, 17));
    CHECK_FALSE(error_of(RecordKind::control, 65'535));
    CHECK(error_of(RecordKind::control, 16) == TransferError::bad_record);
    CHECK(error_of(RecordKind::control, 65'536) == TransferError::bad_record);
    CHECK_FALSE(error_of(RecordKind::payload, 44));
    CHECK_FALSE(error_of(RecordKind::payload, 65'580));
    CHECK(error_of(RecordKind::payload, 43) == TransferError::bad_record);
    CHECK(error_of(RecordKind::payload, 65'581) == TransferError::bad_record);
    for (const int kind : {0, 3, 128, 255}) {
      CHECK(error_of(static_cast<RecordKind>(kind), 100) == TransferError::bad_record);
    }
  }

  TEST_CASE("records come out whole and in order however the stream is split") {
    Bytes stream;
    std::vector<Bytes> records;
    Prng prng(3);
    for (int i = 0; i < 40; ++i) {
      const bool payload = prng.chance(0.5);
      const std::size_t length = payload ? 44 + prng.below(65'537) : 17 + prng.below(65'519);
      records.push_back(record_of(payload ? RecordKind::payload : RecordKind::control, length, i));
      append(stream, records.back());
    }
    records.push_back(record_of(RecordKind::control, 17, 99));
    append(stream, records.back());
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{3}, std::size_t{4}, std::size_t{65'536}, SIZE_MAX}) {
      CAPTURE(size);
      CHECK(decode(stream, [&] { return size; }) == records);
    }
    for (int round = 0; round < 20; ++round) {
      CHECK(decode(stream, [&] { return 1 + prng.below(200'000); }) == records);
    }
  }

  TEST_CASE("a bad header is seen as soon as it is there and stays bad") {
    FrameReader reader;
    const Bytes bad(4, std::byte{0xff});
    std::ranges::copy(bad, reader.prepare().begin());
    reader.commit(3);
    CHECK(reader.next().value() == std::nullopt);
    reader.commit(1);
    CHECK(reader.next().error() == TransferError::bad_record);
    CHECK(reader.next().error() == TransferError::bad_record);
  }

  TEST_CASE("the smallest reader holds the largest record at any place") {
    FrameReader reader(record_bytes_max);
    const Bytes largest = record_of(RecordKind::payload, 65'580, 1);
    for (int i = 0; i < 3; ++i) {
      ByteView rest(largest);
      while (!rest.empty()) {
        const MutableByteView space = reader.prepare();
        const std::size_t size = std::min({space.size(), rest.size(), std::size_t{50'000}});
        REQUIRE(size > 0);
        std::copy_n(rest.begin(), size, space.begin());
        reader.commit(size);
        rest = rest.subspan(size);
      }
      CHECK(reader.next().value()->body.size() == 65'580);
    }
  }

  TEST_CASE("control messages are cut into full parts and joined again") {
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{65'518}, std::size_t{65'519},
          std::size_t{200'000}, limits::control_frame_bytes_max}) {
      CAPTURE(size);
      Bytes message(size);
      for (std::size_t i = 0; i < size; ++i) message[i] = static_cast<std::byte>(i * 31);
      const auto parts = control_parts(message);
      CHECK(parts.size() == std::max<std::size_t>(1, (size + 65'517) / 65'518));
      CHECK(control_wire_bytes(size) == size + parts.size() * 21);
      ControlJoiner joiner;
      for (std::size_t i = 0; i < parts.size(); ++i) {
        Bytes plaintext{i + 1 == parts.size() ? control_last : control_more};
        append(plaintext, parts[i]);
        const auto joined = joiner.add(plaintext);
        REQUIRE(joined.has_value());
        CHECK(joined->has_value() == (i + 1 == parts.size()));
        if (joined->has_value()) CHECK(**joined == message);
      }
    }
  }

  TEST_CASE(
      "a control message beyond the limit, short middle parts and unknown flags end the session") {
    ControlJoiner joiner;
    for (int i = 0; i < 16; ++i) CHECK(joiner.add(part(control_more, 65'518)).has_value());
    CHECK(joiner.add(part(control_last, 289)).error() == TransferError::control_too_long);
    ControlJoiner other;
    CHECK(other.add(part(control_more, 65'517)).error() == TransferError::bad_record);
    CHECK(ControlJoiner().add(part(std::byte{2}, 10)).error() == TransferError::bad_record);
    CHECK(ControlJoiner().add({}).error() == TransferError::bad_record);
  }
}
