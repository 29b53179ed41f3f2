// Content digests as the OCI image spec writes them: "sha256:<64 hex>" and "sha512:<128 hex>".
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

namespace waggle {

enum class DigestAlgorithm : std::uint8_t { sha256 = 1, sha512 = 2 };

/// @source OCI image-spec descriptor.md, "Digests": lower-case hex, registered algorithms only.
class Digest {
 public:
  Digest() = default;
  /// @pre bytes.size() is 32 for sha256, 64 for sha512
  Digest(DigestAlgorithm algorithm, ByteView bytes);

  /// Parses "sha256:..." or "sha512:...". Upper-case hex is malformed, other algorithms
  /// unsupported.
  [[nodiscard]] static Result<Digest> parse(std::string_view text);
  /// The wire form: one algorithm byte, then the hash.
  [[nodiscard]] static Result<Digest> from_wire(ByteView wire);
  [[nodiscard]] Bytes to_wire() const;
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] std::string hex() const { return to_hex(bytes()); }

  [[nodiscard]] DigestAlgorithm algorithm() const { return algorithm_; }
  [[nodiscard]] ByteView bytes() const {
    return ByteView(bytes_).first(algorithm_ == DigestAlgorithm::sha512 ? 64 : 32);
  }
  auto operator<=>(const Digest&) const = default;

 private:
  DigestAlgorithm algorithm_ = DigestAlgorithm::sha256;
  std::array<std::byte, 64> bytes_{};
};

/// sha256 of `bytes` in one go (OpenSSL EVP, SHA-NI where the CPU has it, about 1.8 GB/s).
[[nodiscard]] Digest sha256_of(ByteView bytes);

}  // namespace waggle

template <>
struct std::hash<waggle::Digest> {
  std::size_t operator()(const waggle::Digest& digest) const noexcept {
    // Digests may be chosen by outsiders: tables keyed by them are bounded, and grinding sha256
    // for equal first bytes buys one long bucket in a bounded table.
    std::size_t value = 0;
    std::memcpy(&value, digest.bytes().data(), sizeof(value));
    return value;
  }
};
