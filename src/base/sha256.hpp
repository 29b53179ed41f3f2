// Resumable SHA-256: the compression state between 64-byte blocks (a midstate) can be taken out and
// put back. A list of midstates at chunk boundaries lets any chunk of a blob be checked alone
// (transfer/proof.hpp).
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"

#include <array>
#include <compare>
#include <cstdint>

namespace waggle {

/// The eight 32-bit chaining values after a whole number of 64-byte blocks, big-endian as in FIPS
/// 180-4.
struct Midstate {
  std::array<std::byte, 32> bytes{};
  auto operator<=>(const Midstate&) const = default;
};

/// The initial hash value H(0). @source FIPS 180-4 section 5.3.3
[[nodiscard]] Midstate sha256_initial_midstate();

/// SHA-256 that starts from, and stops at, any midstate.
/// Cost: OpenSSL's assembly (SHA-NI), about 1.8 GB/s on one core. @source FIPS 180-4
class Sha256 {
 public:
  Sha256() : Sha256(sha256_initial_midstate(), 0) {}
  /// Resumes after `length` bytes. @pre length is a multiple of 64
  Sha256(const Midstate& midstate, std::uint64_t length);

  void update(ByteView bytes);
  /// The state after the bytes so far. @pre length() is a multiple of 64
  [[nodiscard]] Midstate midstate() const;
  /// The digest of everything so far; the object may go on being updated afterwards.
  [[nodiscard]] Digest finish() const;
  [[nodiscard]] std::uint64_t length() const { return length_; }

 private:
  // Room for OpenSSL's SHA256_CTX, kept opaque so that the deprecated header stays in sha256.cpp.
  struct alignas(8) Context {
    std::array<std::byte, 112> bytes{};
  };
  Context context_;
  std::uint64_t length_ = 0;
};

}  // namespace waggle
