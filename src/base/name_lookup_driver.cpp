// getaddrinfo(3).
#include "base/name_lookup_driver.hpp"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>

namespace waggle {
namespace {

std::optional<Endpoint> to_endpoint(const addrinfo& entry, std::uint16_t port) {
  if (entry.ai_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, entry.ai_addr, sizeof(address));
    Endpoint endpoint;
    std::memcpy(endpoint.address.data(), &address.sin6_addr, endpoint.address.size());
    endpoint.port = port;
    return endpoint;
  }
  if (entry.ai_family != AF_INET) return std::nullopt;
  sockaddr_in address{};
  std::memcpy(&address, entry.ai_addr, sizeof(address));
  std::array<std::uint8_t, 4> octets{};
  std::memcpy(octets.data(), &address.sin_addr, octets.size());
  return Endpoint::v4(octets[0], octets[1], octets[2], octets[3], port);
}

}  // namespace

NameAnswer look_up_name(const std::string& host, std::uint16_t port) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;  // or each address comes once per socket type
  addrinfo* first = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &wanted, &first);
  if (failed != 0) return {{}, ::gai_strerror(failed)};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(first, &::freeaddrinfo);
  NameAnswer answer;
  for (const addrinfo* entry = first; entry != nullptr; entry = entry->ai_next) {
    const auto endpoint = to_endpoint(*entry, port);
    if (!endpoint) continue;
    auto& known = answer.endpoints;
    if (std::find(known.begin(), known.end(), *endpoint) == known.end()) known.push_back(*endpoint);
  }
  if (answer.endpoints.empty()) answer.problem = "no address";
  return answer;
}

}  // namespace waggle
