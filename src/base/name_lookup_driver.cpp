// getaddrinfo(3).
#include "base/name_lookup_driver.hpp"

#include "base/socket_address_driver.hpp"

#include <netdb.h>

#include <algorithm>
#include <memory>

namespace waggle {
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
    auto endpoint = endpoint_of(*entry->ai_addr);
    if (!endpoint) continue;
    endpoint->port = port;
    auto& known = answer.endpoints;
    if (std::find(known.begin(), known.end(), *endpoint) == known.end()) known.push_back(*endpoint);
  }
  if (answer.endpoints.empty()) answer.problem = "no address";
  return answer;
}

}  // namespace waggle
