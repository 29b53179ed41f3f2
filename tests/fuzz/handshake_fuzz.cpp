// Handshakes with strangers, with the other side's real words, and with an insider whose payload
// says anything.
#include "../unit/gossip/samples.hpp"
#include "target.hpp"
#include "transfer/handshake.hpp"
#include "transfer/noise_handshake.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::transfer;
using gossip::test::identity_of;
using gossip::test::keys_of;

const HandshakeConfig& config_of(unsigned n) {
  static const HandshakeConfig configs[] = {
      HandshakeConfig::make("waggle", keys_of({1}), identity_of(1), capability::aes_gcm),
      HandshakeConfig::make("waggle", keys_of({1}), identity_of(2), 0)};
  return configs[n];
}

/// Hands over what is wanted, as long as there is enough; what was said, or nothing after an error.
std::optional<Bytes> feed(Handshake& handshake, Input& input) {
  Bytes said;
  while (handshake.wanted() > 0) {
    const ByteView bytes = input.take(handshake.wanted());
    if (bytes.size() < handshake.wanted()) break;
    const auto answer = handshake.receive(bytes);
    if (!answer) return std::nullopt;
    append(said, *answer);
    expect(handshake.wanted() <= handshake_message_bytes_max, "what is wanted is bounded");
  }
  return said;
}

/// Both sides read a stranger's bytes.
void run_stranger(Input input) {
  SeededRandomSource random(1);
  Input twice = input;
  Handshake responder = Handshake::responder(config_of(0), random);
  const auto said = feed(responder, input);
  expect(!responder.finished(), "nobody gets in without the key");
  if (said) expect(said->size() <= handshake_message_bytes_max + 2, "one bounded reply at most");
  Handshake initiator = Handshake::initiator(config_of(0), random);
  (void)initiator.start();
  (void)feed(initiator, twice);
  expect(!initiator.finished(), "nobody is taken for a node without the key");
}

/// The peer holds the cluster's key and seals a payload of its choice.
void run_insider(Input input) {
  SeededRandomSource random(1);
  Handshake responder = Handshake::responder(config_of(0), random);
  const ClusterKey key = keys_of({1}).front();
  Bytes first = bytes_of("WGL1\1");
  first.push_back(static_cast<std::byte>(key.key_id()));
  Bytes prologue = first;
  append(prologue, as_bytes("waggle"));
  NoiseHandshake noise(NoiseRole::initiator, prologue, key.derive("psk"), config_of(1).noise_keys,
                       SecretKey(std::span<const std::byte, 32>(Bytes(32, std::byte{4}))));
  const auto framed = [](const Bytes& message) {
    Bytes out{static_cast<std::byte>(message.size() >> 8U), static_cast<std::byte>(message.size())};
    append(out, message);
    return out;
  };
  append(first, framed(noise.write_message({}).value()));
  Input one(first);
  const auto second = feed(responder, one);
  expect(second && second->size() > 2, "a member is answered");
  expect(noise.read_message(ByteView(*second).subspan(2)).has_value(), "by words it can read");
  // Half of the payload's first byte decides whether the identity is true.
  Bytes payload = input.byte() % 2 == 0 ? to_bytes(config_of(1).identity.bytes) : Bytes{};
  append(payload, input.take(handshake_payload_bytes_max + 32));
  const Bytes third = framed(noise.write_message(payload).value());
  Input last(third);
  (void)feed(responder, last);
  if (!responder.finished()) return;
  const SessionSecrets secrets = responder.finish();
  expect(secrets.peer == config_of(1).identity.node_id(), "the peer is who it can prove to be");
  expect(secrets.version == 1 && payload.size() >= handshake_payload_bytes_min,
         "the version is one of ours");
}

void run(ByteView bytes) {
  Input input(bytes);
  if (input.byte() % 2 == 0) {
    run_stranger(input);
  } else {
    run_insider(input);
  }
}

std::vector<Bytes> seeds() {
  SeededRandomSource random(2);
  Handshake initiator = Handshake::initiator(config_of(1), random);
  Bytes stranger{std::byte{0}};
  append(stranger, initiator.start().value());
  append(stranger, Bytes(120, std::byte{0}));
  return {stranger, bytes_of(std::string("\1\0\1\1\1\0\0\0", 8)),
          bytes_of(std::string("\1\0\0\2\0\0\0\0extra", 13)), bytes_of("\1\1")};
}

const Target target("handshake", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
