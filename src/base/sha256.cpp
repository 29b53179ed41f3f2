// The SHA256_CTX route: EVP hides the chaining values, this interface shows them at the same speed.
// It is deprecated in OpenSSL 3.0 but present in every 3.x; decision D-002.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/sha256.hpp"

#include "base/assert.hpp"

#include <openssl/sha.h>

#include <cstring>

namespace waggle {
namespace {

static_assert(sizeof(SHA256_CTX) == 112);

SHA256_CTX load(const void* bytes) {
  SHA256_CTX context;
  std::memcpy(&context, bytes, sizeof(context));
  return context;
}

constexpr std::array<std::uint32_t, 8> initial_words = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

Midstate from_words(const std::uint32_t* words) {
  Midstate midstate;
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t b = 0; b < 4; ++b) {
      midstate.bytes[4 * i + b] = static_cast<std::byte>(words[i] >> (24 - 8 * b));
    }
  }
  return midstate;
}

}  // namespace

Midstate sha256_initial_midstate() { return from_words(initial_words.data()); }

Sha256::Sha256(const Midstate& midstate, std::uint64_t length) : length_(length) {
  WAGGLE_ASSERT(length % 64 == 0);
  SHA256_CTX context;
  SHA256_Init(&context);
  for (std::size_t i = 0; i < 8; ++i) {
    std::uint32_t word = 0;
    for (std::size_t b = 0; b < 4; ++b) {
      word = (word << 8U) | std::to_integer<std::uint32_t>(midstate.bytes[4 * i + b]);
    }
    context.h[i] = word;
  }
  context.Nl = static_cast<std::uint32_t>(length << 3U);
  context.Nh = static_cast<std::uint32_t>(length >> 29U);
  std::memcpy(context_.bytes.data(), &context, sizeof(context));
}

void Sha256::update(ByteView bytes) {
  SHA256_CTX context = load(context_.bytes.data());
  SHA256_Update(&context, bytes.data(), bytes.size());
  std::memcpy(context_.bytes.data(), &context, sizeof(context));
  length_ += bytes.size();
}

Midstate Sha256::midstate() const {
  WAGGLE_ASSERT(length_ % 64 == 0);
  const SHA256_CTX context = load(context_.bytes.data());
  return from_words(context.h);
}

Digest Sha256::finish() const {
  SHA256_CTX context = load(context_.bytes.data());
  std::array<std::byte, 32> hash{};
  SHA256_Final(as_uchar(MutableByteView(hash)), &context);
  return {DigestAlgorithm::sha256, hash};
}

}  // namespace waggle
