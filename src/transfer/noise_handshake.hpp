// The Noise pattern of every session, Noise_XXpsk0_25519_ChaChaPoly_SHA256, as the specification has it: no framing, no
// identities, any payload. handshake.hpp builds the session's handshake on it.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "transfer/noise.hpp"

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace waggle::transfer {

inline constexpr std::string_view noise_protocol_name = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";

struct NoiseKeyPair {
  SecretKey secret;
  std::array<std::byte, 32> public_key{};
};

enum class NoiseRole : std::uint8_t { initiator, responder };

/// One run of the pattern: -> psk, e   <- e, ee, s, es   -> s, se
/// The two sides take turns, the initiator first; each message carries a payload. After the first error the object is
/// of no use. Cost: message 1 is verified by its AEAD tag alone, before any Diffie-Hellman (57 us each).
class NoiseHandshake {
 public:
  /// @param ephemeral  32 fresh random bytes
  NoiseHandshake(NoiseRole role, ByteView prologue, const SecretKey& psk,
                 const NoiseKeyPair& static_keys, const SecretKey& ephemeral);

  /// @pre it is this side's turn
  [[nodiscard]] Result<Bytes> write_message(ByteView payload);
  /// The payload. bad_handshake: too short; not_authentic; weak_key. @pre it is the other side's turn
  [[nodiscard]] Result<Bytes> read_message(ByteView message);

  [[nodiscard]] bool finished() const { return message_ == 3; }
  /// @pre message 2 (initiator) or 3 (responder) was read
  [[nodiscard]] const std::array<std::byte, 32>& remote_static() const { return remote_static_; }
  [[nodiscard]] const std::array<std::byte, 32>& hash() const { return symmetric_.hash(); }
  /// Keys for what this side sends and receives, control first. @pre finished()
  [[nodiscard]] std::pair<SecretKey, SecretKey> split() const { return mine(symmetric_.split()); }
  /// The same for a purpose of our own (SymmetricState::export_keys). @pre finished()
  [[nodiscard]] std::pair<SecretKey, SecretKey> export_keys(std::string_view label) const {
    return mine(symmetric_.export_keys(label));
  }

 private:
  /// (send, receive) of this side from (initiator sends, responder sends).
  [[nodiscard]] std::pair<SecretKey, SecretKey> mine(std::pair<SecretKey, SecretKey> keys) const {
    if (role_ == NoiseRole::responder) std::swap(keys.first, keys.second);
    return keys;
  }
  [[nodiscard]] bool my_turn() const { return (message_ % 2 == 0) == (role_ == NoiseRole::initiator); }
  void write_ephemeral(Bytes& out);
  [[nodiscard]] boost::system::result<void> write_static(Bytes& out);
  [[nodiscard]] boost::system::result<void> read_ephemeral(ByteView& message);
  [[nodiscard]] boost::system::result<void> read_static(ByteView& message);
  [[nodiscard]] boost::system::result<void> mix_dh(const SecretKey& secret, ByteView public_key);

  NoiseRole role_;
  int message_ = 0;  // how many were written or read
  SymmetricState symmetric_;
  SecretKey psk_;
  NoiseKeyPair static_;
  SecretKey ephemeral_;
  std::array<std::byte, 32> remote_ephemeral_{};
  std::array<std::byte, 32> remote_static_{};
};

}  // namespace waggle::transfer
