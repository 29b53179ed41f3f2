// The handshake of a session, without I/O: preamble, three Noise messages, proof of identity,
// negotiation. Page: docs/wire-transfer.md, "Preamble" and "Handshake".
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/keys.hpp"
#include "base/random_source.hpp"
#include "transfer/noise_handshake.hpp"
#include "transfer/seen_handshakes.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace waggle::transfer {

/// Protocol versions that this build speaks on sessions.
inline constexpr std::uint8_t session_version_min = 1;
inline constexpr std::uint8_t session_version_max = 1;

/// What a node can do, whoever it is: bits of the handshake payload. Unknown bits are ignored.
namespace capability {
inline constexpr std::uint32_t aes_gcm =
    1U << 0U;  ///< AES in hardware: prefers AES-256-GCM for payload
}

enum class PayloadCipher : std::uint8_t { chacha20_poly1305, aes_256_gcm };

/// What both roles need. Computed once per node, copied into each handshake.
struct HandshakeConfig {
  std::string cluster_name = "waggle";
  KeyRing keys;  ///< the first seals, each opens
  NodePublicKey identity;
  NoiseKeyPair noise_keys;  ///< the X25519 image of the identity
  std::uint32_t capabilities = 0;
  std::uint8_t version_min = session_version_min;
  std::uint8_t version_max = session_version_max;

  /// Cost about 100 us.
  [[nodiscard]] static HandshakeConfig make(std::string cluster_name, KeyRing keys,
                                            const Identity& identity, std::uint32_t capabilities);
};

/// What a finished handshake leaves to the session.
struct SessionSecrets {
  SecretKey control_send, control_receive;
  SecretKey payload_send, payload_receive;
  PayloadCipher payload_cipher = PayloadCipher::chacha20_poly1305;
  NodePublicKey peer_key;
  NodeId peer;
  std::uint8_t version = 0;        ///< the highest that both speak
  std::uint32_t capabilities = 0;  ///< the peer's
  SecretKey psk;  ///< of the key both used, to close the session when that key retires
};

/// One side of one handshake.
/// Contract: send start() (empty for a responder), then hand exactly wanted() bytes of the stream
/// to receive(), send what it returns, and go on until wanted() is 0; then finish(). After an
/// error: close, answer nothing. A responder answers nothing before message 1 has proven that the
/// peer holds a key of the ring; a recorded message 1 that this process has not seen is worth one
/// reply of handshake_message_bytes_max and ends there, and is worth nothing the second time.
class Handshake {
 public:
  /// @param expected  the node dialled; nothing: whoever answers
  [[nodiscard]] static Handshake initiator(HandshakeConfig config, RandomSource& random,
                                           std::optional<NodeId> expected = std::nullopt);
  /// @param seen  what was opened before, refused here; must outlive the handshake
  [[nodiscard]] static Handshake responder(HandshakeConfig config, RandomSource& random,
                                           SeenHandshakes* seen = nullptr);

  /// The initiator's preamble and message 1; empty for a responder.
  [[nodiscard]] Result<Bytes> start();
  /// Exactly how many bytes receive() takes next; 0 when nothing is left to receive.
  [[nodiscard]] std::size_t wanted() const;
  /// What to send next; may be empty. Errors: the handshake group of TransferError. @pre
  /// bytes.size() == wanted() > 0
  [[nodiscard]] Result<Bytes> receive(ByteView bytes);
  /// Who the peer has proven to be; known to the initiator before its last message is sent.
  [[nodiscard]] const std::optional<NodeId>& peer() const { return peer_; }
  [[nodiscard]] bool finished() const { return stage_ == Stage::finished; }
  /// The peer holds a key of the ring: for a responder known with message 1, never by a recording
  /// it has seen.
  [[nodiscard]] bool proven() const { return proven_; }
  /// @pre finished()
  [[nodiscard]] SessionSecrets finish() const;

 private:
  enum class Stage : std::uint8_t { idle, preamble, length, message, finished };
  Handshake(NoiseRole role, HandshakeConfig config, RandomSource& random,
            std::optional<NodeId> expected);

  [[nodiscard]] Result<Bytes> receive_preamble(ByteView bytes);
  [[nodiscard]] Result<Bytes> receive_length(ByteView bytes);
  [[nodiscard]] Result<Bytes> receive_message(ByteView message);
  /// Message 1 under each key of that id in turn; the Noise state of the one that opens it.
  [[nodiscard]] Result<Bytes> open_first(ByteView message);
  [[nodiscard]] boost::system::result<void> accept_payload(ByteView payload);
  [[nodiscard]] Result<Bytes> write_next();
  void begin_noise(const SecretKey& psk);

  NoiseRole role_;
  SeenHandshakes* seen_ = nullptr;  // responder only
  bool proven_ = false;
  HandshakeConfig config_;
  std::optional<NodeId> expected_;
  SecretKey ephemeral_;
  Stage stage_ = Stage::idle;
  Bytes preamble_;
  std::size_t length_ = 0;  // of the message being received
  std::optional<NoiseHandshake> noise_;
  SecretKey psk_;
  std::optional<NodeId> peer_;
  NodePublicKey peer_key_;
  std::uint8_t version_ = 0;
  std::uint32_t peer_capabilities_ = 0;
};

inline constexpr std::size_t preamble_bytes = 6;
inline constexpr std::size_t handshake_first_bytes = 48;        ///< message 1: always
inline constexpr std::size_t handshake_payload_bytes_min = 38;  ///< of messages 2 and 3
inline constexpr std::size_t handshake_payload_bytes_max =
    256;  ///< later versions may append fields
inline constexpr std::size_t handshake_message_bytes_max =
    32 + 48 + handshake_payload_bytes_max + 16;

}  // namespace waggle::transfer
