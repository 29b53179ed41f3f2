// The Noise pattern against vectors of two other implementations.
#include "transfer/noise_handshake.hpp"

#include "transfer/error.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

using namespace waggle;
using namespace waggle::transfer;

namespace {

using Vector = std::map<std::string, std::string>;

/// Blank-line separated blocks of name=hex; '#' opens a comment.
std::vector<Vector> read_vectors(const std::string& name) {
  std::ifstream file(std::string(WAGGLE_WIRE_DIR) + "/" + name);
  REQUIRE(file.good());
  std::vector<Vector> out(1);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    const auto equals = line.find('=');
    if (equals != std::string::npos) {
      out.back()[line.substr(0, equals)] = line.substr(equals + 1);
    } else if (!out.back().empty()) {
      out.emplace_back();
    }
  }
  if (out.back().empty()) out.pop_back();
  return out;
}

Bytes bytes_of(const Vector& vector, const std::string& name) {
  const auto found = vector.find(name);
  return found == vector.end() ? Bytes{} : from_hex(found->second).value();
}

SecretKey key_of(const Vector& vector, const std::string& name) {
  const Bytes bytes = bytes_of(vector, name);
  REQUIRE(bytes.size() == 32);
  return SecretKey{std::span<const std::byte, 32>(bytes)};
}

NoiseHandshake side_of(const Vector& vector, NoiseRole role) {
  const std::string who = role == NoiseRole::initiator ? "init" : "resp";
  const SecretKey secret = key_of(vector, who + "_static");
  const NoiseKeyPair keys{.secret = secret, .public_key = noise_public_key(secret)};
  return {role, bytes_of(vector, "prologue"), key_of(vector, "preshared_key"), keys,
          key_of(vector, "gen_" + who + "_ephemeral")};
}

}  // namespace

TEST_SUITE("transfer/noise") {
  TEST_CASE("published vectors: both roles write and read the same bytes") {
    const auto vectors = read_vectors("noise_xxpsk0.txt");
    REQUIRE(vectors.size() == 4);
    for (const Vector& vector : vectors) {
      NoiseHandshake initiator = side_of(vector, NoiseRole::initiator);
      NoiseHandshake responder = side_of(vector, NoiseRole::responder);
      for (int i = 0; i < 3; ++i) {
        CAPTURE(i);
        NoiseHandshake& writer = i % 2 == 0 ? initiator : responder;
        NoiseHandshake& reader = i % 2 == 0 ? responder : initiator;
        const std::string name = "msg_" + std::to_string(i);
        const Bytes payload = bytes_of(vector, name + "_payload");
        const auto message = writer.write_message(payload);
        REQUIRE(message.has_value());
        CHECK(to_hex(*message) == vector.at(name + "_ciphertext"));
        CHECK(reader.read_message(*message).value() == payload);
      }
      REQUIRE(initiator.finished());
      REQUIRE(responder.finished());
      CHECK(initiator.hash() == responder.hash());
      for (int i = 3; i < 5; ++i) {
        CAPTURE(i);
        CipherState sender(i == 3 ? initiator.split().first : responder.split().first);
        CipherState receiver(i == 3 ? responder.split().second : initiator.split().second);
        const std::string name = "msg_" + std::to_string(i);
        const Bytes payload = bytes_of(vector, name + "_payload");
        Bytes sealed(payload.size() + 16);
        REQUIRE(sender.seal({}, payload, sealed).has_value());
        CHECK(to_hex(sealed) == vector.at(name + "_ciphertext"));
        Bytes opened(payload.size());
        REQUIRE(receiver.open({}, sealed, opened).has_value());
        CHECK(opened == payload);
      }
    }
  }

  TEST_CASE("low order points are refused") {
    // The points of small order on Curve25519 and their non-canonical forms, from RFC 7748
    // section 6.1's warning and libsodium's own list.
    const std::vector<std::string> points = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};
    SecretKey secret;
    secret.mutable_view()[0] = std::byte{7};
    for (const std::string& point : points) {
      CAPTURE(point);
      CHECK(noise_dh(secret, from_hex(point).value()).error() == TransferError::weak_key);
    }
    CHECK(noise_dh(secret, noise_public_key(secret)).has_value());
  }

  TEST_CASE("RFC 7748 section 5.2: X25519 applied to its own result, once and 1,000 times") {
    SecretKey k;
    k.mutable_view()[0] = std::byte{9};
    SecretKey u = k;
    for (int i = 1; i <= 1000; ++i) {
      const SecretKey next = noise_dh(k, u.view()).value();
      u = k;
      k = next;
      if (i == 1) {
        CHECK(to_hex(k.view()) ==
              "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
      }
    }
    CHECK(to_hex(k.view()) == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
  }

  TEST_CASE("a cipher's counter rises with each message, stays on a forgery and survives a rekey") {
    SecretKey key;
    CipherState sender(key);
    CipherState receiver(key);
    const Bytes text(40, std::byte{9});
    Bytes first(56);
    Bytes second(56);
    REQUIRE(sender.seal({}, text, first).has_value());
    REQUIRE(sender.seal({}, text, second).has_value());
    CHECK(first != second);
    CHECK(sender.counter() == 2);
    Bytes opened(40);
    CHECK(receiver.open({}, second, opened).error() == TransferError::not_authentic);
    CHECK(receiver.counter() == 0);
    REQUIRE(receiver.open({}, first, opened).has_value());
    CHECK(receiver.open({}, first, opened).error() == TransferError::not_authentic);
    REQUIRE(receiver.open({}, second, opened).has_value());
    sender.rekey();
    REQUIRE(sender.seal({}, text, first).has_value());
    CHECK(receiver.open({}, first, opened).error() == TransferError::not_authentic);
    receiver.rekey();
    REQUIRE(receiver.open({}, first, opened).has_value());
    CHECK(opened == text);
    CHECK(sender.counter() == 3);
  }
}
