// Preamble, message framing, identity and negotiation around NoiseHandshake.
#include "transfer/handshake.hpp"

#include "base/assert.hpp"
#include "transfer/error.hpp"

#include <algorithm>
#include <tuple>

namespace waggle::transfer {
namespace {

constexpr std::string_view magic = "WGL1";
constexpr std::uint8_t preamble_version = 1;
constexpr std::size_t length_bytes = 2;
constexpr std::size_t message_overhead_bytes = 48 + 16;  // sealed static key, tag

Bytes preamble_of(std::uint8_t key_id) {
  Bytes out = to_bytes(as_bytes(magic));
  out.push_back(std::byte{preamble_version});
  out.push_back(std::byte{key_id});
  return out;
}

/// u16 big-endian, as Noise's own conventions have it, then the message.
Bytes framed(ByteView message) {
  WAGGLE_ASSERT(message.size() <= handshake_message_bytes_max);
  Bytes out;
  out.reserve(length_bytes + message.size());
  out.push_back(static_cast<std::byte>(message.size() >> 8U));
  out.push_back(static_cast<std::byte>(message.size() & 0xffU));
  append(out, message);
  return out;
}

std::size_t length_of(ByteView bytes) {
  return (std::to_integer<std::size_t>(bytes[0]) << 8U) | std::to_integer<std::size_t>(bytes[1]);
}

}  // namespace

HandshakeConfig HandshakeConfig::make(std::string cluster_name, KeyRing keys,
                                      const Identity& identity, std::uint32_t capabilities) {
  HandshakeConfig config;
  config.cluster_name = std::move(cluster_name);
  config.keys = std::move(keys);
  config.identity = identity.public_key();
  config.noise_keys = {.secret = identity.x25519_secret(), .public_key = identity.x25519_public()};
  config.capabilities = capabilities;
  return config;
}

Handshake::Handshake(NoiseRole role, HandshakeConfig config, RandomSource& random,
                     std::optional<NodeId> expected)
    : role_(role), config_(std::move(config)), expected_(expected) {
  WAGGLE_ASSERT(!config_.keys.empty());
  random.fill(ephemeral_.mutable_view());
}

Handshake Handshake::initiator(HandshakeConfig config, RandomSource& random,
                               std::optional<NodeId> expected) {
  return {NoiseRole::initiator, std::move(config), random, expected};
}

Handshake Handshake::responder(HandshakeConfig config, RandomSource& random, SeenHandshakes* seen) {
  Handshake handshake(NoiseRole::responder, std::move(config), random, std::nullopt);
  handshake.seen_ = seen;
  handshake.stage_ = Stage::preamble;
  return handshake;
}

Result<Bytes> Handshake::start() {
  if (role_ == NoiseRole::responder) return Bytes{};
  WAGGLE_ASSERT(stage_ == Stage::idle);
  const ClusterKey& key = config_.keys.front();
  preamble_ = preamble_of(key.key_id());
  psk_ = key.derive("psk");
  begin_noise(psk_);
  auto message = noise_->write_message({});
  if (!message) return message.error();
  stage_ = Stage::length;
  Bytes out = preamble_;
  append(out, framed(*message));
  return out;
}

std::size_t Handshake::wanted() const {
  switch (stage_) {
    case Stage::preamble:
      return preamble_bytes + length_bytes;
    case Stage::length:
      return length_bytes;
    case Stage::message:
      return length_;
    case Stage::idle:
    case Stage::finished:
      break;
  }
  return 0;
}

Result<Bytes> Handshake::receive(ByteView bytes) {
  WAGGLE_ASSERT(wanted() > 0 && bytes.size() == wanted());
  switch (stage_) {
    case Stage::preamble:
      return receive_preamble(bytes);
    case Stage::length:
      return receive_length(bytes);
    default:
      return receive_message(bytes);
  }
}

Result<Bytes> Handshake::receive_preamble(ByteView bytes) {
  const ByteView preamble = bytes.first(preamble_bytes);
  const auto key_id = std::to_integer<std::uint8_t>(preamble[preamble_bytes - 1]);
  if (!std::ranges::equal(preamble, preamble_of(key_id))) {
    return make_error_code(TransferError::bad_preamble);
  }
  if (std::ranges::none_of(config_.keys,
                           [&](const ClusterKey& key) { return key.key_id() == key_id; })) {
    return make_error_code(TransferError::unknown_key);
  }
  preamble_ = to_bytes(preamble);
  return receive_length(bytes.subspan(preamble_bytes));
}

Result<Bytes> Handshake::receive_length(ByteView bytes) {
  length_ = length_of(bytes);
  const bool first = role_ == NoiseRole::responder && !noise_;
  const std::size_t ephemeral = role_ == NoiseRole::initiator ? 32 : 0;
  const std::size_t fixed = ephemeral + message_overhead_bytes;
  const bool possible = first ? length_ == handshake_first_bytes
                              : length_ >= fixed + handshake_payload_bytes_min &&
                                    length_ <= fixed + handshake_payload_bytes_max;
  if (!possible) return make_error_code(TransferError::bad_handshake);
  stage_ = Stage::message;
  return Bytes{};
}

Result<Bytes> Handshake::receive_message(ByteView message) {
  if (role_ == NoiseRole::responder && !noise_) return open_first(message);
  const auto payload = noise_->read_message(message);
  if (!payload) return payload.error();
  proven_ = true;
  if (auto accepted = accept_payload(*payload); !accepted) return accepted.error();
  stage_ = Stage::finished;
  return role_ == NoiseRole::initiator ? write_next() : Result<Bytes>(Bytes{});
}

Result<Bytes> Handshake::open_first(ByteView message) {
  const std::byte key_id = preamble_.back();
  for (const ClusterKey& key : config_.keys) {  // two keys may share an id byte
    if (std::byte{key.key_id()} != key_id) continue;
    psk_ = key.derive("psk");
    begin_noise(psk_);
    if (!noise_->read_message(message)) continue;
    SeenHandshakes::Ephemeral ephemeral{};
    std::copy_n(message.begin(), ephemeral.size(), ephemeral.begin());
    if (seen_ != nullptr && !seen_->accept(ephemeral)) {
      return make_error_code(TransferError::handshake_replayed);
    }
    proven_ = true;
    stage_ = Stage::length;
    return write_next();
  }
  return make_error_code(TransferError::not_authentic);
}

Result<Bytes> Handshake::write_next() {
  Bytes payload = to_bytes(config_.identity.bytes);
  payload.push_back(std::byte{config_.version_min});
  payload.push_back(std::byte{config_.version_max});
  append_le(payload, config_.capabilities);
  const auto message = noise_->write_message(payload);
  if (!message) return message.error();
  return framed(*message);
}

boost::system::result<void> Handshake::accept_payload(ByteView payload) {
  if (payload.size() < handshake_payload_bytes_min) {
    return make_error_code(TransferError::bad_handshake);
  }
  std::copy_n(payload.begin(), peer_key_.bytes.size(), peer_key_.bytes.begin());
  const auto image = peer_key_.x25519();
  if (!image || *image != noise_->remote_static()) {
    return make_error_code(TransferError::identity_forged);
  }
  const NodeId peer = peer_key_.node_id();
  if (*image == config_.noise_keys.public_key) {
    return make_error_code(TransferError::self_connection);
  }
  if (expected_ && *expected_ != peer) return make_error_code(TransferError::wrong_peer);
  const auto version_min = std::to_integer<std::uint8_t>(payload[32]);
  const auto version_max = std::to_integer<std::uint8_t>(payload[33]);
  version_ = std::min(version_max, config_.version_max);
  if (version_min > version_max || version_ < version_min || version_ < config_.version_min) {
    return make_error_code(TransferError::version_mismatch);
  }
  peer_capabilities_ = load_le<std::uint32_t>(payload.subspan(34));
  peer_ = peer;
  return {};
}

void Handshake::begin_noise(const SecretKey& psk) {
  Bytes prologue = preamble_;
  append(prologue, as_bytes(config_.cluster_name));
  noise_.emplace(role_, prologue, psk, config_.noise_keys, ephemeral_);
}

SessionSecrets Handshake::finish() const {
  WAGGLE_ASSERT(finished() && peer_.has_value() && noise_->finished());
  SessionSecrets secrets;
  const bool aes = (config_.capabilities & peer_capabilities_ & capability::aes_gcm) != 0;
  secrets.payload_cipher = aes ? PayloadCipher::aes_256_gcm : PayloadCipher::chacha20_poly1305;
  std::tie(secrets.control_send, secrets.control_receive) = noise_->split();
  std::tie(secrets.payload_send, secrets.payload_receive) =
      noise_->export_keys(aes ? "waggle payload AESGCM" : "waggle payload ChaChaPoly");
  secrets.peer_key = peer_key_;
  secrets.peer = *peer_;
  secrets.version = version_;
  secrets.capabilities = peer_capabilities_;
  secrets.psk = psk_;
  return secrets;
}

}  // namespace waggle::transfer
