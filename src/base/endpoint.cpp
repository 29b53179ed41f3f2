// Text and wire forms of endpoints; inet_pton and inet_ntop are pure functions here.
#include "base/endpoint.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace waggle {
namespace {

constexpr std::array<std::byte, 12> v4_prefix = {
    std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0},    std::byte{0},
    std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0xff}, std::byte{0xff}};

}  // namespace

Endpoint Endpoint::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                      std::uint16_t port) {
  Endpoint endpoint;
  std::copy(v4_prefix.begin(), v4_prefix.end(), endpoint.address.begin());
  const std::array<std::uint8_t, 4> octets = {a, b, c, d};
  for (std::size_t i = 0; i < 4; ++i) endpoint.address[12 + i] = std::byte{octets[i]};
  endpoint.port = port;
  return endpoint;
}

Result<Endpoint> Endpoint::parse_address(std::string_view address, std::uint16_t port) {
  const std::string text(address);
  Endpoint endpoint;
  endpoint.port = port;
  if (inet_pton(AF_INET6, text.c_str(), endpoint.address.data()) == 1) return endpoint;
  std::array<std::uint8_t, 4> octets{};
  if (inet_pton(AF_INET, text.c_str(), octets.data()) == 1) {
    return v4(octets[0], octets[1], octets[2], octets[3], port);
  }
  return BaseError::malformed;
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return BaseError::malformed;
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size()) return BaseError::malformed;
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return BaseError::malformed;
  }
  return parse_address(host, port);
}

bool Endpoint::is_v4() const {
  return std::equal(v4_prefix.begin(), v4_prefix.end(), address.begin());
}

bool Endpoint::is_unspecified() const {
  const auto from = address.begin() + (is_v4() ? 12 : 0);
  return std::all_of(from, address.end(), [](std::byte b) { return b == std::byte{0}; });
}

bool Endpoint::is_loopback() const {
  if (is_v4()) return address[12] == std::byte{127};
  return address[15] == std::byte{1} && std::all_of(address.begin(), address.end() - 1,
                                                    [](std::byte b) { return b == std::byte{0}; });
}

std::string Endpoint::address_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_v4()) {
    inet_ntop(AF_INET, address.data() + 12, text.data(), text.size());
  } else {
    inet_ntop(AF_INET6, address.data(), text.data(), text.size());
  }
  return text.data();
}

std::string Endpoint::to_string() const {
  const std::string host = is_v4() ? address_string() : "[" + address_string() + "]";
  return host + ":" + std::to_string(port);
}

Bytes Endpoint::to_wire() const {
  Bytes wire(address.begin(), address.end());
  wire.push_back(static_cast<std::byte>(port >> 8U));
  wire.push_back(static_cast<std::byte>(port & 0xffU));
  return wire;
}

Result<Endpoint> Endpoint::from_wire(ByteView wire) {
  Endpoint endpoint;
  if (wire.size() != endpoint.address.size() + 2) return BaseError::malformed;
  std::copy_n(wire.begin(), endpoint.address.size(), endpoint.address.begin());
  endpoint.port = static_cast<std::uint16_t>((std::to_integer<unsigned>(wire[16]) << 8U) |
                                             std::to_integer<unsigned>(wire[17]));
  return endpoint;
}

}  // namespace waggle
