// The transfer sessions that are up: whose they are, what the other end opened on them, when they
// were last used.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"

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
  void check_invariants() const;

 private:
  std::map<SessionId, Session> sessions_;
  std::map<NodeId, std::set<SessionId>> by_peer_;
};

}  // namespace waggle::transfer
