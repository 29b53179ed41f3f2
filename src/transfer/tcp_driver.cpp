// Listening, dialling, handshakes, and the table of sessions.
#include "transfer/tcp_driver.hpp"

#include "base/assert.hpp"
#include "transfer/handshake.hpp"
#include "transfer/seen_handshakes.hpp"
#include "transfer/tcp_session_driver.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <exception>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <netinet/tcp.h>
#include <sodium.h>
#include <sys/socket.h>

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);  // errors arrive as values

constexpr int notsent_low_water_bytes =
    128 * 1024;  // what the kernel may hold unsent: control waits behind it
constexpr int keepalive_idle_seconds = 10;
constexpr int keepalive_interval_seconds = 5;
constexpr int keepalive_probes = 2;
constexpr unsigned user_timeout_ms =
    20'000;  // unacknowledged data ends the session like lost keepalives do
constexpr auto accept_pause = 100ms;  // when the process is out of descriptors

/// A coroutine's exception is a bug or memory's end: it leaves through io_context::run.
void rethrow(std::exception_ptr failure) {
  if (failure) std::rethrow_exception(std::move(failure));
}

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

/// A connection that is no session yet, with the one deadline it works against.
struct Connection {
  explicit Connection(const asio::any_io_executor& executor) : Connection(tcp::socket(executor)) {}
  explicit Connection(tcp::socket connected)
      : socket(std::move(connected)), timer(socket.get_executor()) {}

  void close() {
    error_code ignored;
    socket.close(ignored);
    timer.cancel();
  }

  /// Why its reads and writes ended: our own reason when it was us who closed it.
  [[nodiscard]] error_code reason(error_code seen) const { return closed_for ? closed_for : seen; }

  tcp::socket socket;
  asio::steady_timer timer;
  bool armed = false;
  error_code closed_for;
};
using ConnectionPtr = std::shared_ptr<Connection>;

/// An incoming connection whose handshake is not over.
struct HalfOpen {
  ConnectionPtr connection;
  std::array<std::byte, 16> address;
  bool proven = false;  ///< it has shown that it holds a cluster key
};

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

class TcpDriver::Core : public std::enable_shared_from_this<TcpDriver::Core> {
 public:
  Core(asio::any_io_executor executor, TcpConfig config, KeyRing keys, const Identity& identity,
       RandomSource& random, TcpCallbacks callbacks)
      : executor_(std::move(executor)), self_(identity.node_id()), random_(random) {
    const bool aes = config.allow_aes && crypto_aead_aes256gcm_is_available() == 1;
    handshake_ = HandshakeConfig::make(config.cluster_name, std::move(keys), identity,
                                       aes ? capability::aes_gcm : 0);
    shared_ = std::make_shared<TcpShared>();
    shared_->config = std::move(config);
    shared_->callbacks = std::move(callbacks);
  }

  boost::system::result<void> start();
  void stop();
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const;
  void dial(const NodeId& expected, std::vector<Endpoint> endpoints);
  void set_keys(KeyRing keys);
  [[nodiscard]] TcpSession* find(SessionId id) const {
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] const TcpShared& shared() const { return *shared_; }
  [[nodiscard]] std::size_t session_count() const { return sessions_.size(); }
  [[nodiscard]] std::size_t half_open_count() const { return half_open_.size(); }

 private:
  using Self = std::shared_ptr<Core>;
  error_code listen(const Endpoint& endpoint);
  error_code listen_at(const tcp::endpoint& local, bool dual_stack);
  asio::awaitable<void> accept(Self self, std::size_t listener);
  void admit(tcp::socket socket);
  /// Room for one more from there: the oldest stranger goes. False when all have proven a key.
  [[nodiscard]] bool make_room(const std::array<std::byte, 16>& address);
  asio::awaitable<void> answer(Self self, ConnectionPtr connection, Endpoint remote,
                               std::uint64_t number);
  asio::awaitable<void> run_dial(Self self, NodeId expected, std::vector<Endpoint> endpoints);
  /// One endpoint: connect, shake hands, open. No error: a session with that peer is open.
  asio::awaitable<error_code> try_endpoint(NodeId expected, Endpoint endpoint, Duration timeout);
  /// @param number  of the half-open connection; 0 for a dial
  asio::awaitable<error_code> shake(ConnectionPtr connection, std::shared_ptr<Handshake> handshake,
                                    std::uint64_t number);
  error_code open(ConnectionPtr connection, const SessionSecrets& secrets, bool outgoing,
                  const Endpoint& remote);
  [[nodiscard]] bool replaces(const TcpSession& old, bool outgoing) const;
  /// False for a session that is closed and only waits to be reported.
  [[nodiscard]] bool has_session(const NodeId& peer) const {
    const auto found = by_peer_.find(peer);
    return found != by_peer_.end() && !sessions_.at(found->second)->closed();
  }
  [[nodiscard]] bool is_current(const SecretKey& psk) const;
  void ended(SessionId id, error_code reason);
  void report_handshake(error_code error, bool outgoing);

  asio::any_io_executor executor_;
  NodeId self_;
  RandomSource& random_;
  HandshakeConfig handshake_;
  std::shared_ptr<TcpShared> shared_;
  std::vector<tcp::acceptor> acceptors_;
  std::set<ConnectionPtr> connections_;          // handshakes under way, both directions
  std::map<std::uint64_t, HalfOpen> half_open_;  // by number: oldest first
  std::uint64_t last_half_open_ = 0;
  SeenHandshakes seen_;
  std::set<NodeId> dialling_;
  std::size_t dial_count_ = 0;
  std::map<SessionId, std::shared_ptr<TcpSession>> sessions_;
  std::map<NodeId, SessionId> by_peer_;
  std::uint64_t last_session_ = 0;
};

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
  if (sessions_.size() >= shared_->config.sessions_max) {
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
  error_code error = co_await shake(connection, handshake, number);
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
  asio::co_spawn(executor_, run_dial(shared_from_this(), expected, std::move(endpoints)), rethrow);
}

asio::awaitable<void> TcpDriver::Core::run_dial([[maybe_unused]] Self self, NodeId expected,
                                                std::vector<Endpoint> endpoints) {
  const Duration timeout = shared_->config.dial_timeout / endpoints.size();
  error_code error = TransferError::unreachable;
  for (const Endpoint& endpoint : endpoints) {
    error = co_await try_endpoint(expected, endpoint, timeout);
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
                                                          Duration timeout) {
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
    error = co_await shake(connection, handshake, 0);
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
                                                   std::uint64_t number) {
  std::array<std::byte, handshake_message_bytes_max> buffer{};
  auto reply = handshake->start();
  for (;;) {
    if (!reply) co_return reply.error();
    // The dialler proves itself last: here it can still step back without the peer ever seeing two
    // sessions.
    if (number == 0 && handshake->peer() && has_session(*handshake->peer())) {
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
  if (const auto found = by_peer_.find(secrets.peer); found != by_peer_.end()) {
    const std::shared_ptr<TcpSession> old = sessions_.at(found->second);
    error_code reason = old->reason();
    if (!old->closed()) {
      if (!replaces(*old, outgoing)) return TransferError::duplicate_session;
      old->close_silently();
      reason = TransferError::duplicate_session;
    }
    ended(old->id(), reason);
    if (shared_->stopped) return {};
  }
  if (sessions_.size() >= shared_->config.sessions_max) return TransferError::too_many_sessions;
  const SessionId id{++last_session_};
  const auto session =
      std::make_shared<TcpSession>(id, std::move(connection->socket), secrets, outgoing, shared_,
                                   [weak = weak_from_this()](SessionId which, error_code reason) {
                                     if (const auto self = weak.lock()) self->ended(which, reason);
                                   });
  sessions_.emplace(id, session);
  by_peer_[secrets.peer] = id;
  session->start();
  if (shared_->callbacks.on_session_open) {
    shared_->callbacks.on_session_open(id, secrets.peer, outgoing, remote);
  }
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

bool TcpDriver::Core::is_current(const SecretKey& psk) const {
  return std::ranges::any_of(handshake_.keys,
                             [&](const ClusterKey& key) { return key.derive("psk") == psk; });
}

void TcpDriver::Core::set_keys(KeyRing keys) {
  WAGGLE_ASSERT(!keys.empty());
  handshake_.keys = std::move(keys);
  for (const auto& [id, session] : sessions_) {
    if (!is_current(session->psk())) session->close(TransferError::key_retired);
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
