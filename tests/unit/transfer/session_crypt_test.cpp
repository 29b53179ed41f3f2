// Sealing and opening of records, both ciphers.
#include "transfer/session_crypt.hpp"

#include "base/random_source.hpp"
#include "transfer/error.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using namespace waggle::transfer;

namespace {

struct Ends {
  SessionSecrets left, right;
};

Ends ends_of(PayloadCipher cipher) {
  SeededRandomSource random(5);
  Ends ends;
  for (SecretKey* key : {&ends.left.control_send, &ends.left.control_receive,
                         &ends.left.payload_send, &ends.left.payload_receive}) {
    random.fill(key->mutable_view());
  }
  ends.left.payload_cipher = ends.right.payload_cipher = cipher;
  ends.right.control_send = ends.left.control_receive;
  ends.right.control_receive = ends.left.control_send;
  ends.right.payload_send = ends.left.payload_receive;
  ends.right.payload_receive = ends.left.payload_send;
  return ends;
}

PayloadHeader header_of(std::uint32_t length) {
  PayloadHeader header;
  header.tag.bytes.fill(std::byte{0x42});
  header.chunk = ChunkIndex{3};
  header.offset = 65'536;
  header.length = length;
  return header;
}

Bytes sealed_payload(SessionSealer& sealer, std::uint32_t length, std::byte fill) {
  Bytes record(payload_record_bytes(length));
  std::ranges::fill(SessionSealer::payload_data(record), fill);
  sealer.seal_payload(header_of(length), record);
  return record;
}

Record view_of(Bytes& bytes) {
  const auto header = RecordHeader::from_wire(ByteView(bytes).first<record_header_bytes>());
  REQUIRE(header.has_value());
  REQUIRE(header->length == bytes.size() - record_header_bytes);
  return {header->kind, ByteView(bytes).first(record_header_bytes),
          MutableByteView(bytes).subspan(record_header_bytes)};
}

constexpr auto both_ciphers = {PayloadCipher::chacha20_poly1305, PayloadCipher::aes_256_gcm};

}  // namespace

TEST_SUITE("transfer/session_crypt") {
  TEST_CASE("payload of any length opens at the other end, in place") {
    for (const PayloadCipher cipher : both_ciphers) {
      const Ends ends = ends_of(cipher);
      SessionSealer sealer(ends.left);
      SessionOpener opener(ends.right);
      for (const std::uint32_t length : {0U, 1U, 15U, 16U, 4096U, 65'535U, 65'536U}) {
        CAPTURE(length);
        Bytes record = sealed_payload(sealer, length, std::byte{7});
        const auto frame = opener.open_payload(view_of(record));
        REQUIRE(frame.has_value());
        CHECK(frame->header == header_of(length));
        CHECK(frame->data.size() == length);
        CHECK(std::ranges::all_of(frame->data, [](std::byte b) { return b == std::byte{7}; }));
      }
    }
  }

  TEST_CASE("the same bytes never seal the same, and records open once and in order only") {
    for (const PayloadCipher cipher : both_ciphers) {
      const Ends ends = ends_of(cipher);
      SessionSealer sealer(ends.left);
      const Bytes first = sealed_payload(sealer, 100, std::byte{1});
      const Bytes second = sealed_payload(sealer, 100, std::byte{1});
      CHECK(first != second);
      Bytes copy = first;
      SessionOpener opener(ends.right);
      REQUIRE(opener.open_payload(view_of(copy)).has_value());
      copy = first;
      CHECK(opener.open_payload(view_of(copy)).error() == TransferError::record_forged);
      SessionOpener skipping(ends.right);
      copy = second;
      CHECK(skipping.open_payload(view_of(copy)).error() == TransferError::record_forged);
    }
  }

  TEST_CASE(
      "payload opens into the place that its header names, and stays where it is without one") {
    for (const PayloadCipher cipher : both_ciphers) {
      const Ends ends = ends_of(cipher);
      SessionSealer sealer(ends.left);
      SessionOpener opener(ends.right);
      for (const std::uint32_t length : {0U, 1U, 4095U, 65'536U}) {
        CAPTURE(length);
        Bytes record = sealed_payload(sealer, length, std::byte{7});
        Bytes place(length, std::byte{1});
        const auto frame = opener.open_payload(view_of(record), [&](const PayloadHeader& header) {
          CHECK(header == header_of(length));
          return MutableByteView(place);
        });
        REQUIRE(frame.has_value());
        CHECK(frame->data.size() == length);
        CHECK((length == 0 || frame->data.data() == place.data()));
        CHECK(std::ranges::all_of(place, [](std::byte b) { return b == std::byte{7}; }));
        record = sealed_payload(sealer, length, std::byte{8});
        const auto here = opener.open_payload(
            view_of(record), [](const PayloadHeader&) { return MutableByteView{}; });
        REQUIRE(here.has_value());
        CHECK(std::ranges::all_of(here->data, [](std::byte b) { return b == std::byte{8}; }));
      }
    }
  }

  TEST_CASE("a header that disagrees with its record gets no place") {
    const Ends ends = ends_of(PayloadCipher::aes_256_gcm);
    SessionSealer sealer(ends.left);
    SessionOpener opener(ends.right);
    Bytes record = sealed_payload(sealer, 100, std::byte{3});
    record[record_header_bytes + payload_header_bytes - 1] ^=
        std::byte{1};  // the length's top byte
    bool asked = false;
    const auto frame = opener.open_payload(view_of(record), [&](const PayloadHeader&) {
      asked = true;
      return MutableByteView{};
    });
    CHECK(frame.error() == TransferError::record_forged);
    CHECK_FALSE(asked);
  }

  TEST_CASE("after one forged record nothing opens") {
    const Ends ends = ends_of(PayloadCipher::chacha20_poly1305);
    SessionSealer sealer(ends.left);
    SessionOpener opener(ends.right);
    const Bytes honest = sealed_payload(sealer, 10, std::byte{1});
    Bytes forged = honest;
    forged.back() ^= std::byte{1};
    CHECK(opener.open_payload(view_of(forged)).error() == TransferError::record_forged);
    Bytes copy = honest;
    CHECK(opener.open_payload(view_of(copy)).error() == TransferError::record_forged);
    Bytes control;
    sealer.seal_control(as_bytes("x"), control);
    CHECK(opener.open_control(view_of(control)).error() == TransferError::record_forged);
  }

  TEST_CASE("a flipped bit anywhere in a record is found") {
    for (const PayloadCipher cipher : both_ciphers) {
      const Ends ends = ends_of(cipher);
      SessionSealer sealer(ends.left);
      const Bytes record = sealed_payload(sealer, 20, std::byte{9});
      for (std::size_t i = record_header_bytes; i < record.size(); ++i) {
        Bytes copy = record;
        copy[i] ^= std::byte{0x80};
        SessionOpener opener(ends.right);
        CHECK(opener.open_payload(view_of(copy)).error() == TransferError::record_forged);
      }
    }
  }

  TEST_CASE("the record header is authenticated: another length or kind does not open") {
    const Ends ends = ends_of(PayloadCipher::aes_256_gcm);
    SessionSealer sealer(ends.left);
    Bytes record = sealed_payload(sealer, 20, std::byte{9});
    Bytes wrong_header = to_bytes(ByteView(record).first(record_header_bytes));
    wrong_header[0] ^= std::byte{1};
    SessionOpener opener(ends.right);
    Record view = view_of(record);
    view.header = wrong_header;
    CHECK(opener.open_payload(view).error() == TransferError::record_forged);
    Bytes as_control = sealed_payload(sealer, 20, std::byte{9});
    as_control[3] = static_cast<std::byte>(RecordKind::control);
    SessionOpener other(ends.right);
    CHECK(other.open_control(view_of(as_control)).error() == TransferError::record_forged);
  }

  TEST_CASE("a payload header that disagrees with its record is refused") {
    const Ends ends = ends_of(PayloadCipher::chacha20_poly1305);
    PayloadCipherState cipher(PayloadCipher::chacha20_poly1305, CipherDirection::seal,
                              ends.left.payload_send);
    Bytes record(payload_record_bytes(10));
    const auto clear =
        RecordHeader{RecordKind::payload, static_cast<std::uint32_t>(payload_sealed_bytes(10))}
            .to_wire();
    std::ranges::copy(clear, record.begin());
    const MutableByteView body = MutableByteView(record).subspan(record_header_bytes);
    header_of(11).to_wire(body.first<payload_header_bytes>());
    cipher.seal(clear, body);
    SessionOpener opener(ends.right);
    CHECK(opener.open_payload(view_of(record)).error() == TransferError::bad_payload);
  }

  TEST_CASE("both sides rekey at the same record, control and payload apart") {
    for (const PayloadCipher cipher : both_ciphers) {
      const Ends ends = ends_of(cipher);
      SessionSealer sealer(ends.left, 1000);
      SessionOpener opener(ends.right, 1000);
      SessionOpener never(ends.right);
      bool never_failed = false;
      for (int i = 0; i < 50; ++i) {
        Bytes record = sealed_payload(sealer, 300, std::byte{1});
        Bytes copy = record;
        never_failed |= !never.open_payload(view_of(copy)).has_value();
        CHECK(never_failed == (i >= 3));  // 344 sealed bytes each: the third passes 1000
        REQUIRE(opener.open_payload(view_of(record)).has_value());
        Bytes control;
        sealer.seal_control(Bytes(200), control);
        REQUIRE(opener.open_control(view_of(control)).has_value());
      }
    }
  }

  TEST_CASE("OpenSSL's ChaCha20-Poly1305 and libsodium's write the same bytes, rekey included") {
    SecretKey key;
    key.mutable_view()[3] = std::byte{77};
    PayloadCipherState evp(PayloadCipher::chacha20_poly1305, CipherDirection::seal, key);
    CipherState sodium(key);
    for (int i = 0; i < 5; ++i) {
      const Bytes aad(static_cast<std::size_t>(i) + 1, std::byte{3});
      Bytes text(1000 + static_cast<std::size_t>(i), static_cast<std::byte>(i));
      Bytes expected(text.size() + 16);
      REQUIRE(sodium.seal(aad, text, expected).has_value());
      text.resize(text.size() + 16);
      evp.seal(aad, text);
      CHECK(text == expected);
      evp.rekey();
      sodium.rekey();
    }
    CHECK(evp.counter() == sodium.counter());
  }

  TEST_CASE("AES-256-GCM: test case 14 of the GCM submission, zero key and nonce") {
    PayloadCipherState cipher(PayloadCipher::aes_256_gcm, CipherDirection::seal, SecretKey{});
    Bytes record(16 + 16);
    cipher.seal({}, record);
    CHECK(to_hex(record) == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  }

  TEST_CASE("control messages of several records arrive whole") {
    const Ends ends = ends_of(PayloadCipher::chacha20_poly1305);
    SessionSealer sealer(ends.left);
    SessionOpener opener(ends.right);
    Bytes message(150'000);
    for (std::size_t i = 0; i < message.size(); ++i) message[i] = static_cast<std::byte>(i % 251);
    Bytes stream;
    sealer.seal_control(message, stream);
    CHECK(stream.size() == control_wire_bytes(message.size()));
    FrameReader reader;
    std::ranges::copy(stream, reader.prepare().begin());
    reader.commit(stream.size());
    ControlJoiner joiner;
    std::optional<Bytes> joined;
    while (const auto record = reader.next().value()) {
      CHECK_FALSE(joined.has_value());
      joined = joiner.add(opener.open_control(*record).value()).value();
    }
    CHECK(joined == message);
  }
}
