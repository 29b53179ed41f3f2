// The checkers.
#include "sim/checkers/checkers.hpp"

#include "base/assert.hpp"
#include "sim/simulator.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

constexpr Duration second = std::chrono::seconds(1);
constexpr std::uint64_t gossip_bytes_per_second_max = 256 * 1024;
constexpr std::size_t fetchers_per_extent_max = 2;
/// After a fault nodes may find no registrar (they fetch anyway) or hold a claim that another took
/// over, until everybody agrees on who is there.
constexpr Duration calm_after = std::chrono::seconds(30);

}  // namespace

void check_swarms(Simulator& simulator) {
  // That committed content is true is asserted at every commit (Node::run(CommitBlob)).
  // After wrong bytes everybody fetches for itself alone.
  if (!simulator.origin().is_honest()) return;
  if (simulator.now() - simulator.last_fault() < calm_after) return;
  WAGGLE_ASSERT(simulator.origin().most_fetched_extent().size() <= fetchers_per_extent_max);
}

void check_index(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& digest : simulator.node(i)->committed())
      memory.ever_committed.insert({simulator.id_of(i), digest});
  }
  if (simulator.now() < memory.index_next) return;
  memory.index_next = simulator.now() + second;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& digest : simulator.origin().digests()) {
      for (const NodeId& holder : simulator.node(i)->core().holders_of(digest)) {
        WAGGLE_ASSERT(memory.ever_committed.contains({holder, digest}));
      }
    }
  }
}

void check_membership(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  if (simulator.now() < memory.membership_next) return;
  memory.membership_next = simulator.now() + second;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& member : simulator.node(i)->core().gossip().members()) {
      const auto key = std::make_tuple(i, simulator.life_of(i), member.id);
      const auto before = memory.members.find(key);
      if (before != memory.members.end()) {
        const auto& [state, incarnation] = before->second;
        // Incarnations never fall, and the dead come back only with a higher one.
        WAGGLE_ASSERT(member.incarnation >= incarnation);
        const bool was_gone =
            state == gossip::MemberState::faulty || state == gossip::MemberState::left;
        const bool is_back = member.state == gossip::MemberState::alive;
        WAGGLE_ASSERT(!(was_gone && is_back) || member.incarnation > incarnation);
      }
      memory.members[key] = {member.state, member.incarnation};
    }
  }
}

void check_limits(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  if (simulator.now() < memory.limits_next) return;
  const Duration since = simulator.now() - memory.limits_last;
  memory.gossip_bytes.resize(simulator.size());
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) {
      memory.gossip_bytes[i] = 0;
      continue;
    }
    const std::uint64_t total = simulator.node(i)->gossip_bytes();
    const std::uint64_t sent = total - std::min(total, memory.gossip_bytes[i]);
    memory.gossip_bytes[i] = total;
    WAGGLE_ASSERT(static_cast<double>(sent) <=
                  gossip_bytes_per_second_max * std::max(1.0, to_seconds(since)));
  }
  memory.limits_last = simulator.now();
  memory.limits_next = simulator.now() + second;
}

}  // namespace waggle::sim
