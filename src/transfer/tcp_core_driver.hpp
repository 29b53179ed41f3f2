// The inside of TcpDriver: its connections, dials and table of sessions. For tcp_driver.cpp and
// tcp_moves_driver.cpp only.
#pragma once

#include "transfer/handshake.hpp"
#include "transfer/seen_handshakes.hpp"
#include "transfer/tcp_driver.hpp"
#include "transfer/tcp_session_driver.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <exception>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include <sodium.h>

namespace waggle::transfer {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

inline constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);  // errors arrive as values

/// A coroutine's exception is a bug or memory's end: it leaves through io_context::run.
inline void rethrow(std::exception_ptr failure) {
  if (failure) std::rethrow_exception(std::move(failure));
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

class TcpDriver::Core : public std::enable_shared_from_this<TcpDriver::Core> {
 public:
  Core(asio::any_io_executor executor, TcpConfig config, KeyRing keys, const Identity& identity,
       RandomSource& random, TcpCallbacks callbacks)
      : executor_(std::move(executor)), self_(identity.node_id()), random_(random) {
    const bool aes = config.allow_aes && crypto_aead_aes256gcm_is_available() == 1;
    sealing_psk_ = keys.front().derive("psk");
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
  [[nodiscard]] std::vector<std::size_t> sessions_by_key() const;
  [[nodiscard]] TcpSession* find(SessionId id) const {
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] const TcpShared& shared() const { return *shared_; }
  [[nodiscard]] std::size_t session_count() const { return sessions_.size(); }
  [[nodiscard]] std::size_t half_open_count() const { return half_open_.size(); }

 private:
  using Self = std::shared_ptr<Core>;
  /// A move replaces the session that is open; a connect gives up when there is one.
  enum class DialFor : std::uint8_t { connect, move };
  error_code listen(const Endpoint& endpoint);
  error_code listen_at(const tcp::endpoint& local, bool dual_stack);
  asio::awaitable<void> accept(Self self, std::size_t listener);
  void admit(tcp::socket socket);
  /// Room for one more from there: the oldest stranger goes. False when all have proven a key.
  [[nodiscard]] bool make_room(const std::array<std::byte, 16>& address);
  asio::awaitable<void> answer(Self self, ConnectionPtr connection, Endpoint remote,
                               std::uint64_t number);
  asio::awaitable<void> run_dial(Self self, NodeId expected, std::vector<Endpoint> endpoints,
                                 DialFor reason);
  /// One endpoint: connect, shake hands, open. No error: a session with that peer is open.
  asio::awaitable<error_code> try_endpoint(NodeId expected, Endpoint endpoint, Duration timeout,
                                           DialFor reason);
  /// @param number  of the half-open connection; 0 for a dial
  asio::awaitable<error_code> shake(ConnectionPtr connection, std::shared_ptr<Handshake> handshake,
                                    std::uint64_t number, DialFor reason);
  /// Dials again what is_movable(), until nothing is.
  asio::awaitable<void> move_sessions(Self self);
  void start_moving();
  asio::awaitable<void> linger(Self self, std::shared_ptr<TcpSession> session);
  error_code open(ConnectionPtr connection, const SessionSecrets& secrets, bool outgoing,
                  const Endpoint& remote);
  [[nodiscard]] bool replaces(const TcpSession& old, bool outgoing) const;
  void supersede(const std::shared_ptr<TcpSession>& old, const SecretKey& psk);
  /// False for a session that is closed and only waits to be reported.
  [[nodiscard]] bool has_session(const NodeId& peer) const {
    const auto found = by_peer_.find(peer);
    return found != by_peer_.end() && !sessions_.at(found->second)->closed();
  }
  [[nodiscard]] bool is_current(const SecretKey& psk) const;
  /// This side dialled it under a key that is no longer the one that seals.
  [[nodiscard]] bool is_movable(const TcpSession& session) const {
    return session.outgoing() && !session.closed() && session.psk() != sealing_psk_;
  }
  [[nodiscard]] bool is_movable(const NodeId& peer) const {
    const auto found = by_peer_.find(peer);
    return found != by_peer_.end() && is_movable(*sessions_.at(found->second));
  }
  [[nodiscard]] std::vector<NodeId> movable_peers();
  [[nodiscard]] std::uint64_t random_below(std::uint64_t bound);
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
  SecretKey sealing_psk_;  // of the first key
  bool moving_ = false;
  std::set<std::shared_ptr<TcpSession>> lingering_;
};

}  // namespace waggle::transfer
