// The checkers.
#include "sim/checkers/checkers.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "sim/simulator.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

constexpr Duration second = std::chrono::seconds(1);
constexpr std::uint64_t gossip_bytes_per_second_max = 256 * 1024;
constexpr std::size_t fetchers_per_extent_max = 2;
constexpr std::size_t buffers_max = limits::download_buffer_bytes_max / limits::chunk_bytes_min;
/// After a fault nodes may find no registrar (they fetch anyway) or hold a claim that another took
/// over, until everybody agrees on who is there.
constexpr Duration calm_after = std::chrono::seconds(30);

}  // namespace

void check_swarms(Simulator& simulator) {
  // That committed content is true is asserted at every commit (Node::run(CommitBlob)).
  // After wrong bytes everybody fetches for itself alone.
  if (!simulator.origin().is_honest()) return;
  // What a hostile claimant has is fetched around it, by each reader that waits for it.
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) != nullptr && simulator.node(i)->is_hostile()) return;
  }
  if (simulator.now() - simulator.last_fault() < calm_after) return;
  WAGGLE_ASSERT(simulator.origin().most_fetched_extent().size() <= fetchers_per_extent_max);
}

void check_index(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  std::set<Digest> somewhere;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& digest : simulator.node(i)->committed())
      memory.ever_committed.insert({simulator.id_of(i), digest});
  }
  for (const auto& [holder, digest] : memory.ever_committed) somewhere.insert(digest);
  // One node's index at a time.
  memory.index_turn = (memory.index_turn + 1) % static_cast<NodeIndex>(simulator.size());
  Node* node = simulator.node(memory.index_turn);
  if (node == nullptr) return;
  for (const auto& digest : simulator.origin().digests()) {
    if (node->core().gossip().content_size(digest)) WAGGLE_ASSERT(somewhere.contains(digest));
    for (const NodeId& holder : node->core().holders_of(digest)) {
      WAGGLE_ASSERT(memory.ever_committed.contains({holder, digest}));
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
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    const Node* node = simulator.node(i);
    if (node == nullptr) continue;
    WAGGLE_ASSERT(node->buffer_count() <= buffers_max);
    // Without a swarm there is nothing to receive and nothing to fetch.
    const bool is_idle = node->core().exchange().stats().swarms == 0;
    WAGGLE_ASSERT(!is_idle || (node->buffer_count() == 0 && node->fetch_count() == 0));
  }
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
