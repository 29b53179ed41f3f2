// An IP address and a port as plain values, so that cores need no Asio.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace waggle {

/// IPv4 addresses are kept as IPv4-mapped IPv6 (::ffff:a.b.c.d), so equal endpoints compare equal
/// however a dual-stack socket reports them.
struct Endpoint {
  std::array<std::byte, 16> address{};
  std::uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;

  [[nodiscard]] static Endpoint v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                                   std::uint16_t port);
  /// Parses "10.0.0.1:7947" and "[fe80::1]:7947"; names are malformed.
  [[nodiscard]] static Result<Endpoint> parse(std::string_view text);
  /// Parses an address without a port.
  [[nodiscard]] static Result<Endpoint> parse_address(std::string_view address, std::uint16_t port);
  [[nodiscard]] bool is_v4() const;
  [[nodiscard]] bool is_unspecified() const;
  [[nodiscard]] bool is_loopback() const;
  /// "10.0.0.1:7947" or "[fe80::1]:7947".
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] std::string address_string() const;
  /// 18 bytes: address, then port big-endian.
  [[nodiscard]] Bytes to_wire() const;
  [[nodiscard]] static Result<Endpoint> from_wire(ByteView wire);
};

}  // namespace waggle

template <>
struct std::hash<waggle::Endpoint> {
  std::size_t operator()(const waggle::Endpoint& endpoint) const noexcept {
    return std::hash<std::string_view>{}(waggle::as_text(endpoint.address)) * 31 + endpoint.port;
  }
};
