// What must hold after any event, looked at from outside the cores. Simulator::step() calls them in
// every scenario; docs/simulator.md lists them. A broken one ends the program with the story so
// far.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "gossip/gossip.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace waggle::sim {

class Node;
class Simulator;
struct DiskPartial;

/// What the checkers remember between looks.
struct CheckMemory {
  TimePoint second_next{};  ///< the dearer checks run once a second
  TimePoint limits_last{};
  std::set<std::pair<NodeId, Digest>> ever_committed;
  std::uint32_t index_turn = 0;  ///< the node whose index was looked at last
  std::uint64_t index_state = 0;
  TimePoint index_changed{};
  std::map<std::tuple<std::uint32_t, std::uint64_t, NodeId>,
           std::pair<gossip::MemberState, std::uint64_t>>
      members;
  std::vector<std::uint64_t> gossip_bytes;
  std::set<std::uint64_t> boots;  ///< of all lives of all nodes
  bool has_liars = false;
  TimePoint disturbed_at = TimePoint{} - std::chrono::hours(1);  ///< the network or a node
  TimePoint origin_ill_at = TimePoint{} - std::chrono::hours(1);
  std::uint64_t faults = 0;                      ///< each may cost some extents
  std::map<Digest, std::uint64_t> bypass_bytes;  ///< fetched outside claims for starving readers
  std::uint64_t takeovers = 0;                   ///< extents that registrars granted again
  std::uint64_t extra_copies = 0;                ///< sides of partitions, lost caches
};

/// Ends the program unless `holds`: the story, the last lines of the trace, and `invariant`.
void expect(Simulator& simulator, bool holds, const std::string& invariant);

/// No extent has more than two fetchers while the cluster is calm; upstream sends each byte once,
/// and for each fault some extents more; readers wait no longer than the first_byte limit while
/// nothing is wrong; who is honest is never banned.
void check_swarms(Simulator& simulator);
/// At each commit: all chunks are there, all are true, and the blob was not there before.
void check_commit(const Node& node, const DiskPartial& partial, const Digest& digest);
/// When a swarm says that it is proven: every byte that readers may now have is true.
void check_proven(const Node& node, const DiskPartial* partial, const Digest& digest);
/// No index holds a fact that its origin never wrote, and nothing is announced before its commit.
void check_index(Simulator& simulator);
/// Once nothing has changed for a while all nodes know the same members and the same holders.
void check_convergence(Simulator& simulator);
/// Incarnations never fall, the dead come back only with a higher one.
void check_membership(Simulator& simulator);
/// Gossip stays within its budget, tables and buffers within theirs; no buffer or fetch outlives
/// its swarm.
void check_limits(Simulator& simulator);
/// At the end, after a minute without readers: no swarm, session, fetch, buffer or timer is left.
void check_leaks(Simulator& simulator);

}  // namespace waggle::sim
