// Joining and resting: convergence, idle traffic, memory.
#include "base/digest.hpp"
#include "sim/gossip_rows.hpp"

#include <algorithm>

namespace waggle::bench {

using namespace std::chrono_literals;

gossip::Content content_of(const std::string& name) {
  return {sha256_of(as_bytes(name)), 1'000'000 + name.size()};
}

void settle(sim::GossipWorld& world) {
  world.warm_start();
  world.run_for(10s);
  world.run_until(sim::agree, 60s, 1s);
  world.run_for(10s);
}

void join_row(const SimOptions& options, std::size_t nodes) {
  std::vector<double> after_last, worst_bytes;
  const Duration within = nodes <= 100 ? Duration(500ms) : Duration(60s);
  for (std::uint64_t run = 0; run < (options.is_long && nodes <= 1000 ? 5U : 1U); ++run) {
    sim::GossipWorld world({.node_count = nodes, .seed = options.seed + run});
    for (sim::NodeIndex i = 0; i < nodes; ++i) {
      world.start(i);
      world.run_for(within / static_cast<Duration::rep>(nodes));
    }
    const TimePoint last = world.now();
    const bool done = world.run_until(sim::agree_on_members, 300s, 20ms);
    after_last.push_back(done ? to_seconds(world.now() - last) : 1e9);
    for (sim::NodeIndex i = 0; i < nodes; ++i)
      worst_bytes.push_back(static_cast<double>(world.traffic(i).bytes_in_worst_second) / 1024);
  }
  nlohmann::ordered_json spread = spread_of(after_last);
  spread["worst_second_kib_p50"] = rounded(quantile(worst_bytes, 0.5), 1);
  spread["worst_second_kib_max"] = rounded(quantile(worst_bytes, 1), 1);
  print({"sim/join",
         {{"nodes", nodes},
          {"started_within_s", to_seconds(within)},
          {"loss", 0},
          {"seed", options.seed}},
         quantile(after_last, 1),
         "s",
         10.0,
         spread});
}

namespace {

void print_idle(const sim::GossipWorld& world, const SimOptions& options, Duration took,
                const char* sessions) {
  std::vector<double> rates, packets, bulk;
  for (sim::NodeIndex i = 0; i < world.size(); ++i) {
    const sim::Traffic& traffic = world.traffic(i);
    rates.push_back(static_cast<double>(traffic.bytes) / to_seconds(took));
    packets.push_back(static_cast<double>(traffic.packets) / to_seconds(took));
    bulk.push_back(static_cast<double>(traffic.bulk_bytes) / to_seconds(took));
  }
  const auto mean = [](const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  };
  const nlohmann::ordered_json params = {{"nodes", world.size()},
                                         {"loss", 0},
                                         {"sessions", sessions},
                                         {"virtual_s", to_seconds(took)},
                                         {"seed", options.seed}};
  nlohmann::ordered_json spread = spread_of(rates, 0);
  spread["bulk_bytes_per_s"] = rounded(mean(bulk), 1);
  print({"sim/idle_bytes", params, mean(rates), "B/s per node", 1024.0, spread});
  print({"sim/idle_packets", params, mean(packets), "packets/s per node", 12.0,
         spread_of(packets, 1)});
}

}  // namespace

void idle_row(const SimOptions& options, std::size_t nodes) {
  const std::size_t before = resident_bytes();
  sim::GossipWorld world({.node_count = nodes, .seed = options.seed});
  settle(world);
  print({"sim/memory",
         {{"nodes", nodes}, {"seed", options.seed}},
         static_cast<double>(resident_bytes() - before) / static_cast<double>(nodes) / 1024,
         "KiB per node",
         std::nullopt,
         {{"process_mib", (resident_bytes() - before) >> 20U}}});
  const Duration measured = nodes > 2000 ? 20s : 60s;
  // Sessions begin with the first probe of a member, so a young cluster pays for them.
  world.reset_traffic();
  world.run_for(measured);
  print_idle(world, options, measured, "beginning");
  // A round of probes takes N virtual seconds: hours of work for thousands of nodes.
  if (nodes > 2000 || (nodes > 100 && !options.is_long)) return;
  world.run_for(std::chrono::seconds(nodes + nodes / 5));
  world.reset_traffic();
  world.run_for(measured);
  print_idle(world, options, measured, "between all");
}

}  // namespace waggle::bench
