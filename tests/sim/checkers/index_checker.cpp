// Checks of what nodes believe about each other's content.
#include "sim/checkers/checkers.hpp"
#include "sim/simulator.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

/// Detection, a rejoin round and repair are over by then, also with some loss.
constexpr Duration members_settle_in = 75s;
constexpr Duration index_settles_in = 15s;

}  // namespace

void check_index(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  std::set<Digest> somewhere;
  std::uint64_t state = 0;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    const auto& committed = simulator.node(i)->committed();
    state = mix_seed(state ^ (simulator.life_of(i) << 32U) ^ (i << 16U) ^ committed.size());
    for (const auto& digest : committed) {
      memory.ever_committed.insert({simulator.id_of(i), digest});
    }
  }
  if (std::exchange(memory.index_state, state) != state) memory.index_changed = simulator.now();
  for (const auto& [holder, digest] : memory.ever_committed) somewhere.insert(digest);
  // One node's index at a time.
  memory.index_turn = (memory.index_turn + 1) % static_cast<NodeIndex>(simulator.size());
  Node* node = simulator.node(memory.index_turn);
  if (node == nullptr) return;
  for (const auto& digest : simulator.origin().digests()) {
    if (node->core().gossip().content_size(digest)) {
      expect(simulator, somewhere.contains(digest), "nothing is announced before its commit");
    }
    for (const NodeId& holder : node->core().holders_of(digest)) {
      expect(simulator, memory.ever_committed.contains({holder, digest}),
             "no index holds a fact that its origin never wrote");
    }
  }
}

void check_convergence(Simulator& simulator) {
  const CheckMemory& memory = simulator.memory();
  if (simulator.now() < memory.second_next) return;
  if (simulator.calm_for() < members_settle_in ||
      simulator.now() - memory.index_changed < index_settles_in) {
    return;
  }
  expect(simulator, converged(simulator),
         "when nothing has changed for a while all nodes know the same members and facts");
  std::map<Digest, std::set<NodeId>> truth;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& digest : simulator.node(i)->committed())
      truth[digest].insert(simulator.id_of(i));
  }
  for (const NodeIndex i : simulator.observers()) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& digest : simulator.origin().digests()) {
      std::set<NodeId> holders = truth[digest];
      holders.erase(simulator.id_of(i));
      const auto known = simulator.node(i)->core().holders_of(digest);
      expect(simulator, std::set<NodeId>(known.begin(), known.end()) == holders,
             "when nothing has changed for a while every node knows exactly the true holders");
    }
  }
}

}  // namespace waggle::sim
