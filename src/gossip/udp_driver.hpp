// The UDP sockets of gossip: datagrams up through a callback, datagrams down. Owned by the node
// driver. Resolves nothing and decides nothing: which packets to send is the core's business.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/error.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace waggle::gossip {

/// One socket per bound endpoint, all on one executor. Errors of single datagrams (unreachable, too
/// large, queue full) are counted and survived: the prober notices what matters.
class UdpDriver {
 public:
  /// Called on the executor; `datagram` lives until it returns. It may call send() and stop().
  using Handler = std::function<void(const Endpoint& from, ByteView datagram)>;

  /// @param endpoints  to bind: address and port, port 0 = any
  UdpDriver(boost::asio::any_io_executor executor, std::vector<Endpoint> endpoints,
            Handler handler);
  ~UdpDriver();
  UdpDriver(const UdpDriver&) = delete;
  UdpDriver& operator=(const UdpDriver&) = delete;

  /// Binds every endpoint and starts to receive. "[::]" also serves IPv4, unless an IPv4 endpoint
  /// with the same port stands in the list; on hosts without IPv6 it serves IPv4 alone.
  /// @return the system's error of the first endpoint that cannot be bound; then nothing is open
  [[nodiscard]] Result<void> start();

  /// Sends from the socket whose family and address fit best; never blocks.
  void send(const Endpoint& to, ByteView datagram);

  /// Stops receiving; the handler is never called again. Repeats change nothing.
  void stop();

  /// What was bound, ports filled in.
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const;
  [[nodiscard]] std::uint64_t send_errors() const { return send_errors_; }

 private:
  struct Socket;
  [[nodiscard]] Result<std::shared_ptr<Socket>> bind(const Endpoint& endpoint,
                                                     bool dual_stack) const;
  [[nodiscard]] Socket* socket_for(const Endpoint& to) const;

  boost::asio::any_io_executor executor_;
  std::vector<Endpoint> endpoints_;
  std::shared_ptr<const Handler> handler_;
  std::vector<std::shared_ptr<Socket>> sockets_;
  std::uint64_t send_errors_ = 0;
};

}  // namespace waggle::gossip
