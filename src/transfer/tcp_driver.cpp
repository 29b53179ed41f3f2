// Listening, dialling, handshakes, and the table of sessions.
#include "transfer/tcp_driver.hpp"

#include "base/assert.hpp"
#include "transfer/tcp_core_driver.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include <netinet/tcp.h>
#include <sys/socket.h>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr int notsent_low_water_bytes =
    32 * 1024;  // what the kernel may hold unsent: control waits behind it
constexpr int keepalive_idle_seconds = 10;
constexpr int keepalive_interval_seconds = 5;
constexpr int keepalive_probes = 2;
constexpr unsigned user_timeout_ms =
    20'000;  // unacknowledged data ends the session like lost keepalives do
constexpr auto accept_pause = 100ms;  // when the process is out of descriptors

tcp::endpoint to_asio(const Endpoint& endpoint) {
  asio::ip::address_v6::bytes_type bytes{};
  std::memcpy(bytes.data(), endpoint.address.data(), bytes.size());
  const asio::ip::address_v6 v6(bytes);
  if (endpoint.is_v4()) return {asio::ip::make_address_v4(asio::ip::v4_mapped, v6), endpoint.port};
  return {v6, endpoint.port};
}

Endpoint from_asio(const tcp::endpoint& endpoint) {
  const asio::ip::address address = endpoint.address();
  const auto bytes =
      address.is_v4() ? asio::ip::make_address_v6(asio::ip::v4_mapped, address.to_v4()).to_bytes()
                      : address.to_v6().to_bytes();
  Endpoint out;
  std::memcpy(out.address.data(), bytes.data(), bytes.size());
  out.port = endpoint.port();
  return out;
}

/// Options are advice: a kernel without one of them still carries the session.
void tune(tcp::socket& socket) {
  const auto set = [&socket](int level, int name, auto value) {
    static_cast<void>(::setsockopt(socket.native_handle(), level, name, &value, sizeof(value)));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(IPPROTO_TCP, TCP_NOTSENT_LOWAT, notsent_low_water_bytes);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle_seconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval_seconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, keepalive_probes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms);
}

void disarm(Connection& connection) {
  connection.armed = false;
  connection.timer.cancel();
}

void arm(const ConnectionPtr& connection, Duration timeout) {
  connection->armed = true;
  connection->timer.expires_after(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(timeout));
  connection->timer.async_wait([connection](error_code error) {
    if (error || !connection->armed) return;
    connection->closed_for = TransferError::handshake_timeout;
    connection->close();
  });
}

}  // namespace

boost::system::result<void> TcpDriver::Core::start() {
  WAGGLE_ASSERT(acceptors_.empty() && !shared_->stopped);
  for (const Endpoint& endpoint : shared_->config.bind) {
    if (const error_code error = listen(endpoint)) {
      acceptors_.clear();
      return error;
    }
  }
  for (std::size_t i = 0; i < acceptors_.size(); ++i) {
    asio::co_spawn(executor_, accept(shared_from_this(), i), rethrow);
  }
  return {};
}

error_code TcpDriver::Core::listen(const Endpoint& endpoint) {
  const bool everywhere = endpoint.is_unspecified();
  const error_code error = listen_at(to_asio(endpoint), everywhere);
  if (everywhere && error == asio::error::address_family_not_supported) {
    return listen_at({tcp::v4(), endpoint.port},
                     false);  // a host without IPv6: "[::]" still means everywhere
  }
  return error;
}

error_code TcpDriver::Core::listen_at(const tcp::endpoint& local, bool dual_stack) {
  tcp::acceptor acceptor(executor_);
  error_code error;
  acceptor.open(local.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && local.address().is_v6()) acceptor.set_option(asio::ip::v6_only(!dual_stack), error);
  if (!error) acceptor.bind(local, error);
  if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (!error) acceptors_.push_back(std::move(acceptor));
  return error;
}

void TcpDriver::Core::stop() {
  if (shared_->stopped) return;
  shared_->stopped = true;
  for (auto& acceptor : acceptors_) {
    error_code ignored;
    acceptor.close(ignored);
  }
  for (const auto& connection : connections_) connection->close();
  for (const auto& [id, session] : sessions_) session->close_silently();
  for (const auto& session : lingering_) session->close_silently();
  sessions_.clear();
  by_peer_.clear();
}

std::vector<Endpoint> TcpDriver::Core::local_endpoints() const {
  std::vector<Endpoint> out;
  for (const auto& acceptor : acceptors_) {
    error_code error;
    const tcp::endpoint local = acceptor.local_endpoint(error);
    if (!error) out.push_back(from_asio(local));
  }
  return out;
}

asio::awaitable<void> TcpDriver::Core::accept([[maybe_unused]] Self self, std::size_t listener) {
  asio::steady_timer pause(executor_);
  while (!shared_->stopped) {
    auto [error, socket] = co_await acceptors_[listener].async_accept(no_throw);
    if (shared_->stopped) break;
    if (!error) {
      admit(std::move(socket));
    } else if (error != asio::error::connection_aborted) {
      pause.expires_after(accept_pause);
      co_await pause.async_wait(no_throw);
    }
  }
}

void TcpDriver::Core::admit(tcp::socket socket) {
  error_code error;
  const tcp::endpoint remote = socket.remote_endpoint(error);
  if (error) return;  // gone already
  const Endpoint endpoint = from_asio(remote);
  // During a rotation whoever has a session may be about to move it.
  const bool may_move =
      handshake_.keys.size() > 1 && std::ranges::any_of(sessions_, [&](const auto& entry) {
        return entry.second->remote().address == endpoint.address;
      });
  if (sessions_.size() >= shared_->config.sessions_max && !may_move) {
    return report_handshake(TransferError::too_many_sessions, false);
  }
  if (!make_room(endpoint.address)) {
    return report_handshake(TransferError::too_many_handshakes, false);
  }
  auto connection = std::make_shared<Connection>(std::move(socket));
  connections_.insert(connection);
  const std::uint64_t number = ++last_half_open_;
  half_open_.emplace(number, HalfOpen{connection, endpoint.address});
  asio::co_spawn(executor_, answer(shared_from_this(), std::move(connection), endpoint, number),
                 rethrow);
}

// An honest dialler sends its proof with the connection, so it is a stranger for a moment only:
// whoever connects and says nothing holds its place until somebody else comes, and can lock nobody
// out.
bool TcpDriver::Core::make_room(const std::array<std::byte, 16>& address) {
  const auto close_stranger = [&](const auto& among) {
    const auto oldest = std::ranges::find_if(
        half_open_, [&](const auto& entry) { return !entry.second.proven && among(entry.second); });
    if (oldest == half_open_.end()) return false;
    oldest->second.connection->closed_for = TransferError::too_many_handshakes;
    oldest->second.connection->close();
    half_open_.erase(oldest);
    return true;
  };
  const auto from_there = [&](const HalfOpen& other) { return other.address == address; };
  const auto count = std::ranges::count_if(
      half_open_, [&](const auto& entry) { return from_there(entry.second); });
  if (static_cast<std::size_t>(count) >= shared_->config.half_open_per_address_max) {
    return close_stranger(from_there);
  }
  if (half_open_.size() < shared_->config.half_open_max) return true;
  return close_stranger([](const HalfOpen&) { return true; });
}

asio::awaitable<void> TcpDriver::Core::answer([[maybe_unused]] Self self, ConnectionPtr connection,
                                              Endpoint remote, std::uint64_t number) {
  tune(connection->socket);
  arm(connection, shared_->config.handshake_timeout);
  auto handshake = std::make_shared<Handshake>(Handshake::responder(handshake_, random_, &seen_));
  error_code error = co_await shake(connection, handshake, number, DialFor::connect);
  disarm(*connection);
  connections_.erase(connection);
  half_open_.erase(number);
  if (shared_->stopped) co_return;
  if (!error) error = open(connection, handshake->finish(), false, remote);
  if (error) report_handshake(error, false);
}

void TcpDriver::Core::dial(const NodeId& expected, std::vector<Endpoint> endpoints) {
  if (shared_->stopped || has_session(expected) || dialling_.contains(expected)) return;
  if (dial_count_ >= limits::dials_max || endpoints.empty()) {
    const auto reason =
        endpoints.empty() ? TransferError::unreachable : TransferError::too_many_dials;
    asio::post(executor_, [self = shared_from_this(), expected, reason] {
      const auto& failed = self->shared_->callbacks.on_dial_failed;
      if (!self->shared_->stopped && failed) failed(expected, reason);
    });
    return;
  }
  if (!expected.is_zero()) dialling_.insert(expected);
  ++dial_count_;
  asio::co_spawn(executor_,
                 run_dial(shared_from_this(), expected, std::move(endpoints), DialFor::connect),
                 rethrow);
}

asio::awaitable<void> TcpDriver::Core::run_dial([[maybe_unused]] Self self, NodeId expected,
                                                std::vector<Endpoint> endpoints, DialFor reason) {
  const Duration timeout = shared_->config.dial_timeout / endpoints.size();
  error_code error = TransferError::unreachable;
  for (const Endpoint& endpoint : endpoints) {
    error = co_await try_endpoint(expected, endpoint, timeout, reason);
    if (shared_->stopped) co_return;
    if (!error || has_session(expected)) break;  // the peer's own dial may have won meanwhile
  }
  dialling_.erase(expected);
  --dial_count_;
  if (error && !has_session(expected) && shared_->callbacks.on_dial_failed) {
    shared_->callbacks.on_dial_failed(expected, error);
  }
}

asio::awaitable<error_code> TcpDriver::Core::try_endpoint(NodeId expected, Endpoint endpoint,
                                                          Duration timeout, DialFor reason) {
  const auto connection = std::make_shared<Connection>(executor_);
  connections_.insert(connection);
  arm(connection, timeout);
  const auto [refused] = co_await connection->socket.async_connect(to_asio(endpoint), no_throw);
  error_code error = refused;
  if (connection->closed_for || error == asio::error::operation_aborted) {
    error = TransferError::unreachable;
  }
  if (!error && !shared_->stopped) {
    tune(connection->socket);
    arm(connection, shared_->config.handshake_timeout);
    const auto who = expected.is_zero() ? std::nullopt : std::optional<NodeId>(expected);
    auto handshake = std::make_shared<Handshake>(Handshake::initiator(handshake_, random_, who));
    error = co_await shake(connection, handshake, 0, reason);
    disarm(*connection);
    if (!error && !shared_->stopped) {
      error = open(connection, handshake->finish(), true, endpoint);
    }
    if (error && !shared_->stopped) report_handshake(error, true);
    if (error == TransferError::duplicate_session) error = {};  // the other session serves as well
  }
  disarm(*connection);
  connections_.erase(connection);
  co_return error;
}

asio::awaitable<error_code> TcpDriver::Core::shake(ConnectionPtr connection,
                                                   std::shared_ptr<Handshake> handshake,
                                                   std::uint64_t number, DialFor reason) {
  std::array<std::byte, handshake_message_bytes_max> buffer{};
  auto reply = handshake->start();
  for (;;) {
    if (!reply) co_return reply.error();
    // The dialler proves itself last: here it can still step back without the peer ever seeing two
    // sessions.
    if (number == 0 && handshake->peer() && has_session(*handshake->peer()) &&
        !(reason == DialFor::move && is_movable(*handshake->peer()))) {
      co_return TransferError::duplicate_session;
    }
    if (const auto half_open = half_open_.find(number); half_open != half_open_.end()) {
      half_open->second.proven = handshake->proven();
    }
    if (!reply->empty()) {
      const auto [error, size] =
          co_await asio::async_write(connection->socket, asio::buffer(*reply), no_throw);
      if (error) co_return connection->reason(error);
    }
    const std::size_t wanted = handshake->wanted();
    if (wanted == 0) co_return error_code{};
    const auto [error, size] = co_await asio::async_read(
        connection->socket, asio::buffer(buffer.data(), wanted), no_throw);
    if (error) co_return connection->reason(error);
    reply = handshake->receive(ByteView(buffer).first(wanted));
  }
}

bool TcpDriver::Core::replaces(const TcpSession& old, bool outgoing) const {
  if (old.outgoing() == outgoing)
    return true;  // the dialler had no session left: the old one is dead
  const bool mine_survives = self_ < old.peer();
  return outgoing == mine_survives;
}

error_code TcpDriver::Core::open(ConnectionPtr connection, const SessionSecrets& secrets,
                                 bool outgoing, const Endpoint& remote) {
  if (!is_current(secrets.psk)) return TransferError::key_retired;
  std::shared_ptr<TcpSession> replaced;
  if (const auto found = by_peer_.find(secrets.peer); found != by_peer_.end()) {
    const std::shared_ptr<TcpSession> old = sessions_.at(found->second);
    if (old->closed()) {
      ended(old->id(), old->reason());
      if (shared_->stopped) return {};
    } else if (!replaces(*old, outgoing)) {
      return TransferError::duplicate_session;
    } else {
      replaced = old;
    }
  }
  if (!replaced && sessions_.size() >= shared_->config.sessions_max) {
    return TransferError::too_many_sessions;
  }
  const SessionId id{++last_session_};
  const auto session = std::make_shared<TcpSession>(
      id, std::move(connection->socket), secrets, outgoing, remote, shared_,
      [weak = weak_from_this()](SessionId which, error_code reason) {
        if (const auto self = weak.lock()) self->ended(which, reason);
      });
  sessions_.emplace(id, session);
  by_peer_[secrets.peer] = id;
  session->start();
  if (shared_->callbacks.on_session_open) {
    shared_->callbacks.on_session_open(id, secrets.peer, outgoing, remote);
  }
  if (replaced && !shared_->stopped) supersede(replaced, secrets.psk);
  if (outgoing && secrets.psk != sealing_psk_) start_moving();
  return {};
}

void TcpDriver::Core::ended(SessionId id, error_code reason) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const std::shared_ptr<TcpSession> session = found->second;
  sessions_.erase(found);
  const auto peer = by_peer_.find(session->peer());
  if (peer != by_peer_.end() && peer->second == id) by_peer_.erase(peer);
  if (shared_->callbacks.on_session_closed) {
    shared_->callbacks.on_session_closed(id, session->peer(), reason);
  }
}

void TcpDriver::Core::report_handshake(error_code error, bool outgoing) {
  if (shared_->callbacks.on_handshake_failed) {
    shared_->callbacks.on_handshake_failed(error, outgoing);
  }
}

TcpDriver::TcpDriver(asio::any_io_executor executor, TcpConfig config, KeyRing keys,
                     const Identity& identity, RandomSource& random, TcpCallbacks callbacks)
    : core_(std::make_shared<Core>(std::move(executor), std::move(config), std::move(keys),
                                   identity, random, std::move(callbacks))) {}

TcpDriver::~TcpDriver() { core_->stop(); }

boost::system::result<void> TcpDriver::start() { return core_->start(); }
void TcpDriver::stop() { core_->stop(); }
std::vector<Endpoint> TcpDriver::local_endpoints() const { return core_->local_endpoints(); }

void TcpDriver::dial(const NodeId& expected, std::vector<Endpoint> endpoints) {
  core_->dial(expected, std::move(endpoints));
}

void TcpDriver::send_control(SessionId session, Bytes message) {
  if (auto* const found = core_->find(session)) found->send_control(std::move(message));
}

void TcpDriver::send_payload(SessionId session, const PayloadHeader& header, PayloadSource source) {
  if (auto* const found = core_->find(session)) found->send_payload(header, std::move(source));
}

bool TcpDriver::cancel_payload(SessionId session, const PayloadHeader& header) {
  auto* const found = core_->find(session);
  return found != nullptr && found->cancel_payload(header);
}

void TcpDriver::close(SessionId session) {
  if (auto* const found = core_->find(session)) found->close(TransferError::closed_locally);
}

std::size_t TcpDriver::queued_bytes(SessionId session) const {
  const auto* const found = core_->find(session);
  return found == nullptr ? 0 : found->queued_bytes();
}

void TcpDriver::set_keys(KeyRing keys) { core_->set_keys(std::move(keys)); }
std::vector<std::size_t> TcpDriver::sessions_by_key() const { return core_->sessions_by_key(); }
std::size_t TcpDriver::session_count() const { return core_->session_count(); }
std::size_t TcpDriver::half_open_count() const { return core_->half_open_count(); }
std::uint64_t TcpDriver::sent_bytes() const { return core_->shared().sent_bytes; }
std::uint64_t TcpDriver::received_bytes() const { return core_->shared().received_bytes; }

PayloadSource payload_of(std::shared_ptr<const Bytes> bytes, std::size_t begin) {
  return [bytes = std::move(bytes), begin](MutableByteView out) -> boost::system::result<void> {
    WAGGLE_ASSERT(begin <= bytes->size() && out.size() <= bytes->size() - begin);
    std::copy_n(bytes->begin() + static_cast<std::ptrdiff_t>(begin), out.size(), out.begin());
    return {};
  };
}

}  // namespace waggle::transfer
