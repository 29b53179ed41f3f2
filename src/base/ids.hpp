// Identifiers: node, chunk, extent, session, swarm. Small value types that do not convert into each
// other.
#pragma once

#include "base/bytes.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace waggle {

/// BLAKE2b-128 of the node's Ed25519 public key (base/identity.hpp). Ordered bytewise.
struct NodeId {
  std::array<std::byte, 16> bytes{};
  auto operator<=>(const NodeId&) const = default;
  [[nodiscard]] bool is_zero() const { return *this == NodeId{}; }
  /// 32 lower-case hex digits.
  [[nodiscard]] std::string to_string() const { return to_hex(bytes); }
  /// The first 8 hex digits, for logs.
  [[nodiscard]] std::string short_string() const { return to_hex(bytes).substr(0, 8); }
  [[nodiscard]] static std::optional<NodeId> parse(std::string_view hex);
  /// The first 8 bytes, little-endian: the sender id of packet headers.
  [[nodiscard]] std::uint64_t prefix() const { return load_le<std::uint64_t>(bytes); }
};

/// BLAKE2b-128 over (digest, origin): names a swarm on sessions and in claims.
struct SwarmTag {
  std::array<std::byte, 16> bytes{};
  auto operator<=>(const SwarmTag&) const = default;
};

/// A digest as it travels in gossip: SipHash-2-4 under a key derived from the cluster name
/// (base/siphash.hpp).
enum class Id64 : std::uint64_t {};

/// Position of a chunk in its blob, 0-based. Index, count and size are three words.
enum class ChunkIndex : std::uint32_t {};
/// Position of an extent (a contiguous upstream range) in its blob, 0-based.
enum class ExtentIndex : std::uint32_t {};
/// A TCP session as its driver numbers it; never reused while the process lives.
enum class SessionId : std::uint64_t {};
/// A local handle of one swarm; never reused while the process lives.
enum class SwarmId : std::uint64_t {};
/// A local handle of one upstream request.
enum class FetchId : std::uint64_t {};
/// A local handle of one reader (an HTTP response body).
enum class ReaderId : std::uint64_t {};

template <typename E>
  requires std::is_enum_v<E>
[[nodiscard]] constexpr auto to_value(E id) {
  return static_cast<std::underlying_type_t<E>>(id);
}

}  // namespace waggle

template <>
struct std::hash<waggle::NodeId> {
  std::size_t operator()(const waggle::NodeId& id) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, id.bytes.data(), sizeof(value));
    return value;
  }
};
template <>
struct std::hash<waggle::SwarmTag> {
  std::size_t operator()(const waggle::SwarmTag& tag) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, tag.bytes.data(), sizeof(value));
    return value;
  }
};
