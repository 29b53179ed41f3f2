// getaddrinfo(3) on a few threads.
#include "mirror/name_resolver_driver.hpp"

#include <boost/asio/post.hpp>

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace waggle::mirror {
namespace {

constexpr std::size_t thread_count = 4;

Result<std::vector<Endpoint>> look_up(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &first) != 0) return MirrorError::resolve_failed;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(first, &::freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* entry = first; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    if (entry->ai_family == AF_INET6) {
      sockaddr_in6 address{};
      std::memcpy(&address, entry->ai_addr, sizeof(address));
      std::memcpy(endpoint.address.data(), &address.sin6_addr, endpoint.address.size());
      endpoint.port = port;
    } else if (entry->ai_family == AF_INET) {
      sockaddr_in address{};
      std::memcpy(&address, entry->ai_addr, sizeof(address));
      std::array<std::uint8_t, 4> octets{};
      std::memcpy(octets.data(), &address.sin_addr, octets.size());
      endpoint = Endpoint::v4(octets[0], octets[1], octets[2], octets[3], port);
    } else {
      continue;
    }
    if (std::find(endpoints.begin(), endpoints.end(), endpoint) == endpoints.end())
      endpoints.push_back(endpoint);
  }
  if (endpoints.empty()) return MirrorError::resolve_failed;
  return endpoints;
}

}  // namespace

NameResolver::NameResolver(boost::asio::any_io_executor executor)
    : executor_(std::move(executor)), threads_(thread_count) {}

NameResolver::~NameResolver() {
  threads_.stop();
  threads_.join();
}

void NameResolver::async_resolve(const std::string& host, std::uint16_t port,
                                 std::function<void(Result<std::vector<Endpoint>>)> done) {
  if (const auto literal = Endpoint::parse_address(host, port))
    return done(std::vector<Endpoint>{*literal});
  boost::asio::post(threads_, [executor = executor_, host, port, done = std::move(done)]() mutable {
    auto result = look_up(host, port);
    boost::asio::post(executor, [done = std::move(done), result = std::move(result)]() mutable {
      done(std::move(result));
    });
  });
}

}  // namespace waggle::mirror
