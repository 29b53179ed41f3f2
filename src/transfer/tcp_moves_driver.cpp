// Key rotation of the sessions that are open: those under a key that no longer seals are dialled
// again under the one that does, and the new session takes over before the old one ends.
#include "transfer/tcp_core_driver.hpp"

#include "base/assert.hpp"

#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

namespace waggle::transfer {

bool TcpDriver::Core::is_current(const SecretKey& psk) const {
  return std::ranges::any_of(handshake_.keys,
                             [&](const ClusterKey& key) { return key.derive("psk") == psk; });
}

void TcpDriver::Core::set_keys(KeyRing keys) {
  WAGGLE_ASSERT(!keys.empty());
  handshake_.keys = std::move(keys);
  sealing_psk_ = handshake_.keys.front().derive("psk");
  for (const auto& [id, session] : sessions_) {
    if (!is_current(session->psk())) session->close(TransferError::key_retired);
  }
  start_moving();
}

std::vector<std::size_t> TcpDriver::Core::sessions_by_key() const {
  std::vector<std::size_t> counts;
  for (const ClusterKey& key : handshake_.keys) {
    const SecretKey psk = key.derive("psk");
    counts.push_back(static_cast<std::size_t>(std::ranges::count_if(
        sessions_, [&](const auto& entry) { return entry.second->psk() == psk; })));
  }
  return counts;
}

void TcpDriver::Core::start_moving() {
  if (moving_ || shared_->stopped || movable_peers().empty()) return;
  moving_ = true;
  asio::co_spawn(executor_, move_sessions(shared_from_this()), rethrow);
}

// One after the other, spread over the window: a promotion of the whole cluster is no storm of
// handshakes. A peer that cannot be reached has its turn again in the next round.
asio::awaitable<void> TcpDriver::Core::move_sessions(Self self) {
  asio::steady_timer pause(executor_);
  for (;;) {
    const std::vector<NodeId> peers = movable_peers();
    if (peers.empty() || shared_->stopped) break;
    const auto step = shared_->config.move_window / peers.size();
    for (const NodeId& peer : peers) {
      const auto longest = static_cast<std::uint64_t>((2 * step).count()) + 1;
      pause.expires_after(std::chrono::nanoseconds(random_below(longest)));
      co_await pause.async_wait(no_throw);
      if (shared_->stopped) break;
      if (!is_movable(peer) || dialling_.contains(peer) || dial_count_ >= limits::dials_max) {
        continue;
      }
      dialling_.insert(peer);
      ++dial_count_;
      std::vector<Endpoint> remote(1, sessions_.at(by_peer_.at(peer))->remote());
      co_await run_dial(self, peer, std::move(remote), DialFor::move);
    }
  }
  moving_ = false;
}

/// In random order.
std::vector<NodeId> TcpDriver::Core::movable_peers() {
  std::vector<NodeId> peers;
  for (const auto& [id, session] : sessions_) {
    if (is_movable(*session)) peers.push_back(session->peer());
  }
  for (std::size_t i = peers.size(); i > 1; --i) std::swap(peers[i - 1], peers[random_below(i)]);
  return peers;
}

std::uint64_t TcpDriver::Core::random_below(std::uint64_t bound) {
  std::array<std::byte, 8> bytes{};
  random_.fill(bytes);
  return load_le<std::uint64_t>(bytes) % bound;
}

// The dialler leaves the old socket to the other side: would it close it now, its end could be seen
// there before the last message of the handshake.
void TcpDriver::Core::supersede(const std::shared_ptr<TcpSession>& old, const SecretKey& psk) {
  if (old->closed()) return;  // a callback closed it: its report is on its way
  const bool moved = old->psk() != psk;
  if (moved && old->outgoing()) {
    old->abandon();
    lingering_.insert(old);
    asio::co_spawn(executor_, linger(shared_from_this(), old), rethrow);
  } else {
    old->close_silently();
  }
  ended(old->id(), moved ? TransferError::session_moved : TransferError::duplicate_session);
}

asio::awaitable<void> TcpDriver::Core::linger([[maybe_unused]] Self self,
                                              std::shared_ptr<TcpSession> session) {
  asio::steady_timer timer(executor_, limits::session_linger);
  co_await timer.async_wait(no_throw);
  session->close_silently();
  lingering_.erase(session);
}

}  // namespace waggle::transfer
