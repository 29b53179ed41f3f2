// DNS off the node's thread: getaddrinfo blocks, and a name server that hangs must hold up nobody
// else.
#pragma once

#include "base/endpoint.hpp"
#include "mirror/error.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <functional>
#include <string>
#include <vector>

namespace waggle::mirror {

class NameResolver {
 public:
  /// @param executor  where callbacks run; its context must accept work from other threads
  explicit NameResolver(boost::asio::any_io_executor executor);
  /// Waits for lookups under way; their callbacks never run.
  ~NameResolver();
  NameResolver(const NameResolver&) = delete;
  NameResolver& operator=(const NameResolver&) = delete;

  /// Addresses in the system's order of preference, at least one, or resolve_failed. Address
  /// literals are answered inside the call.
  void async_resolve(const std::string& host, std::uint16_t port,
                     std::function<void(Result<std::vector<Endpoint>>)> done);

 private:
  boost::asio::any_io_executor executor_;
  boost::asio::thread_pool threads_;
};

}  // namespace waggle::mirror
