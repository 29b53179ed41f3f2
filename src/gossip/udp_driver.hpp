// The UDP sockets of gossip: datagrams up through a callback, datagrams down. Owned by the node
// driver. Resolves nothing and decides nothing: which packets to send is the core's business.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/error.hpp"
#include "gossip/udp_socket_driver.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace waggle::gossip {

/// One socket per bound endpoint, all on one executor. Errors of single datagrams (unreachable, too
/// large, queue full) are counted and survived: the prober notices what matters. An answer leaves
/// from the own address that its receiver wrote to, also on a host with several addresses.
class UdpDriver {
 public:
  /// Called on the executor; `datagram` lives until it returns. It may call send() and stop().
  using Handler = std::function<void(const Endpoint& from, ByteView datagram)>;
  /// The own address by which the system would reach an endpoint.
  using Route = std::function<std::optional<Endpoint>(const Endpoint& to)>;

  /// @param endpoints  to bind: address and port, port 0 = any
  /// @param route      asked when several bound addresses could reach a receiver that has not
  ///                   written yet; without it the first of them sends
  UdpDriver(boost::asio::any_io_executor executor, std::vector<Endpoint> endpoints, Handler handler,
            Route route = nullptr);
  ~UdpDriver();
  UdpDriver(const UdpDriver&) = delete;
  UdpDriver& operator=(const UdpDriver&) = delete;

  /// Binds every endpoint and starts to receive. "[::]" also serves IPv4, unless an IPv4 endpoint
  /// with the same port stands in the list; on hosts without IPv6 it serves IPv4 alone.
  /// @return the system's error of the first endpoint that cannot be bound; then nothing is open
  [[nodiscard]] Result<void> start();

  /// Hears what is sent to `groups` on each interface of their family. From now on a datagram sent
  /// to one of them goes to all of them, out of each interface once, with a TTL of 1.
  /// @pre started
  /// @return how many pairs of group and interface work; the system's error when none does
  [[nodiscard]] Result<std::size_t> join(const std::vector<Endpoint>& groups,
                                         const std::vector<MulticastInterface>& interfaces);

  /// Sends from the socket whose family and address fit best; never blocks.
  void send(const Endpoint& to, ByteView datagram);

  /// Stops receiving; the handler is never called again. Repeats change nothing.
  void stop();

  /// What was bound, ports filled in.
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const;
  [[nodiscard]] std::uint64_t send_errors() const { return send_errors_; }

 private:
  /// How a receiver wrote to this node last.
  struct Path {
    std::shared_ptr<UdpSocket> socket;
    Endpoint local;
  };
  /// One way out to a group.
  struct Exit {
    Endpoint group;
    std::shared_ptr<UdpSocket> socket;
    UdpSocket::Source source;
  };
  void learn(const std::shared_ptr<UdpSocket>& socket, const Endpoint& from, const Endpoint& local);
  [[nodiscard]] std::shared_ptr<UdpSocket> socket_for(const Endpoint& to) const;
  [[nodiscard]] bool send_by_path(const Endpoint& to, ByteView datagram);
  void count(const Result<void>& sent);

  boost::asio::any_io_executor executor_;
  std::vector<Endpoint> endpoints_;
  std::shared_ptr<const Handler> handler_;
  Route route_;
  std::vector<std::shared_ptr<UdpSocket>> sockets_;
  std::vector<std::shared_ptr<UdpSocket>> group_sockets_;
  std::vector<Endpoint> groups_;
  std::vector<Exit> exits_;
  std::unordered_map<Endpoint, Path> paths_;  ///< <= limits::udp_paths_max
  std::uint64_t send_errors_ = 0;
};

}  // namespace waggle::gossip
