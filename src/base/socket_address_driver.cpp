// Copies field by field: the system's structures are not ours to alias.
#include "base/socket_address_driver.hpp"

#include <array>
#include <cstring>

namespace waggle {
namespace {

template <typename Address>
SocketAddress stored(const Address& address) {
  SocketAddress stored;
  std::memcpy(&stored.storage, &address, sizeof(address));
  stored.size = sizeof(address);
  return stored;
}

}  // namespace

SocketAddress to_v4_socket_address(const Endpoint& endpoint) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  address.sin_addr = v4_of(endpoint);
  return stored(address);
}

SocketAddress to_v6_socket_address(const Endpoint& endpoint, unsigned scope) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(endpoint.port);
  address.sin6_addr = v6_of(endpoint);
  address.sin6_scope_id = scope;
  return stored(address);
}

SocketAddress to_socket_address(const Endpoint& endpoint) {
  return endpoint.is_v4() ? to_v4_socket_address(endpoint) : to_v6_socket_address(endpoint);
}

std::optional<Endpoint> endpoint_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    return endpoint_of(v4.sin_addr, ntohs(v4.sin_port));
  }
  if (address.sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof(v6));
  return endpoint_of(v6.sin6_addr, ntohs(v6.sin6_port));
}

in_addr v4_of(const Endpoint& endpoint) {
  in_addr address{};
  std::memcpy(&address, endpoint.address.data() + 12, sizeof(address));
  return address;
}

in6_addr v6_of(const Endpoint& endpoint) {
  in6_addr address{};
  std::memcpy(&address, endpoint.address.data(), sizeof(address));
  return address;
}

Endpoint endpoint_of(const in_addr& address, std::uint16_t port) {
  std::array<std::uint8_t, 4> octets{};
  std::memcpy(octets.data(), &address, octets.size());
  return Endpoint::v4(octets[0], octets[1], octets[2], octets[3], port);
}

Endpoint endpoint_of(const in6_addr& address, std::uint16_t port) {
  Endpoint endpoint;
  std::memcpy(endpoint.address.data(), &address, endpoint.address.size());
  endpoint.port = port;
  return endpoint;
}

}  // namespace waggle
