// Cluster key parsing and derivation.
#include "base/keys.hpp"

#include "base/assert.hpp"

namespace waggle {

void blake2b(MutableByteView out, ByteView message, ByteView key) {
  const int failed =
      crypto_generichash(as_uchar(out), out.size(), as_uchar(message), message.size(),
                         key.empty() ? nullptr : as_uchar(key), key.size());
  WAGGLE_ASSERT(failed == 0);
}

ClusterKey::ClusterKey(const SecretKey& key) : key_(key) {
  std::array<std::byte, 16> hash{};
  blake2b(hash, key_.view());
  name_ = static_cast<KeyName>(std::to_integer<unsigned>(hash[0]) << 8U |
                               std::to_integer<unsigned>(hash[1]));
  if (name_ == 0) name_ = 1;  // 0 stands for "no key"
}

Result<ClusterKey> ClusterKey::parse(std::string_view base64) {
  auto bytes = from_base64(base64);
  if (!bytes || bytes->size() != SecretKey::size()) return BaseError::malformed;
  const SecretKey key{std::span<const std::byte, 32>(*bytes)};
  sodium_memzero(bytes->data(), bytes->size());
  return ClusterKey(key);
}

ClusterKey ClusterKey::generate(RandomSource& random) {
  SecretKey key;
  random.fill(key.mutable_view());
  return ClusterKey(key);
}

std::string ClusterKey::to_base64() const { return waggle::to_base64(key_.view()); }

SecretKey ClusterKey::derive(std::string_view purpose) const {
  SecretKey derived;
  blake2b(derived.mutable_view(), as_bytes(purpose), key_.view());
  return derived;
}

std::string to_text(KeyName name) {
  const std::array<std::byte, 2> bytes{static_cast<std::byte>(name >> 8U),
                                       static_cast<std::byte>(name)};
  return to_hex(bytes);
}

KeyNames names_of(const KeyRing& ring) {
  WAGGLE_ASSERT(!ring.empty() && ring.size() <= 2);
  return {ring[0].name(), ring.size() > 1 ? ring[1].name() : KeyName{0}};
}

}  // namespace waggle
