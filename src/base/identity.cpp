// Ed25519 identity on libsodium.
#include "base/identity.hpp"

#include "base/assert.hpp"
#include "base/keys.hpp"

namespace waggle {

NodeId NodePublicKey::node_id() const {
  NodeId id;
  blake2b(id.bytes, bytes);
  return id;
}

std::optional<std::array<std::byte, 32>> NodePublicKey::x25519() const {
  std::array<std::byte, 32> image{};
  if (crypto_sign_ed25519_pk_to_curve25519(as_uchar(MutableByteView(image)),
                                           as_uchar(ByteView(bytes))) != 0) {
    return std::nullopt;
  }
  return image;
}

bool verify_signature(const NodePublicKey& key, ByteView message, const Signature& signature) {
  return crypto_sign_verify_detached(as_uchar(ByteView(signature.bytes)), as_uchar(message),
                                     message.size(), as_uchar(ByteView(key.bytes))) == 0;
}

Identity::Identity(const SecretBytes<32>& seed) : seed_(seed) {
  const int failed = crypto_sign_seed_keypair(as_uchar(MutableByteView(public_key_.bytes)),
                                              secret_key_.data(), seed_.data());
  WAGGLE_ASSERT(failed == 0);
  node_id_ = public_key_.node_id();
}

Identity Identity::generate(RandomSource& random) {
  SecretBytes<32> seed;
  random.fill(seed.mutable_view());
  return Identity(seed);
}

Signature Identity::sign(ByteView message) const {
  Signature signature;
  crypto_sign_detached(as_uchar(MutableByteView(signature.bytes)), nullptr, as_uchar(message),
                       message.size(), secret_key_.data());
  return signature;
}

SecretBytes<32> Identity::x25519_secret() const {
  SecretBytes<32> secret;
  const int failed = crypto_sign_ed25519_sk_to_curve25519(secret.data(), secret_key_.data());
  WAGGLE_ASSERT(failed == 0);
  return secret;
}

std::array<std::byte, 32> Identity::x25519_public() const {
  const auto image = public_key_.x25519();
  WAGGLE_ASSERT(image.has_value());
  return *image;
}

}  // namespace waggle
