// The transfer sessions that are up: whose they are, what the other end opened on them, when they
// were last used.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace waggle::transfer {

struct Session {
  NodeId peer;
  TimePoint last_used{};
  std::map<SwarmTag, Digest>
      served;  ///< complete blobs the other end opened; at most limits::swarms_max
  std::uint32_t asked_blocks = 0;   ///< blocks this node waits for on it
  std::uint32_t unsent_blocks = 0;  ///< blocks the driver has not reported as sent
  std::uint64_t relay_unsent = 0;   ///< relayed bytes that it has not reported as sent
  TimePoint relay_moved{};          ///< when it last did, or had nothing to
  TimePoint relay_rests_until{};    ///< it stood still: no stripe before
  Duration relay_rest{};            ///< how long the last time

  [[nodiscard]] bool takes_stripes(TimePoint now) const {
    return now >= relay_rests_until && relay_unsent < limits::relay_unsent_bytes_max;
  }
  /// No stripe for a while: for longer, if the last rest is not long ago.
  void rest(TimePoint now) {
    const bool is_again = relay_rest > Duration() && now - relay_rests_until < relay_rest;
    relay_rest = is_again ? std::min(2 * relay_rest, limits::relay_rest_max) : limits::relay_rest;
    relay_rests_until = now + relay_rest;
  }
};

/// At most one per SessionId; two of one node are allowed (simultaneous dials). Iteration is in id
/// order.
class SessionTable {
 public:
  void add(TimePoint now, SessionId id, const NodeId& peer);
  void remove(SessionId id);
  [[nodiscard]] Session* find(SessionId id);
  /// The newest session with `peer`.
  [[nodiscard]] std::optional<SessionId> newest(const NodeId& peer) const;
  [[nodiscard]] const std::map<SessionId, Session>& all() const { return sessions_; }
  /// Unsent blocks of all sessions: 0 = none, 255 = limits::upload_blocks_busy or more.
  [[nodiscard]] std::uint8_t upload_load() const {
    std::size_t unsent = 0;
    for (const auto& [id, session] : sessions_) unsent += session.unsent_blocks;
    return static_cast<std::uint8_t>(
        std::min<std::size_t>(UINT8_MAX, unsent * UINT8_MAX / limits::upload_blocks_busy));
  }
  /// Sessions that sent nothing of their relayed bytes for limits::relay_stall get no stripe for
  /// limits::relay_rest or longer. All that rest now, ascending.
  [[nodiscard]] std::vector<SessionId> rest_stalled(TimePoint now);
  void check_invariants() const;

 private:
  std::map<SessionId, Session> sessions_;
  std::map<NodeId, std::set<SessionId>> by_peer_;
};

}  // namespace waggle::transfer
