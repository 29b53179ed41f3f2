// A node's own identity: one Ed25519 key pair; the node id is its hash and the Noise static key its
// X25519 image.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/random_source.hpp"
#include "base/secret_bytes.hpp"

#include <array>
#include <compare>
#include <optional>
#include <span>

namespace waggle {

/// An Ed25519 public key, as MEMBER records and handshakes carry it.
struct NodePublicKey {
  std::array<std::byte, 32> bytes{};
  auto operator<=>(const NodePublicKey&) const = default;
  /// BLAKE2b-128 of the key.
  [[nodiscard]] NodeId node_id() const;
  /// The X25519 image (Noise static key); nullopt when the bytes are no valid Ed25519 point.
  [[nodiscard]] std::optional<std::array<std::byte, 32>> x25519() const;
};

struct Signature {
  std::array<std::byte, 64> bytes{};
  auto operator<=>(const Signature&) const = default;
};

/// True when `signature` is `key`'s over `message`. Cost about 100 us.
[[nodiscard]] bool verify_signature(const NodePublicKey& key, ByteView message,
                                    const Signature& signature);

class Identity {
 public:
  /// From the 32-byte seed kept in data_dir.
  explicit Identity(const SecretBytes<32>& seed);
  [[nodiscard]] static Identity generate(RandomSource& random);

  [[nodiscard]] const NodeId& node_id() const { return node_id_; }
  [[nodiscard]] const NodePublicKey& public_key() const { return public_key_; }
  [[nodiscard]] const SecretBytes<32>& seed() const { return seed_; }
  /// Cost about 36 us.
  [[nodiscard]] Signature sign(ByteView message) const;
  /// The Noise static key pair: secret and public half on Curve25519.
  [[nodiscard]] SecretBytes<32> x25519_secret() const;
  [[nodiscard]] std::array<std::byte, 32> x25519_public() const;

 private:
  SecretBytes<32> seed_;
  SecretBytes<64> secret_key_;
  NodePublicKey public_key_;
  NodeId node_id_;
};

}  // namespace waggle
