// What must hold after any event, looked at from outside the cores.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "gossip/gossip.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace waggle::sim {

class Simulator;

/// What the checkers remember between looks.
struct CheckMemory {
  TimePoint membership_next{}, limits_next{}, limits_last{};
  std::set<std::pair<NodeId, Digest>> ever_committed;
  std::uint32_t index_turn = 0;  ///< the node whose index was looked at last
  std::map<std::tuple<std::uint32_t, std::uint64_t, NodeId>,
           std::pair<gossip::MemberState, std::uint64_t>>
      members;
  std::vector<std::uint64_t> gossip_bytes;
};

/// No extent has more than two fetchers while the cluster is calm.
void check_swarms(Simulator& simulator);
/// No index holds a fact that its origin never wrote, and nothing is announced before its commit.
/// (That committed content is true is asserted at each commit.)
void check_index(Simulator& simulator);
/// The dead come back only with a higher incarnation.
void check_membership(Simulator& simulator);
/// Gossip stays within its budget, buffers within theirs, and none outlives its swarm.
void check_limits(Simulator& simulator);

}  // namespace waggle::sim
