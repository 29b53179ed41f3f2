// Key material: wiped when it goes, compared in constant time, never printed.
#pragma once

#include "base/bytes.hpp"

#include <array>
#include <cstddef>

#include <sodium.h>

namespace waggle {

template <std::size_t N>
class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(std::span<const std::byte, N> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  SecretBytes(const SecretBytes&) = default;
  SecretBytes& operator=(const SecretBytes&) = default;
  ~SecretBytes() { sodium_memzero(bytes_.data(), bytes_.size()); }

  [[nodiscard]] ByteView view() const { return bytes_; }
  [[nodiscard]] MutableByteView mutable_view() { return bytes_; }
  [[nodiscard]] const unsigned char* data() const { return as_uchar(ByteView(bytes_)); }
  [[nodiscard]] unsigned char* data() { return as_uchar(MutableByteView(bytes_)); }
  [[nodiscard]] static constexpr std::size_t size() { return N; }
  bool operator==(const SecretBytes& other) const {
    return sodium_memcmp(bytes_.data(), other.bytes_.data(), N) == 0;
  }

 private:
  std::array<std::byte, N> bytes_{};
};

}  // namespace waggle
