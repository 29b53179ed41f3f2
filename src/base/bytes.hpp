// Byte views, owned byte strings and the small conversions everyone needs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace waggle {

using ByteView = std::span<const std::byte>;
using MutableByteView = std::span<std::byte>;
using Bytes = std::vector<std::byte>;

/// The characters of `text` as bytes; the view lives as long as `text`.
[[nodiscard]] ByteView as_bytes(std::string_view text);

/// `bytes` as characters; the view lives as long as `bytes`.
[[nodiscard]] std::string_view as_text(ByteView bytes);

[[nodiscard]] inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }

[[nodiscard]] inline const unsigned char* as_uchar(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
[[nodiscard]] inline unsigned char* as_uchar(MutableByteView bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

/// Lower-case hex, two characters per byte.
[[nodiscard]] std::string to_hex(ByteView bytes);

/// The bytes of an even number of hex digits (either case); nullopt on anything else.
[[nodiscard]] std::optional<Bytes> from_hex(std::string_view text);

/// Standard base64 with padding (RFC 4648 section 4).
[[nodiscard]] std::string to_base64(ByteView bytes);

/// Decodes standard base64; ignores trailing white space; nullopt on anything else.
[[nodiscard]] std::optional<Bytes> from_base64(std::string_view text);

/// Little-endian integers at the start of `bytes`. @pre bytes.size() >= sizeof(T)
template <typename T>
[[nodiscard]] T load_le(ByteView bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<T>(std::to_integer<std::uint8_t>(bytes[i])) << (8 * i));
  }
  return value;
}
template <typename T>
void store_le(MutableByteView bytes, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes[i] = static_cast<std::byte>(static_cast<std::uint8_t>(value >> (8 * i)));
  }
}
template <typename T>
void append_le(Bytes& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<std::byte>(static_cast<std::uint8_t>(value >> (8 * i))));
  }
}
inline void append(Bytes& out, ByteView tail) { out.insert(out.end(), tail.begin(), tail.end()); }

}  // namespace waggle
