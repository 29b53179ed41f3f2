// The two inner objects of the Noise Protocol Framework, on libsodium, for one suite: 25519, ChaChaPoly, SHA256.
// Names and rules are the specification's (revision 34, sections 5.1 and 5.2).
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/keys.hpp"

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace waggle::transfer {

/// HMAC-SHA256 chains of section 4.3: the first two outputs of HKDF(chaining key, input).
[[nodiscard]] std::pair<SecretKey, SecretKey> noise_hkdf(const SecretKey& chaining_key,
                                                         ByteView input);

/// An AEAD key with its counter. The counter only rises; at 2^64 - 1 it refuses to go on.
class CipherState {
 public:
  CipherState() = default;
  explicit CipherState(const SecretKey& key) : key_(key) {}

  /// EncryptWithAd: writes plaintext.size() + 16 bytes to `out`, which may start where `plaintext` does.
  /// not_authentic when the counter is used up.
  [[nodiscard]] boost::system::result<void> seal(ByteView aad, ByteView plaintext,
                                                 MutableByteView out);
  /// DecryptWithAd: writes sealed.size() - 16 bytes to `out`, which may start where `sealed` does. On not_authentic
  /// the counter stays and `out` holds nothing of use.
  [[nodiscard]] boost::system::result<void> open(ByteView aad, ByteView sealed,
                                                 MutableByteView out);
  /// REKEY(k) of section 4.2; the counter goes on.
  void rekey();
  [[nodiscard]] std::uint64_t counter() const { return counter_; }

 private:
  SecretKey key_;
  std::uint64_t counter_ = 0;
};

/// The hash, chaining key and cipher that a handshake mixes everything into.
class SymmetricState {
 public:
  explicit SymmetricState(std::string_view protocol_name);

  void mix_hash(ByteView data);
  void mix_key(ByteView input);
  void mix_key_and_hash(const SecretKey& psk);
  /// Appends the sealed payload to `out`. @pre a key was mixed in
  [[nodiscard]] boost::system::result<void> encrypt_and_hash(ByteView plaintext, Bytes& out);
  [[nodiscard]] Result<Bytes> decrypt_and_hash(ByteView sealed);
  /// Split(): the initiator's sending key, then the responder's.
  [[nodiscard]] std::pair<SecretKey, SecretKey> split() const;
  /// Two more keys of the finished handshake under a label of their own: HKDF(ck, label | h).
  [[nodiscard]] std::pair<SecretKey, SecretKey> export_keys(std::string_view label) const;
  [[nodiscard]] const std::array<std::byte, 32>& hash() const { return hash_; }

 private:
  std::array<std::byte, 32> hash_{};
  SecretKey chaining_key_;
  CipherState cipher_;
};

/// DH of section 4.1; weak_key when the result is all zero.
[[nodiscard]] Result<SecretKey> noise_dh(const SecretKey& secret, ByteView public_key);
[[nodiscard]] std::array<std::byte, 32> noise_public_key(const SecretKey& secret);

}  // namespace waggle::transfer
