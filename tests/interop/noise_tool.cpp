// One side of a transfer session over stdin and stdout, for tests/interop/run.py: the real
// handshake, records and ciphers against a peer that shares no code. Exit 0 when everything it read
// was right.
#include "base/keys.hpp"
#include "transfer/frame.hpp"
#include "transfer/handshake.hpp"
#include "transfer/session_crypt.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <sodium.h>
#include <unistd.h>

using namespace waggle;
using namespace waggle::transfer;

namespace {

constexpr std::uint64_t rekey_after = 100'000;  // small, so that the exchange crosses several
constexpr std::array<std::size_t, 6> control_sizes{0, 1, 1000, 65'518, 65'519, 300'000};
constexpr std::array<std::uint32_t, 6> payload_sizes{0, 1, 4096, 65'536, 65'536, 65'536};

[[noreturn]] void fail(std::string_view what) {
  std::fprintf(stderr, "noise_tool: %.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

void write_all(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) fail("the other side closed");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

std::size_t read_some(MutableByteView out) {
  for (;;) {
    const ssize_t size = ::read(STDIN_FILENO, out.data(), out.size());
    if (size > 0) return static_cast<std::size_t>(size);
    if (size == 0 || errno != EINTR) fail("the other side closed");
  }
}

template <typename T>
T value_of(Result<T> result, std::string_view what) {
  if (!result) fail(std::string(what) + ": " + result.error().message());
  return std::move(*result);
}

Identity identity_of(int fill) {
  SecretBytes<32> seed;
  std::ranges::fill(seed.mutable_view(), static_cast<std::byte>(fill));
  return Identity(seed);
}

SessionSecrets shake(bool initiator, bool aes) {
  SecretKey key;
  for (std::size_t i = 0; i < 32; ++i) key.mutable_view()[i] = static_cast<std::byte>(i);
  const Identity mine = identity_of(initiator ? 1 : 2);
  const Identity theirs = identity_of(initiator ? 2 : 1);
  SystemRandomSource random;
  const auto config =
      HandshakeConfig::make("interop", {ClusterKey(key)}, mine, aes ? capability::aes_gcm : 0);
  Handshake handshake = initiator ? Handshake::initiator(config, random, theirs.node_id())
                                  : Handshake::responder(config, random);
  write_all(value_of(handshake.start(), "start"));
  while (handshake.wanted() > 0) {
    Bytes bytes(handshake.wanted());
    for (MutableByteView rest(bytes); !rest.empty();) rest = rest.subspan(read_some(rest));
    write_all(value_of(handshake.receive(bytes), "handshake"));
  }
  if (handshake.peer() != theirs.node_id()) fail("another peer");
  return handshake.finish();
}

Bytes content(std::size_t size, std::size_t salt) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i * 7 + salt);
  return out;
}

PayloadHeader header_of(std::size_t i) {
  PayloadHeader header;
  header.tag.bytes.fill(static_cast<std::byte>(i));
  header.chunk = ChunkIndex{static_cast<std::uint32_t>(i)};
  header.offset = static_cast<std::uint32_t>(10 * i);
  header.length = payload_sizes[i];
  return header;
}

void send_all(SessionSealer& sealer, std::size_t salt) {
  for (std::size_t i = 0; i < control_sizes.size(); ++i) {
    Bytes out;
    sealer.seal_control(content(control_sizes[i], salt + i), out);
    write_all(out);
  }
  for (std::size_t i = 0; i < payload_sizes.size(); ++i) {
    Bytes record(payload_record_bytes(payload_sizes[i]));
    std::ranges::copy(content(payload_sizes[i], salt + i),
                      SessionSealer::payload_data(record).begin());
    sealer.seal_payload(header_of(i), record);
    write_all(record);
  }
}

void receive_all(SessionOpener& opener, std::size_t salt) {
  FrameReader reader;
  ControlJoiner joiner;
  std::size_t controls = 0;
  std::size_t payloads = 0;
  while (controls < control_sizes.size() || payloads < payload_sizes.size()) {
    reader.commit(read_some(reader.prepare()));
    while (const auto record = value_of(reader.next(), "record")) {
      if (record->kind == RecordKind::payload) {
        const auto frame = value_of(opener.open_payload(*record), "payload");
        if (payloads >= payload_sizes.size() || frame.header != header_of(payloads) ||
            !std::ranges::equal(frame.data, content(payload_sizes[payloads], salt + payloads))) {
          fail("wrong payload");
        }
        ++payloads;
      } else if (const auto message = value_of(
                     joiner.add(value_of(opener.open_control(*record), "control")), "message")) {
        if (controls >= control_sizes.size() ||
            *message != content(control_sizes[controls], salt + controls)) {
          fail("wrong control message");
        }
        ++controls;
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view role = argc == 3 ? argv[1] : "";
  const std::string_view cipher = argc == 3 ? argv[2] : "";
  if ((role != "initiator" && role != "responder") || (cipher != "aes" && cipher != "chacha")) {
    fail("usage: noise_tool initiator|responder aes|chacha");
  }
  if (sodium_init() < 0) fail("libsodium does not start");
  const bool initiator = role == "initiator";
  const SessionSecrets secrets = shake(initiator, cipher == "aes");
  if ((secrets.payload_cipher == PayloadCipher::aes_256_gcm) != (cipher == "aes")) {
    fail("the other cipher was negotiated");
  }
  SessionSealer sealer(secrets, rekey_after);
  SessionOpener opener(secrets, rekey_after);
  if (initiator) {
    send_all(sealer, 11);
    receive_all(opener, 22);
  } else {
    receive_all(opener, 11);
    send_all(sealer, 22);
  }
  return 0;
}
