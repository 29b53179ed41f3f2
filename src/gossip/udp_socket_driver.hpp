// One UDP socket: which own address a datagram was sent to, and from which own address and
// interface one leaves. Used by udp_driver alone.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/error.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/udp.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace waggle::gossip {

/// An interface that carries multicast, and an own address on it; its family is the groups'.
struct MulticastInterface {
  unsigned index = 0;  ///< as the system counts them
  Endpoint address;    ///< the port does not matter
};

class UdpSocket : public std::enable_shared_from_this<UdpSocket> {
 public:
  /// `local` is the own address that the datagram was sent to (its port is the socket's); the bytes
  /// live until the call returns. It may close the socket.
  using Handler =
      std::function<void(const Endpoint& from, const Endpoint& local, ByteView datagram)>;
  /// What a datagram leaves by; empty and 0: as the system routes it.
  struct Source {
    std::optional<Endpoint> address;
    unsigned interface = 0;
  };

  explicit UdpSocket(const boost::asio::any_io_executor& executor) : io_(executor) {}

  /// With `dual_stack` an IPv6 socket serves IPv4 too, and on a host without IPv6 IPv4 alone.
  [[nodiscard]] Result<void> bind(const Endpoint& endpoint, bool dual_stack);
  /// Hears what is sent to `group` (address and port) on that interface, beside others who do.
  [[nodiscard]] Result<void> join(const Endpoint& group, const MulticastInterface& interface);

  /// Lets sockets that join() a group have the port too. Called after bind(), which therefore still
  /// fails on a port that is taken.
  void share_port();

  /// Receives until close(); the handler is called on the executor.
  void start(std::shared_ptr<const Handler> handler);
  void close();
  /// Never blocks.
  [[nodiscard]] Result<void> send(const Endpoint& to, ByteView datagram, const Source& source);

  [[nodiscard]] const Endpoint& local() const { return local_; }
  [[nodiscard]] bool can_reach_family(const Endpoint& to) const {
    return is_v4_ == to.is_v4() || (to.is_v4() && dual_stack_);
  }

 private:
  struct Arrival {
    Endpoint from, local;
    std::size_t size = 0;
  };
  [[nodiscard]] Result<void> open(const Endpoint& endpoint, bool dual_stack);
  [[nodiscard]] Result<void> bind_to(const Endpoint& endpoint, unsigned scope);
  [[nodiscard]] Result<Arrival> receive(MutableByteView buffer);
  void set_option(int level, int name, int value);

  boost::asio::ip::udp::socket io_;
  Endpoint local_;
  bool is_v4_ = false;
  bool dual_stack_ = false;
  bool broken_ = false;  ///< an option that the socket cannot work without was refused
};

}  // namespace waggle::gossip
