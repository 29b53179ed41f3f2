// Endpoints as the system's socket addresses, and back.
#pragma once

#include "base/endpoint.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>

namespace waggle {

/// What bind(2), connect(2), sendmsg(2) take and getsockname(2), recvmsg(2) fill in.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

/// For a socket of family AF_INET.
[[nodiscard]] SocketAddress to_v4_socket_address(const Endpoint& endpoint);
/// For a socket of family AF_INET6; IPv4 endpoints go as IPv4-mapped addresses. `scope` is the
/// interface's index of a link-local address.
[[nodiscard]] SocketAddress to_v6_socket_address(const Endpoint& endpoint, unsigned scope = 0);
/// Of the endpoint's own family.
[[nodiscard]] SocketAddress to_socket_address(const Endpoint& endpoint);

/// nullopt for what is no IP address, a unix socket's for one.
[[nodiscard]] std::optional<Endpoint> endpoint_of(const sockaddr& address);

[[nodiscard]] in_addr v4_of(const Endpoint& endpoint);
[[nodiscard]] in6_addr v6_of(const Endpoint& endpoint);
[[nodiscard]] Endpoint endpoint_of(const in_addr& address, std::uint16_t port);
[[nodiscard]] Endpoint endpoint_of(const in6_addr& address, std::uint16_t port);

}  // namespace waggle
