// Two maps kept in step.
#include "transfer/session_table.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

namespace waggle::transfer {

void SessionTable::add(TimePoint now, SessionId id, const NodeId& peer) {
  const bool added = sessions_.emplace(id, Session{.peer = peer, .last_used = now}).second;
  WAGGLE_ASSERT(added);
  by_peer_[peer].insert(id);
}

void SessionTable::remove(SessionId id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  const auto peer = by_peer_.find(it->second.peer);
  peer->second.erase(id);
  if (peer->second.empty()) by_peer_.erase(peer);
  sessions_.erase(it);
}

Session* SessionTable::find(SessionId id) {
  const auto it = sessions_.find(id);
  return it == sessions_.end() ? nullptr : &it->second;
}

std::optional<SessionId> SessionTable::newest(const NodeId& peer) const {
  const auto it = by_peer_.find(peer);
  if (it == by_peer_.end()) return std::nullopt;
  return *it->second.rbegin();
}

std::vector<SessionId> SessionTable::rest_stalled(TimePoint now) {
  std::vector<SessionId> resting;
  for (auto& [id, session] : sessions_) {
    const bool stands_still =
        session.relay_unsent > 0 && now - session.relay_moved >= limits::relay_stall;
    if (stands_still && now >= session.relay_rests_until) session.rest(now);
    if (now < session.relay_rests_until) resting.push_back(id);
  }
  return resting;
}

void SessionTable::check_invariants() const {
  std::size_t count = 0;
  for (const auto& [peer, ids] : by_peer_) {
    count += ids.size();
    for (const SessionId id : ids) WAGGLE_ASSERT(sessions_.at(id).peer == peer);
  }
  WAGGLE_ASSERT(count == sessions_.size());
  for (const auto& [id, session] : sessions_) {
    WAGGLE_ASSERT(session.served.size() <= limits::swarms_max);
  }
}

}  // namespace waggle::transfer
