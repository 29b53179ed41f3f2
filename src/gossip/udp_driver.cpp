// Asio datagram sockets; one receiving coroutine each.
#include "gossip/udp_driver.hpp"

#include "base/limits.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace waggle::gossip {
namespace {

namespace asio = boost::asio;
using asio::ip::udp;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
constexpr int receive_buffer_bytes = 4 * 1024 * 1024;
/// One byte more than the core accepts, so that it can tell an over-long datagram.
constexpr std::size_t read_bytes = limits::datagram_bytes_max + 1;

Endpoint to_endpoint(const udp::endpoint& from) {
  Endpoint endpoint;
  if (from.address().is_v4()) {
    const auto octets = from.address().to_v4().to_bytes();
    return Endpoint::v4(octets[0], octets[1], octets[2], octets[3], from.port());
  }
  const auto bytes = from.address().to_v6().to_bytes();
  std::transform(bytes.begin(), bytes.end(), endpoint.address.begin(),
                 [](unsigned char byte) { return std::byte{byte}; });
  endpoint.port = from.port();
  return endpoint;
}

udp::endpoint to_asio(const Endpoint& endpoint, bool as_v4) {
  asio::ip::address_v6::bytes_type bytes{};
  std::transform(endpoint.address.begin(), endpoint.address.end(), bytes.begin(),
                 [](std::byte byte) { return std::to_integer<unsigned char>(byte); });
  if (!as_v4) return {asio::ip::address_v6(bytes), endpoint.port};
  return {asio::ip::address_v4({bytes[12], bytes[13], bytes[14], bytes[15]}), endpoint.port};
}

}  // namespace

struct UdpDriver::Socket {
  explicit Socket(const asio::any_io_executor& executor) : io(executor) {}

  /// Owns a share, so that the driver may go while a receive is still to be aborted.
  static asio::awaitable<void> receive(std::shared_ptr<Socket> socket) {
    std::array<std::byte, read_bytes> buffer;
    udp::endpoint from;
    for (;;) {
      const auto [error, size] =
          co_await socket->io.async_receive_from(asio::buffer(buffer), from, no_throw);
      if (!socket->io.is_open()) co_return;
      if (error) continue;  // an ICMP error of some earlier send
      // The handler may end the driver: keep the handler for the call.
      const auto handler = socket->handler;
      (*handler)(to_endpoint(from), ByteView(buffer).first(size));
    }
  }

  udp::socket io;
  Endpoint local;
  bool is_v4 = false;
  bool dual_stack = false;
  std::shared_ptr<const Handler> handler;
};

UdpDriver::UdpDriver(asio::any_io_executor executor, std::vector<Endpoint> endpoints,
                     Handler handler)
    : executor_(std::move(executor)),
      endpoints_(std::move(endpoints)),
      handler_(std::make_shared<const Handler>(std::move(handler))) {}

UdpDriver::~UdpDriver() { stop(); }

Result<std::shared_ptr<UdpDriver::Socket>> UdpDriver::bind(const Endpoint& endpoint,
                                                           bool dual_stack) const {
  auto socket = std::make_shared<Socket>(executor_);
  socket->is_v4 = endpoint.is_v4();
  socket->dual_stack = dual_stack;
  boost::system::error_code error;
  socket->io.open(socket->is_v4 ? udp::v4() : udp::v6(), error);
  if (error == asio::error::address_family_not_supported && dual_stack) {
    return bind(Endpoint::v4(0, 0, 0, 0, endpoint.port), false);
  }
  if (!error && !socket->is_v4) socket->io.set_option(asio::ip::v6_only(!dual_stack), error);
  if (!error) socket->io.bind(to_asio(endpoint, socket->is_v4), error);
  if (!error) socket->io.non_blocking(true, error);
  if (error) return error;
  boost::system::error_code smaller;  // the system's limit may allow less: then that much
  socket->io.set_option(asio::socket_base::receive_buffer_size(receive_buffer_bytes), smaller);
  const auto local = socket->io.local_endpoint(error);
  if (error) return error;
  socket->local = to_endpoint(local);
  return socket;
}

Result<void> UdpDriver::start() {
  stop();
  for (const Endpoint& endpoint : endpoints_) {
    const bool has_v4_twin = std::any_of(
        endpoints_.begin(), endpoints_.end(),
        [&](const Endpoint& other) { return other.is_v4() && other.port == endpoint.port; });
    const bool dual_stack = !endpoint.is_v4() && endpoint.is_unspecified() && !has_v4_twin;
    auto socket = bind(endpoint, dual_stack);
    if (!socket) {
      sockets_.clear();
      return socket.error();
    }
    (*socket)->handler = handler_;
    sockets_.push_back(std::move(*socket));
  }
  for (const auto& socket : sockets_) {
    asio::co_spawn(executor_, Socket::receive(socket), asio::detached);
  }
  return {};
}

UdpDriver::Socket* UdpDriver::socket_for(const Endpoint& to) const {
  Socket* best = nullptr;
  int best_fit = 0;
  for (const auto& socket : sockets_) {
    if (socket->is_v4 != to.is_v4() && !(to.is_v4() && socket->dual_stack)) continue;
    // A socket on loopback reaches only loopback, and a specific address beats "any".
    const bool specific = !socket->local.is_unspecified();
    if (specific && socket->local.is_loopback() != to.is_loopback()) continue;
    const int fit = specific ? 2 : 1;
    if (fit <= best_fit) continue;
    best = socket.get();
    best_fit = fit;
  }
  return best;
}

void UdpDriver::send(const Endpoint& to, ByteView datagram) {
  Socket* socket = socket_for(to);
  boost::system::error_code error = asio::error::network_unreachable;
  if (socket != nullptr) {
    socket->io.send_to(asio::buffer(datagram.data(), datagram.size()), to_asio(to, socket->is_v4),
                       0, error);
  }
  if (error) ++send_errors_;
}

void UdpDriver::stop() {
  for (const auto& socket : sockets_) {
    boost::system::error_code ignored;  // closing a datagram socket has nothing to report
    socket->io.close(ignored);
  }
  sockets_.clear();
}

std::vector<Endpoint> UdpDriver::local_endpoints() const {
  std::vector<Endpoint> endpoints;
  for (const auto& socket : sockets_) endpoints.push_back(socket->local);
  return endpoints;
}

}  // namespace waggle::gossip
