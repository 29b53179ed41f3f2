// recvmsg and sendmsg with packet information; Asio waits.
#include "gossip/udp_socket_driver.hpp"

#include "base/descriptor_driver.hpp"
#include "base/limits.hpp"
#include "base/socket_address_driver.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

namespace waggle::gossip {
namespace {

namespace asio = boost::asio;
using asio::ip::udp;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
constexpr int receive_buffer_bytes = 4 * 1024 * 1024;
/// One byte more than the core accepts, so that it can tell an over-long datagram.
constexpr std::size_t read_bytes = limits::datagram_bytes_max + 1;
/// Taken in one go before others on the executor have their turn.
constexpr int receive_batch = 32;

/// Room for one packet information of either family.
struct Control {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo)) * 2> bytes{};
};

template <typename Info>
void put_info(msghdr& message, Control& control, int level, int type, const Info& info) {
  message.msg_control = control.bytes.data();
  message.msg_controllen = CMSG_SPACE(sizeof(info));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(sizeof(info));
  std::memcpy(CMSG_DATA(header), &info, sizeof(info));
}

/// The own address in a received message; nullopt when the system did not say.
std::optional<Endpoint> local_of(msghdr& message, std::uint16_t port) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
      in_pktinfo info{};
      std::memcpy(&info, CMSG_DATA(header), sizeof(info));
      return endpoint_of(info.ipi_spec_dst, port);
    }
    if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info{};
      std::memcpy(&info, CMSG_DATA(header), sizeof(info));
      return endpoint_of(info.ipi6_addr, port);
    }
  }
  return std::nullopt;
}

}  // namespace

void UdpSocket::set_option(int level, int name, int value) {
  if (::setsockopt(io_.native_handle(), level, name, &value, sizeof(value)) != 0) broken_ = true;
}

Result<void> UdpSocket::open(const Endpoint& endpoint, bool dual_stack) {
  boost::system::error_code error;
  is_v4_ = endpoint.is_v4();
  dual_stack_ = dual_stack;
  io_.open(is_v4_ ? udp::v4() : udp::v6(), error);
  if (error) return error;
  if (!is_v4_) {
    set_option(IPPROTO_IPV6, IPV6_V6ONLY, dual_stack ? 0 : 1);
    set_option(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    set_option(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1);
    set_option(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);  // only the groups that this socket joined
  }
  if (is_v4_ || dual_stack) {
    set_option(IPPROTO_IP, IP_PKTINFO, 1);
    set_option(IPPROTO_IP, IP_MULTICAST_TTL, 1);
    set_option(IPPROTO_IP, IP_MULTICAST_ALL, 0);
  }
  if (broken_) return last_system_error();
  io_.non_blocking(true, error);
  if (error) return error;
  boost::system::error_code smaller;  // the system's limit may allow less: then that much
  io_.set_option(asio::socket_base::receive_buffer_size(receive_buffer_bytes), smaller);
  return {};
}

Result<void> UdpSocket::bind_to(const Endpoint& endpoint, unsigned scope) {
  SocketAddress address =
      is_v4_ ? to_v4_socket_address(endpoint) : to_v6_socket_address(endpoint, scope);
  if (::bind(io_.native_handle(), address.get(), address.size) != 0) return last_system_error();
  SocketAddress bound;
  if (::getsockname(io_.native_handle(), bound.get(), &bound.size) != 0) return last_system_error();
  local_ = endpoint_of(*bound.get()).value_or(endpoint);
  return {};
}

Result<void> UdpSocket::bind(const Endpoint& endpoint, bool dual_stack) {
  const auto opened = open(endpoint, dual_stack);
  if (!opened && opened.error() == asio::error::address_family_not_supported && dual_stack) {
    return bind(Endpoint::v4(0, 0, 0, 0, endpoint.port), false);
  }
  if (!opened) return opened;
  return bind_to(endpoint, 0);
}

Result<void> UdpSocket::join(const Endpoint& group, const MulticastInterface& interface) {
  if (auto opened = open(group, false); !opened) return opened;
  share_port();
  if (broken_) return last_system_error();
  if (auto bound = bind_to(group, interface.index); !bound) return bound;
  int joined = 0;
  if (is_v4_) {
    ip_mreqn request{};
    request.imr_multiaddr = v4_of(group);
    request.imr_ifindex = static_cast<int>(interface.index);
    joined =
        ::setsockopt(io_.native_handle(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request));
  } else {
    ipv6_mreq request{};
    request.ipv6mr_multiaddr = v6_of(group);
    request.ipv6mr_interface = interface.index;
    joined =
        ::setsockopt(io_.native_handle(), IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof(request));
  }
  if (joined != 0) return last_system_error();
  return {};
}

void UdpSocket::share_port() { set_option(SOL_SOCKET, SO_REUSEADDR, 1); }

void UdpSocket::start(std::shared_ptr<const Handler> handler) {
  // The coroutine owns a share, so that the driver may go while a wait is still to be aborted.
  auto receive_all = [](std::shared_ptr<UdpSocket> self,
                        std::shared_ptr<const Handler> on_datagram) -> asio::awaitable<void> {
    std::array<std::byte, read_bytes> buffer;
    while (self->io_.is_open()) {
      for (int i = 0; i < receive_batch && self->io_.is_open(); ++i) {
        const auto arrival = self->receive(buffer);
        // Nothing more; or an ICMP error of some earlier send, which is gone with this call.
        if (!arrival) break;
        (*on_datagram)(arrival->from, arrival->local, ByteView(buffer).first(arrival->size));
      }
      if (!self->io_.is_open()) co_return;
      (void)co_await self->io_.async_wait(udp::socket::wait_read, no_throw);
    }
  };
  asio::co_spawn(io_.get_executor(), receive_all(shared_from_this(), std::move(handler)),
                 asio::detached);
}

void UdpSocket::close() {
  boost::system::error_code ignored;  // closing a datagram socket has nothing to report
  io_.close(ignored);
}

Result<UdpSocket::Arrival> UdpSocket::receive(MutableByteView buffer) {
  SocketAddress from;
  iovec part{buffer.data(), buffer.size()};
  Control control;
  msghdr message{};
  message.msg_name = from.get();
  message.msg_namelen = from.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  const auto size = ::recvmsg(io_.native_handle(), &message, MSG_DONTWAIT);
  if (size < 0) return last_system_error();
  return Arrival{endpoint_of(*from.get()).value_or(Endpoint{}),
                 local_of(message, local_.port).value_or(local_), static_cast<std::size_t>(size)};
}

Result<void> UdpSocket::send(const Endpoint& to, ByteView datagram, const Source& source) {
  SocketAddress address = is_v4_ ? to_v4_socket_address(to) : to_v6_socket_address(to);
  iovec part{const_cast<std::byte*>(datagram.data()), datagram.size()};
  Control control;
  msghdr message{};
  message.msg_name = address.get();
  message.msg_namelen = address.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (source.address || source.interface != 0) {
    if (to.is_v4()) {
      in_pktinfo info{};
      info.ipi_ifindex = static_cast<int>(source.interface);
      if (source.address) info.ipi_spec_dst = v4_of(*source.address);
      put_info(message, control, IPPROTO_IP, IP_PKTINFO, info);
    } else {
      in6_pktinfo info{};
      info.ipi6_ifindex = source.interface;
      if (source.address) info.ipi6_addr = v6_of(*source.address);
      put_info(message, control, IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
  }
  if (::sendmsg(io_.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
    return last_system_error();
  return {};
}

}  // namespace waggle::gossip
