// The session handshake: both sides in memory, and every way to disturb it.
#include "transfer/handshake.hpp"

#include "transfer/error.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <functional>

using namespace waggle;
using namespace waggle::transfer;

namespace {

/// Two nodes of one cluster, and a wire between them that can be tampered with.
struct Pair {
  SeededRandomSource random{42};
  KeyRing keys{ClusterKey::generate(random)};
  Identity alice = Identity::generate(random);
  Identity bob = Identity::generate(random);
  HandshakeConfig alice_config = HandshakeConfig::make("test", keys, alice, 0);
  HandshakeConfig bob_config = HandshakeConfig::make("test", keys, bob, 0);
  std::optional<NodeId> expected = bob.node_id();

  Bytes from_alice, from_bob;  // what crossed the wire
  boost::system::error_code alice_error, bob_error;
  std::optional<SessionSecrets> alice_secrets, bob_secrets;
  /// Changes byte `position` of the stream that this side sends.
  std::optional<std::size_t> flip_alice, flip_bob;

  void run() {
    Handshake initiator = Handshake::initiator(alice_config, random, expected);
    Handshake responder = Handshake::responder(bob_config, random);
    send(from_alice, flip_alice, initiator.start().value());
    std::size_t alice_read = 0;
    std::size_t bob_read = 0;
    for (bool moved = true; moved;) {
      moved = step(responder, from_alice, bob_read, from_bob, flip_bob, bob_error);
      moved |= step(initiator, from_bob, alice_read, from_alice, flip_alice, alice_error);
    }
    if (initiator.finished() && !alice_error) alice_secrets = initiator.finish();
    if (responder.finished() && !bob_error) bob_secrets = responder.finish();
  }

 private:
  static void send(Bytes& wire, const std::optional<std::size_t>& flip, Bytes bytes) {
    if (flip && *flip >= wire.size() && *flip - wire.size() < bytes.size()) {
      bytes[*flip - wire.size()] ^= std::byte{0x10};
    }
    append(wire, bytes);
  }
  static bool step(Handshake& side, const Bytes& in, std::size_t& read, Bytes& out,
                   const std::optional<std::size_t>& flip, boost::system::error_code& error) {
    const std::size_t wanted = side.wanted();
    if (error || wanted == 0 || in.size() - read < wanted) return false;
    auto reply = side.receive(ByteView(in).subspan(read, wanted));
    read += wanted;
    if (reply) {
      send(out, flip, *reply);
    } else {
      error = reply.error();
    }
    return true;
  }
};

}  // namespace

TEST_SUITE("transfer/handshake") {
  TEST_CASE("both sides prove who they are and share mirrored keys") {
    Pair pair;
    pair.run();
    REQUIRE(pair.alice_secrets.has_value());
    REQUIRE(pair.bob_secrets.has_value());
    const SessionSecrets& a = *pair.alice_secrets;
    const SessionSecrets& b = *pair.bob_secrets;
    CHECK(a.peer == pair.bob.node_id());
    CHECK(b.peer == pair.alice.node_id());
    CHECK(b.peer_key == pair.alice.public_key());
    CHECK(a.control_send == b.control_receive);
    CHECK(a.control_receive == b.control_send);
    CHECK(a.payload_send == b.payload_receive);
    CHECK(a.payload_receive == b.payload_send);
    CHECK_FALSE(a.control_send == a.control_receive);
    CHECK_FALSE(a.payload_send == a.control_send);
    CHECK(a.version == 1);
    CHECK(a.payload_cipher == PayloadCipher::chacha20_poly1305);
    CHECK(a.psk == pair.keys.front().derive("psk"));
  }

  TEST_CASE("AES is taken when both have it, never when one has not") {
    for (int mask = 0; mask < 4; ++mask) {
      Pair pair;
      pair.alice_config.capabilities = mask & 1;
      pair.bob_config.capabilities = (mask >> 1) & 1;
      pair.run();
      REQUIRE(pair.alice_secrets.has_value());
      const auto cipher = mask == 3 ? PayloadCipher::aes_256_gcm : PayloadCipher::chacha20_poly1305;
      CHECK(pair.alice_secrets->payload_cipher == cipher);
      CHECK(pair.bob_secrets->payload_cipher == cipher);
    }
  }

  TEST_CASE("a stranger without the key gets no byte") {
    Pair pair;
    SeededRandomSource other(7);
    // The key id on the wire may well be right: the key decides.
    ClusterKey wrong = ClusterKey::generate(other);
    while (wrong.key_id() != pair.keys.front().key_id()) wrong = ClusterKey::generate(other);
    pair.alice_config.keys = {wrong};
    pair.run();
    CHECK(pair.bob_error == TransferError::not_authentic);
    CHECK(pair.from_bob.empty());
  }

  TEST_CASE("an unknown key id, another magic or version end before message 1 is looked at") {
    Pair pair;
    Handshake responder = Handshake::responder(pair.bob_config, pair.random);
    REQUIRE(responder.wanted() == 8);
    Bytes preamble = to_bytes(as_bytes("WGL1"));
    preamble.push_back(std::byte{1});
    preamble.push_back(std::byte{static_cast<std::uint8_t>(pair.keys.front().key_id() + 1)});
    preamble.push_back(std::byte{0});
    preamble.push_back(std::byte{48});
    CHECK(responder.receive(preamble).error() == TransferError::unknown_key);
    preamble[5] = std::byte{pair.keys.front().key_id()};
    for (std::size_t i = 0; i < 5; ++i) {
      Bytes bad = preamble;
      bad[i] ^= std::byte{1};
      Handshake again = Handshake::responder(pair.bob_config, pair.random);
      CHECK(again.receive(bad).error() == TransferError::bad_preamble);
    }
    for (const int length : {0, 47, 49, 255}) {
      Bytes bad = preamble;
      bad[7] = static_cast<std::byte>(length);
      Handshake again = Handshake::responder(pair.bob_config, pair.random);
      CHECK(again.receive(bad).error() == TransferError::bad_handshake);
    }
  }

  TEST_CASE("another cluster name is another cluster") {
    Pair pair;
    pair.bob_config.cluster_name = "tests";
    pair.run();
    CHECK(pair.bob_error == TransferError::not_authentic);
    CHECK(pair.from_bob.empty());
  }

  TEST_CASE("key rotation: the responder opens either key, the dialler uses its first") {
    Pair pair;
    const ClusterKey next = ClusterKey::generate(pair.random);
    pair.bob_config.keys = {next, pair.keys.front()};
    pair.run();
    REQUIRE(pair.bob_secrets.has_value());
    CHECK(pair.bob_secrets->psk == pair.keys.front().derive("psk"));
    Pair later;
    later.alice_config.keys = {next, later.keys.front()};
    later.bob_config.keys = {later.keys.front(), next};
    later.run();
    REQUIRE(later.bob_secrets.has_value());
    CHECK(later.bob_secrets->psk == next.derive("psk"));
  }

  TEST_CASE("two keys with one id byte: the one that opens message 1 is used") {
    Pair pair;
    ClusterKey twin = ClusterKey::generate(pair.random);
    while (twin.key_id() != pair.keys.front().key_id()) twin = ClusterKey::generate(pair.random);
    pair.bob_config.keys = {twin, pair.keys.front()};
    pair.run();
    CHECK(pair.bob_secrets.has_value());
  }

  TEST_CASE("somebody else answers a dial by id") {
    Pair pair;
    pair.expected = pair.alice.node_id();
    pair.run();
    CHECK(pair.alice_error == TransferError::wrong_peer);
    CHECK_FALSE(pair.bob_secrets.has_value());
  }

  TEST_CASE("a dial that reaches ourselves is refused") {
    Pair pair;
    pair.bob_config = pair.alice_config;
    pair.expected.reset();
    pair.run();
    CHECK(pair.alice_error == TransferError::self_connection);
  }

  TEST_CASE("nobody can show an Ed25519 key whose secret half it lacks") {
    Pair pair;
    SeededRandomSource other(9);
    const Identity victim = Identity::generate(other);
    SUBCASE("as responder") {
      pair.bob_config.identity = victim.public_key();
      pair.run();
      CHECK(pair.alice_error == TransferError::identity_forged);
    }
    SUBCASE("as initiator") {
      pair.alice_config.identity = victim.public_key();
      pair.run();
      CHECK(pair.bob_error == TransferError::identity_forged);
    }
    SUBCASE("with bytes that are no point") {
      pair.alice_config.identity.bytes.fill(std::byte{0xff});
      pair.run();
      CHECK(pair.bob_error == TransferError::identity_forged);
    }
  }

  TEST_CASE("versions: the highest common one, or none") {
    Pair pair;
    pair.alice_config.version_max = 3;
    pair.bob_config.version_max = 2;
    pair.run();
    CHECK(pair.alice_secrets.value().version == 2);
    CHECK(pair.bob_secrets.value().version == 2);
    Pair apart;
    apart.alice_config.version_min = 3;
    apart.alice_config.version_max = 4;
    apart.run();
    CHECK(apart.alice_error == TransferError::version_mismatch);
    Pair upside_down;
    upside_down.bob_config.version_min = 2;
    upside_down.run();
    CHECK(upside_down.alice_error == TransferError::version_mismatch);
  }

  TEST_CASE("a flipped bit in any byte of any message ends the handshake") {
    Pair honest;
    honest.run();
    REQUIRE(honest.bob_secrets.has_value());
    CHECK(honest.from_alice.size() == 6 + 2 + 48 + 2 + 48 + 38 + 16);
    CHECK(honest.from_bob.size() == 2 + 32 + 48 + 38 + 16);
    for (std::size_t i = 0; i < honest.from_alice.size(); ++i) {
      CAPTURE(i);
      Pair pair;
      pair.flip_alice = i;
      pair.run();
      CHECK_FALSE(pair.bob_secrets.has_value());  // an error, or it waits for bytes that never come
      if (i < 56) CHECK(pair.from_bob.empty());
    }
    for (std::size_t i = 0; i < honest.from_bob.size(); ++i) {
      CAPTURE(i);
      Pair pair;
      pair.flip_bob = i;
      pair.run();
      CHECK_FALSE(pair.alice_secrets.has_value());
      CHECK_FALSE(pair.bob_secrets.has_value());
    }
  }

  TEST_CASE("a replayed message 1 gets one reply and no session") {
    Pair pair;
    pair.run();
    Handshake responder = Handshake::responder(pair.bob_config, pair.random);
    CHECK(responder.receive(ByteView(pair.from_alice).first(8)).value().empty());
    const auto reply = responder.receive(ByteView(pair.from_alice).subspan(8, 48));
    CHECK(reply.value().size() <= handshake_message_bytes_max + 2);
    CHECK(responder.receive(ByteView(pair.from_alice).subspan(56, 2)).value().empty());
    CHECK(responder.receive(ByteView(pair.from_alice).subspan(58)).error() ==
          TransferError::not_authentic);
  }

  TEST_CASE("message lengths outside the possible are refused unread") {
    Pair pair;
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{133}, std::size_t{353}, std::size_t{65535}}) {
      CAPTURE(length);
      Handshake initiator = Handshake::initiator(pair.alice_config, pair.random);
      REQUIRE(initiator.start().has_value());
      REQUIRE(initiator.wanted() == 2);
      const Bytes header{static_cast<std::byte>(length >> 8), static_cast<std::byte>(length)};
      CHECK(initiator.receive(header).error() == TransferError::bad_handshake);
    }
    for (const std::size_t length : {std::size_t{134}, std::size_t{352}}) {
      Handshake initiator = Handshake::initiator(pair.alice_config, pair.random);
      REQUIRE(initiator.start().has_value());
      const Bytes header{static_cast<std::byte>(length >> 8), static_cast<std::byte>(length)};
      CHECK(initiator.receive(header).has_value());
      CHECK(initiator.wanted() == length);
    }
  }
}

TEST_SUITE("transfer/seen_handshakes") {
  TEST_CASE("the last seen_handshakes_max are remembered, one more pushes out the oldest") {
    SeenHandshakes seen;
    const auto numbered = [](std::uint32_t number) {
      SeenHandshakes::Ephemeral ephemeral{};
      store_le(ephemeral, number);
      return ephemeral;
    };
    for (std::uint32_t i = 0; i < limits::seen_handshakes_max; ++i) CHECK(seen.accept(numbered(i)));
    CHECK_FALSE(seen.accept(numbered(0)));
    CHECK(seen.size() == limits::seen_handshakes_max);
    CHECK(seen.accept(numbered(limits::seen_handshakes_max)));
    CHECK(seen.size() == limits::seen_handshakes_max);
    CHECK_FALSE(seen.accept(numbered(1)));
    CHECK(seen.accept(numbered(0)));
  }
}
