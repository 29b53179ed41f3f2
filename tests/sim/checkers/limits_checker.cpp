// Checks of bounds and of what is left behind.
#include "base/limits.hpp"
#include "sim/checkers/checkers.hpp"
#include "sim/simulator.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace waggle::sim {
namespace {

constexpr std::uint64_t gossip_bytes_per_second_max = 256 * 1024;
constexpr std::size_t buffers_max = limits::download_buffer_bytes_max / limits::chunk_bytes_min;
constexpr std::size_t events_per_node_max = 64;

void check_gossip_rate(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  const Duration since = simulator.now() - memory.limits_last;
  memory.limits_last = simulator.now();
  memory.gossip_bytes.resize(simulator.size());
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    const std::uint64_t total =
        simulator.node(i) == nullptr ? 0 : simulator.node(i)->gossip_bytes();
    const std::uint64_t sent = total - std::min(total, memory.gossip_bytes[i]);
    memory.gossip_bytes[i] = total;
    expect(
        simulator,
        static_cast<double>(sent) <= gossip_bytes_per_second_max * std::max(1.0, to_seconds(since)),
        "gossip stays within its budget");
  }
}

}  // namespace

void expect(Simulator& simulator, bool holds, const std::string& invariant) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", invariant.c_str());
  simulator.trace().add(simulator.now(), 0, "broken");
  std::abort();  // the simulator's handler tells the story
}

void check_limits(Simulator& simulator) {
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    const Node* node = simulator.node(i);
    if (node == nullptr) continue;
    expect(simulator, node->buffer_count() <= buffers_max, "download buffers are bounded");
    const auto stats = node->core().exchange().stats();
    expect(simulator, stats.swarms <= limits::swarms_max, "swarms are bounded");
    expect(simulator, node->core().session_count() <= limits::sessions_max, "sessions are bounded");
    expect(simulator, stats.swarms > 0 || (node->buffer_count() == 0 && node->fetch_count() == 0),
           "no buffer and no fetch outlives its swarm");
  }
  if (simulator.now() >= simulator.memory().second_next) check_gossip_rate(simulator);
}

void check_leaks(Simulator& simulator) {
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    const Node* node = simulator.node(i);
    if (node == nullptr) continue;
    expect(simulator, node->core().exchange().stats().swarms == 0, "no swarm is left at the end");
    expect(simulator, node->fetch_count() == 0, "no fetch is left at the end");
    expect(simulator, node->buffer_count() == 0, "no buffer is left at the end");
    expect(simulator, node->core().session_count() == node->sessions().size(),
           "a node knows the sessions that it has");
    expect(simulator, node->sessions().empty(), "no session is left at the end");
  }
  expect(simulator, simulator.origin().fetching().empty(), "upstream serves nobody at the end");
  expect(simulator, simulator.events().size() <= events_per_node_max * simulator.size(),
         "no timers are left at the end");
}

}  // namespace waggle::sim
