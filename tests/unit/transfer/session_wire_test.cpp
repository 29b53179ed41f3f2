// Golden vectors of a whole session, made by an independent implementation
// (tests/interop/noise_peer.py).
#include "transfer/session_crypt.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

using namespace waggle;
using namespace waggle::transfer;

namespace {

/// Gives out one fixed byte: the vectors' ephemeral secrets.
class FixedRandomSource final : public RandomSource {
 public:
  explicit FixedRandomSource(int value) : value_(static_cast<std::byte>(value)) {}
  void fill(MutableByteView out) override { std::ranges::fill(out, value_); }

 private:
  std::byte value_;
};

using Vector = std::map<std::string, std::string>;

std::vector<Vector> read_vectors() {
  std::ifstream file(WAGGLE_WIRE_DIR "/session.txt");
  std::vector<Vector> out;
  for (std::string line; std::getline(file, line);) {
    const auto equals = line.find('=');
    if (line.starts_with('#') || equals == std::string::npos) continue;
    if (line.starts_with("cipher=")) out.emplace_back();
    out.back()[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return out;
}

Identity identity_of(int fill) {
  SecretBytes<32> seed;
  std::ranges::fill(seed.mutable_view(), static_cast<std::byte>(fill));
  return Identity(seed);
}

KeyRing cluster_keys() {
  SecretKey key;
  for (std::size_t i = 0; i < 32; ++i) key.mutable_view()[i] = static_cast<std::byte>(i);
  return {ClusterKey(key)};
}

/// What one side sends in the vectors after the handshake.
void check_records(const SessionSecrets& secrets, const std::string& role, const Vector& vector) {
  SessionSealer sealer(secrets);
  Bytes control;
  sealer.seal_control(as_bytes("hello from " + role), control);
  CHECK(to_hex(control) == vector.at("control_" + role));
  PayloadHeader header;
  for (std::size_t i = 0; i < 16; ++i) header.tag.bytes[i] = static_cast<std::byte>(i);
  header.chunk = ChunkIndex{7};
  header.offset = 65'536;
  header.length = 33;
  Bytes record(payload_record_bytes(33));
  const MutableByteView data = SessionSealer::payload_data(record);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + 5);
  sealer.seal_payload(header, record);
  CHECK(to_hex(record) == vector.at("payload_" + role));
}

}  // namespace

TEST_SUITE("transfer/session_wire") {
  TEST_CASE("every byte of a session is as the independent implementation writes it") {
    const auto vectors = read_vectors();
    REQUIRE(vectors.size() == 2);
    for (const Vector& vector : vectors) {
      CAPTURE(vector.at("cipher"));
      const bool aes = vector.at("cipher") == "AESGCM";
      const Identity alice = identity_of(1);
      const Identity bob = identity_of(2);
      FixedRandomSource alice_random(3);
      FixedRandomSource bob_random(4);
      const std::uint32_t caps = aes ? capability::aes_gcm : 0;
      Handshake initiator =
          Handshake::initiator(HandshakeConfig::make("interop", cluster_keys(), alice, caps),
                               alice_random, bob.node_id());
      Handshake responder = Handshake::responder(
          HandshakeConfig::make("interop", cluster_keys(), bob, caps), bob_random);

      const Bytes first = initiator.start().value();
      CHECK(to_hex(first) == vector.at("first"));
      REQUIRE(responder.receive(ByteView(first).first(8)).has_value());
      const Bytes second = responder.receive(ByteView(first).subspan(8)).value();
      CHECK(to_hex(second) == vector.at("second"));
      REQUIRE(initiator.receive(ByteView(second).first(2)).has_value());
      const Bytes third = initiator.receive(ByteView(second).subspan(2)).value();
      CHECK(to_hex(third) == vector.at("third"));
      REQUIRE(responder.receive(ByteView(third).first(2)).has_value());
      REQUIRE(responder.receive(ByteView(third).subspan(2)).has_value());

      check_records(initiator.finish(), "initiator", vector);
      check_records(responder.finish(), "responder", vector);
    }
  }
}
