// getifaddrs, and the connected-UDP-socket question for routes.
#include "node/address_driver.hpp"

#include "base/descriptor_driver.hpp"
#include "base/socket_address_driver.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace waggle::node {
namespace {

struct LocalAddress {
  std::string interface;
  Endpoint endpoint;
  bool carries_multicast = false;  ///< up, and not loopback
};

std::vector<LocalAddress> local_addresses() {
  ifaddrs* list = nullptr;
  std::vector<LocalAddress> found;
  if (getifaddrs(&list) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    auto endpoint = endpoint_of(*entry->ifa_addr);
    if (!endpoint || is_link_local(*endpoint)) continue;
    endpoint->port = 0;
    constexpr unsigned wanted = IFF_UP | IFF_MULTICAST;
    found.push_back({entry->ifa_name, *endpoint, (entry->ifa_flags & wanted) == wanted});
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
  const Descriptor socket(
      ::socket(target.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return std::nullopt;
  Endpoint discard = target;
  discard.port = 9;
  SocketAddress address = to_socket_address(discard);
  // Connecting a UDP socket sends nothing; it asks the routing table.
  SocketAddress own;
  if (::connect(socket.get(), address.get(), address.size) != 0 ||
      ::getsockname(socket.get(), own.get(), &own.size) != 0) {
    return std::nullopt;
  }
  auto local = endpoint_of(*own.get());
  if (local) local->port = port;
  return local;
}

namespace {

/// The addresses that a bound endpoint stands for.
bool stands_for(const Endpoint& bound, const std::vector<Endpoint>& all, const Endpoint& address) {
  if (!bound.is_unspecified()) return bound.address == address.address;
  if (bound.is_v4() == address.is_v4()) return true;
  // "[::]" serves IPv4 too, unless an IPv4 socket has the port.
  return address.is_v4() && std::none_of(all.begin(), all.end(), [&](const Endpoint& other) {
           return other.is_v4() && other.port == bound.port;
         });
}

/// The address to advertise in one family: towards the first hint, or the default route.
std::optional<Endpoint> address_of_family(bool v4, const std::vector<Endpoint>& hints,
                                          std::uint16_t port) {
  // Documentation addresses (RFC 5737, RFC 3849): routed like any other, reached by nothing.
  const char* const anywhere = v4 ? "192.0.2.1:9" : "[2001:db8::1]:9";
  std::vector<Endpoint> targets;
  std::copy_if(hints.begin(), hints.end(), std::back_inserter(targets),
               [&](const Endpoint& hint) { return hint.is_v4() == v4; });
  targets.push_back(*Endpoint::parse(anywhere));
  for (const Endpoint& target : targets) {
    const auto local = local_address_towards(target, port);
    if (local && !is_link_local(*local)) return local;
  }
  // A network without a way out.
  const auto own = matching(port, [&](const LocalAddress& local) {
    return local.endpoint.is_v4() == v4 && !local.endpoint.is_loopback();
  });
  return own.empty() ? std::nullopt : std::optional(own.front());
}

}  // namespace

std::vector<Endpoint> default_advertise(const std::vector<Endpoint>& bound,
                                        const std::vector<Endpoint>& hints) {
  std::vector<Endpoint> advertise;
  std::uint16_t port = 7947;
  for (const auto& endpoint : bound) {
    port = endpoint.port;
    if (!endpoint.is_unspecified()) advertise.push_back(endpoint);
  }
  if (!advertise.empty()) return advertise;
  const auto serves = [&](bool v4) {
    return std::any_of(bound.begin(), bound.end(), [&](const Endpoint& endpoint) {
      return stands_for(endpoint, bound, v4 ? Endpoint::v4(127, 0, 0, 1, 0) : Endpoint{});
    });
  };
  const bool v4_first = hints.empty() || hints.front().is_v4();
  for (const bool v4 : {v4_first, !v4_first}) {
    if (!serves(v4)) continue;
    const auto address = address_of_family(v4, hints, port);
    // Beside an address that others reach, loopback is none; and the other way round.
    if (!address) continue;
    if (advertise.empty() || advertise.front().is_loopback() == address->is_loopback())
      advertise.push_back(*address);
  }
  if (advertise.empty()) advertise.push_back(Endpoint::v4(127, 0, 0, 1, port));
  return advertise;
}

std::vector<Endpoint> own_endpoints(const std::vector<Endpoint>& bound) {
  std::vector<Endpoint> own;
  for (const auto& local : local_addresses()) {
    for (const auto& endpoint : bound) {
      if (!stands_for(endpoint, bound, local.endpoint)) continue;
      own.push_back(local.endpoint);
      own.back().port = endpoint.port;
    }
  }
  return own;
}

std::vector<gossip::MulticastInterface> multicast_interfaces(const std::vector<Endpoint>& bound) {
  std::vector<gossip::MulticastInterface> interfaces;
  for (const auto& local : local_addresses()) {
    const bool wanted = std::any_of(bound.begin(), bound.end(), [&](const Endpoint& endpoint) {
      if (!stands_for(endpoint, bound, local.endpoint)) return false;
      return !endpoint.is_unspecified() || local.carries_multicast;
    });
    const unsigned index = ::if_nametoindex(local.interface.c_str());
    const bool known = std::any_of(interfaces.begin(), interfaces.end(), [&](const auto& other) {
      return other.index == index && other.address.is_v4() == local.endpoint.is_v4();
    });
    if (wanted && !known && index != 0) interfaces.push_back({index, local.endpoint});
  }
  return interfaces;
}

std::vector<Endpoint> multicast_groups(const std::vector<JoinHint>& hints, bool wanted,
                                       const std::vector<Endpoint>& bound) {
  std::vector<Endpoint> groups;
  for (const JoinHint& hint : hints) {
    if (hint.kind == JoinHint::Kind::multicast) groups.push_back(hint.endpoint);
  }
  std::sort(groups.begin(), groups.end(),
            [](const Endpoint& a, const Endpoint& b) { return a.is_v4() > b.is_v4(); });
  if (groups.empty() && wanted) {
    const bool v4 = std::any_of(bound.begin(), bound.end(), [&](const Endpoint& endpoint) {
      return endpoint.is_v4() || stands_for(endpoint, bound, Endpoint::v4(127, 0, 0, 1, 0));
    });
    groups.push_back(
        *Endpoint::parse_address(v4 ? "239.255.79.47" : "ff05::4f2f", bound.front().port));
  }
  return groups;
}

}  // namespace waggle::node
