// getifaddrs, and the connected-UDP-socket question for routes.
#include "node/address_driver.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace waggle::node {
namespace {

struct LocalAddress {
  std::string interface;
  Endpoint endpoint;
};

Endpoint from_sockaddr(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    const auto* octets = reinterpret_cast<const std::uint8_t*>(&v4->sin_addr);
    return Endpoint::v4(octets[0], octets[1], octets[2], octets[3], 0);
  }
  Endpoint endpoint;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  std::memcpy(endpoint.address.data(), &v6->sin6_addr, endpoint.address.size());
  return endpoint;
}

std::vector<LocalAddress> local_addresses() {
  ifaddrs* list = nullptr;
  std::vector<LocalAddress> found;
  if (getifaddrs(&list) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const auto family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const Endpoint endpoint = from_sockaddr(entry->ifa_addr);
    const bool link_local = endpoint.address[0] == std::byte{0xfe} &&
                            (endpoint.address[1] & std::byte{0xc0}) == std::byte{0x80};
    if (!link_local) found.push_back({entry->ifa_name, endpoint});
  }
  return found;
}

bool matches_prefix(const Endpoint& address, const Endpoint& network, unsigned bits) {
  for (unsigned i = 0; i < bits; ++i) {
    const auto mask = static_cast<std::byte>(0x80U >> (i % 8));
    if ((address.address[i / 8] & mask) != (network.address[i / 8] & mask)) return false;
  }
  return true;
}

std::optional<std::uint16_t> parse_port(std::string_view digits) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return port;
}

template <typename Test>
std::vector<Endpoint> matching(std::uint16_t port, Test test) {
  std::vector<Endpoint> endpoints;
  for (const auto& local : local_addresses()) {
    if (!test(local)) continue;
    endpoints.push_back(local.endpoint);
    endpoints.back().port = port;
  }
  return endpoints;
}

}  // namespace

Result<std::vector<Endpoint>> resolve_bind(const std::string& entry) {
  const auto colon = entry.rfind(':');
  if (colon == std::string::npos) return BaseError::malformed;
  const auto port = parse_port(std::string_view(entry).substr(colon + 1));
  if (!port) return BaseError::malformed;
  const std::string host = entry.substr(0, colon);
  if (host.starts_with("if:")) {
    return matching(*port,
                    [&](const LocalAddress& local) { return local.interface == host.substr(3); });
  }
  if (const auto slash = host.find('/'); slash != std::string::npos) {
    std::string network_text = host.substr(0, slash);
    if (network_text.starts_with("[")) network_text = network_text.substr(1);
    std::string bits_text = host.substr(slash + 1);
    if (bits_text.ends_with("]")) bits_text.pop_back();
    const auto network = Endpoint::parse_address(network_text, 0);
    const auto bits = parse_port(bits_text);
    if (!network || !bits || *bits > (network->is_v4() ? 32 : 128)) return BaseError::malformed;
    const unsigned prefix = *bits + (network->is_v4() ? 96U : 0U);
    return matching(*port, [&](const LocalAddress& local) {
      return matches_prefix(local.endpoint, *network, prefix);
    });
  }
  const auto endpoint = Endpoint::parse(entry);
  if (!endpoint) return endpoint.error();
  return std::vector<Endpoint>{*endpoint};
}

std::optional<Endpoint> local_address_towards(const Endpoint& target, std::uint16_t port) {
  const int family = target.is_v4() ? AF_INET : AF_INET6;
  const int socket = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return std::nullopt;
  sockaddr_storage address{};
  socklen_t size = 0;
  if (target.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(9);
    std::memcpy(&v4->sin_addr, target.address.data() + 12, 4);
    size = sizeof(sockaddr_in);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(9);
    std::memcpy(&v6->sin6_addr, target.address.data(), 16);
    size = sizeof(sockaddr_in6);
  }
  std::optional<Endpoint> local;
  // Connecting a UDP socket sends nothing; it asks the routing table.
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), size) == 0) {
    sockaddr_storage own{};
    socklen_t own_size = sizeof(own);
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &own_size) == 0) {
      local = from_sockaddr(reinterpret_cast<sockaddr*>(&own));
      local->port = port;
    }
  }
  ::close(socket);
  return local;
}

std::vector<Endpoint> default_advertise(const std::vector<Endpoint>& bound,
                                        const std::vector<Endpoint>& hints) {
  std::vector<Endpoint> advertise;
  std::uint16_t port = 7947;
  for (const auto& endpoint : bound) {
    port = endpoint.port;
    if (!endpoint.is_unspecified()) advertise.push_back(endpoint);
  }
  if (!advertise.empty()) return advertise;
  for (const auto& hint : hints) {
    if (const auto local = local_address_towards(hint, port)) return {*local};
  }
  // Documentation addresses (RFC 5737, RFC 3849): routed like any other, reached by nothing.
  for (const char* anywhere : {"192.0.2.1:9", "[2001:db8::1]:9"}) {
    if (const auto local = local_address_towards(*Endpoint::parse(anywhere), port)) return {*local};
  }
  return {Endpoint::v4(127, 0, 0, 1, port)};
}

}  // namespace waggle::node
