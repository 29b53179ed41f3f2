// Which socket sends what: answers the way the question came, multicast out of each interface.
#include "gossip/udp_driver.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <boost/asio/error.hpp>

#include <algorithm>
#include <utility>

namespace waggle::gossip {

UdpDriver::UdpDriver(boost::asio::any_io_executor executor, std::vector<Endpoint> endpoints,
                     Handler handler, Route route)
    : executor_(std::move(executor)),
      endpoints_(std::move(endpoints)),
      handler_(std::make_shared<const Handler>(std::move(handler))),
      route_(std::move(route)) {}

UdpDriver::~UdpDriver() { stop(); }

Result<void> UdpDriver::start() {
  stop();
  for (const Endpoint& endpoint : endpoints_) {
    const bool has_v4_twin = std::any_of(
        endpoints_.begin(), endpoints_.end(),
        [&](const Endpoint& other) { return other.is_v4() && other.port == endpoint.port; });
    const bool dual_stack = !endpoint.is_v4() && endpoint.is_unspecified() && !has_v4_twin;
    auto socket = std::make_shared<UdpSocket>(executor_);
    if (auto bound = socket->bind(endpoint, dual_stack); !bound) {
      sockets_.clear();
      return bound.error();
    }
    sockets_.push_back(std::move(socket));
  }
  for (const auto& socket : sockets_) {
    // The handler may end the driver, but not itself; a closed socket calls nothing any more.
    const std::weak_ptr<UdpSocket> weak = socket;
    socket->start(std::make_shared<const UdpSocket::Handler>(
        [this, weak, handler = handler_](const Endpoint& from, const Endpoint& local,
                                         ByteView datagram) {
          learn(weak.lock(), from, local);
          (*handler)(from, datagram);
        }));
  }
  return {};
}

Result<std::size_t> UdpDriver::join(const std::vector<Endpoint>& groups,
                                    const std::vector<MulticastInterface>& interfaces) {
  WAGGLE_ASSERT(!sockets_.empty());
  boost::system::error_code first_error = boost::asio::error::network_unreachable;
  bool failed = false;
  groups_ = groups;
  for (const auto& socket : sockets_) socket->share_port();
  const auto by_group = std::make_shared<const UdpSocket::Handler>(
      [handler = handler_](const Endpoint& from, const Endpoint&, ByteView datagram) {
        (*handler)(from, datagram);
      });
  for (const Endpoint& group : groups) {
    for (const MulticastInterface& interface : interfaces) {
      if (interface.address.is_v4() != group.is_v4()) continue;
      const auto sender = std::find_if(sockets_.begin(), sockets_.end(), [&](const auto& socket) {
        return socket->can_reach_family(group) &&
               (socket->local().is_unspecified() ||
                socket->local().address == interface.address.address);
      });
      if (sender == sockets_.end()) continue;
      auto receiver = std::make_shared<UdpSocket>(executor_);
      if (auto joined = receiver->join(group, interface); !joined) {
        if (!std::exchange(failed, true)) first_error = joined.error();
        continue;
      }
      receiver->start(by_group);
      group_sockets_.push_back(std::move(receiver));
      exits_.push_back({group, *sender, {interface.address, interface.index}});
    }
  }
  if (exits_.empty()) return first_error;
  return exits_.size();
}

void UdpDriver::learn(const std::shared_ptr<UdpSocket>& socket, const Endpoint& from,
                      const Endpoint& local) {
  // With one address there is nothing to choose.
  if (sockets_.size() == 1 && !socket->local().is_unspecified()) return;
  // Whoever writes again is known again: forgetting all costs the others nothing but a choice.
  if (paths_.size() >= limits::udp_paths_max && !paths_.contains(from)) paths_.clear();
  paths_.insert_or_assign(from, Path{socket, local});
}

std::shared_ptr<UdpSocket> UdpDriver::socket_for(const Endpoint& to) const {
  std::shared_ptr<UdpSocket> best;
  std::optional<Endpoint> route;
  int best_fit = 0;
  for (const auto& socket : sockets_) {
    if (!socket->can_reach_family(to)) continue;
    // A socket on loopback reaches only loopback, and a specific address beats "any".
    const bool specific = !socket->local().is_unspecified();
    if (specific && socket->local().is_loopback() != to.is_loopback()) continue;
    int fit = specific ? 2 : 1;
    if (specific && sockets_.size() > 1 && route_) {
      if (!route) route = route_(to);
      if (route && route->address == socket->local().address) fit = 3;
    }
    if (fit <= best_fit) continue;
    best = socket;
    best_fit = fit;
  }
  return best;
}

bool UdpDriver::send_by_path(const Endpoint& to, ByteView datagram) {
  const auto it = paths_.find(to);
  if (it == paths_.end()) return false;
  UdpSocket::Source source;
  if (it->second.socket->local().is_unspecified()) source.address = it->second.local;
  if (it->second.socket->send(to, datagram, source)) return true;
  paths_.erase(it);  // the address may be gone: as the system would send it
  return false;
}

void UdpDriver::send(const Endpoint& to, ByteView datagram) {
  if (std::find(groups_.begin(), groups_.end(), to) != groups_.end()) {
    for (const Exit& exit : exits_) count(exit.socket->send(exit.group, datagram, exit.source));
    return;
  }
  if (send_by_path(to, datagram)) return;
  const auto socket = socket_for(to);
  if (socket == nullptr) {
    ++send_errors_;
  } else {
    count(socket->send(to, datagram, {}));
  }
}

void UdpDriver::count(const Result<void>& sent) {
  if (!sent) ++send_errors_;
}

void UdpDriver::stop() {
  for (const auto& socket : sockets_) socket->close();
  for (const auto& socket : group_sockets_) socket->close();
  sockets_.clear();
  group_sockets_.clear();
  groups_.clear();
  exits_.clear();
  paths_.clear();
}

std::vector<Endpoint> UdpDriver::local_endpoints() const {
  std::vector<Endpoint> endpoints;
  for (const auto& socket : sockets_) endpoints.push_back(socket->local());
  return endpoints;
}

}  // namespace waggle::gossip
