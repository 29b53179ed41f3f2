// Digest text and wire forms.
#include "base/digest.hpp"

#include "base/assert.hpp"

#include <openssl/evp.h>

#include <algorithm>

namespace waggle {
namespace {

constexpr std::size_t hash_bytes(DigestAlgorithm algorithm) {
  return algorithm == DigestAlgorithm::sha512 ? 64 : 32;
}

Result<Digest> from_hex_part(DigestAlgorithm algorithm, std::string_view hex) {
  if (hex.size() != 2 * hash_bytes(algorithm)) return BaseError::malformed;
  const bool lower = std::all_of(hex.begin(), hex.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!lower) return BaseError::malformed;
  return Digest(algorithm, *from_hex(hex));
}

}  // namespace

Digest::Digest(DigestAlgorithm algorithm, ByteView bytes) : algorithm_(algorithm) {
  WAGGLE_ASSERT(bytes.size() == hash_bytes(algorithm));
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

Result<Digest> Digest::parse(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return BaseError::malformed;
  const auto algorithm = text.substr(0, colon);
  if (algorithm == "sha256") return from_hex_part(DigestAlgorithm::sha256, text.substr(7));
  if (algorithm == "sha512") return from_hex_part(DigestAlgorithm::sha512, text.substr(7));
  return BaseError::unsupported;
}

Result<Digest> Digest::from_wire(ByteView wire) {
  if (wire.empty()) return BaseError::truncated;
  const auto algorithm = static_cast<DigestAlgorithm>(wire[0]);
  if (algorithm != DigestAlgorithm::sha256 && algorithm != DigestAlgorithm::sha512) {
    return BaseError::unsupported;
  }
  if (wire.size() != 1 + hash_bytes(algorithm)) return BaseError::malformed;
  return Digest(algorithm, wire.subspan(1));
}

Bytes Digest::to_wire() const {
  Bytes wire{static_cast<std::byte>(algorithm_)};
  append(wire, bytes());
  return wire;
}

std::string Digest::to_string() const {
  return (algorithm_ == DigestAlgorithm::sha512 ? "sha512:" : "sha256:") + hex();
}

Digest sha256_of(ByteView bytes) {
  std::array<std::byte, 32> hash{};
  unsigned size = 0;
  const int ok = EVP_Digest(bytes.data(), bytes.size(), as_uchar(MutableByteView(hash)), &size,
                            EVP_sha256(), nullptr);
  WAGGLE_ASSERT(ok == 1 && size == hash.size());
  return {DigestAlgorithm::sha256, hash};
}

}  // namespace waggle
