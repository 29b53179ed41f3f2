// Cases, their bounds, and what is counted of a run.
#include "sim/swarm_rows.hpp"

#include "base/prng.hpp"
#include "sim/swarm_world.hpp"

#include <algorithm>
#include <ctime>

namespace waggle::bench {
namespace {

using namespace std::chrono_literals;

constexpr double mbit = 125'000;  // bytes per second
constexpr std::uint64_t MiB = limits::MiB;
constexpr std::size_t large = 200;  // nodes: half the bytes at half the rate

struct Case {
  const char* name = "";
  std::size_t nodes = 0;
  std::uint64_t blob_bytes = 0;
  std::size_t files = 1;
  double node_rate = 0;
  double origin_rate = 0;
  bool relays = true;
  Duration spread{};
  bool kills = false;
  bool has_slow = false;
  bool is_warm = false;
  std::optional<double> goal;
};

Case base_case(const char* name, const SimOptions& options, std::size_t nodes) {
  Case base;
  base.name = name;
  base.nodes = nodes;
  base.blob_bytes = (nodes > large ? 64 : 128) * MiB * (options.is_long ? 2 : 1);
  base.node_rate = base.origin_rate = (nodes > large ? 50 : 100) * mbit;
  base.goal = nodes <= 8 ? 1.10 : nodes <= 16 ? 1.12 : 1.15;
  return base;
}

/// Every n-th node, from the second on: a tenth of them, and one at least.
bool is_of_tenth(std::size_t index, std::size_t nodes) {
  return index % std::min<std::size_t>(10, nodes) == 1;
}

double total_bytes(const Case& c) { return static_cast<double>(c.blob_bytes * c.files); }

// Kumar and Ross: the source's link, one node's, and all uplinks together.
double bound_seconds(const Case& c) {
  const double bytes = total_bytes(c);
  const double source = c.is_warm ? c.node_rate : c.origin_rate;
  const double wanters = static_cast<double>(c.is_warm ? c.nodes - 1 : c.nodes);
  return std::max(
      {bytes / source, bytes / c.node_rate, wanters * bytes / (source + wanters * c.node_rate)});
}

struct Outcome {
  bool is_complete = true;  ///< everybody counted has everything
  std::vector<double> times, gaps, firsts;
  double last_start = 0;
  double origin_x = 0;
  double origin_end = 0;
  std::uint64_t requests = 0;
  nlohmann::ordered_json counts;
};

double per(double value, std::size_t nodes) {
  return rounded(value / static_cast<double>(nodes), 1);
}

nlohmann::ordered_json count(const sim::SwarmWorld& world, double cpu_s, double bytes) {
  transfer::ExchangeStats sum;
  sim::SwarmWorld::Traffic traffic;
  std::size_t alive = 0;
  double sent_max = 0;
  for (sim::NodeIndex i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    ++alive;
    const auto stats = world.stats(i);
    const auto& own = world.traffic(i);
    sum.relayed_bytes += stats.relayed_bytes;
    sum.peer_bytes += stats.peer_bytes;
    sum.relay_repairs += stats.relay_repairs;
    sum.relay_failures += stats.relay_failures;
    sum.request_timeouts += stats.request_timeouts;
    sum.duplicate_blocks += stats.duplicate_blocks;
    sum.bypasses += stats.bypasses;
    sum.bans += stats.bans;
    sum.claims.messages_sent += stats.claims.messages_sent;
    sum.claims.takeover += stats.claims.takeover;
    traffic.controls += own.controls;
    traffic.control_bytes += own.control_bytes;
    traffic.inputs += own.inputs;
    traffic.sessions_max = std::max(traffic.sessions_max, own.sessions_max);
    sent_max = std::max(sent_max, static_cast<double>(world.sent_bytes(i)));
  }
  const double peers = static_cast<double>(std::max<std::uint64_t>(1, sum.peer_bytes));
  return {{"relayed_share", rounded(static_cast<double>(sum.relayed_bytes) / peers)},
          {"repaired_blocks_per_node", per(static_cast<double>(sum.relay_repairs), alive)},
          {"duplicate_blocks_per_node", per(static_cast<double>(sum.duplicate_blocks), alive)},
          {"timeouts_per_node", per(static_cast<double>(sum.request_timeouts), alive)},
          {"bypasses", sum.bypasses},
          {"wrong", sum.relay_failures + sum.bans},
          {"takeovers", sum.claims.takeover},
          {"claim_messages_per_node", per(static_cast<double>(sum.claims.messages_sent), alive)},
          {"controls_per_node", per(static_cast<double>(traffic.controls), alive)},
          {"control_share", rounded(static_cast<double>(traffic.control_bytes) / peers, 4)},
          {"sent_max_over_blob", rounded(sent_max / bytes)},
          {"inputs_per_node", per(static_cast<double>(traffic.inputs), alive)},
          {"sessions_max", traffic.sessions_max},
          {"events", world.event_count()},
          {"cpu_s", rounded(cpu_s, 1)},
          {"cpu_s_per_gib", rounded(cpu_s * static_cast<double>(limits::GiB) / peers)}};
}

void collect(const sim::SwarmWorld& world, const Case& c, TimePoint began, Outcome& outcome) {
  for (sim::NodeIndex i = 0; i < world.size(); ++i) {
    if (!world.is_up(i) || world.reads(i).empty()) continue;
    if (c.has_slow && is_of_tenth(i, c.nodes)) continue;
    double last = 0, gap = 0, first = 0;
    for (const sim::SwarmRead& read : world.reads(i)) {
      outcome.is_complete = outcome.is_complete && read.finished;
      if (!read.finished) continue;
      last = std::max(last, to_seconds(*read.finished - began));
      gap = std::max(gap, to_seconds(read.worst_gap));
      first = std::max(first, to_seconds(*read.first_chunk - read.started));
    }
    outcome.times.push_back(last);
    outcome.gaps.push_back(gap);
    outcome.firsts.push_back(first);
  }
}

Outcome play(const Case& c, std::uint64_t seed) {
  const std::clock_t cpu_began = std::clock();
  sim::SwarmWorld world({.node_count = c.nodes,
                         .seed = seed,
                         .node = {c.node_rate, c.node_rate},
                         .origin_rate = c.origin_rate,
                         .relays = c.relays});
  Outcome outcome;
  std::vector<sim::Blob> files;
  for (std::size_t f = 0; f < c.files; ++f)
    files.push_back(sim::make_blob("file " + std::to_string(f), c.blob_bytes));
  Prng prng(mix_seed(seed ^ 0x73746172U));
  const double bound = bound_seconds(c);
  const TimePoint began = world.now();
  if (c.is_warm) world.hold(0, files[0]);
  for (sim::NodeIndex i = c.is_warm ? 1 : 0; i < c.nodes; ++i) {
    const Duration start = c.spread * prng.below(1000) / 1000;
    outcome.last_start = std::max(outcome.last_start, to_seconds(start));
    if (c.has_slow && is_of_tenth(i, c.nodes))
      world.set_rates(i, {c.node_rate / 10, c.node_rate / 10});
    if (c.kills && is_of_tenth(i, c.nodes)) world.crash(i, began + from_seconds(bound / 2));
    for (const sim::Blob& file : files) world.pull(i, file, began + start);
  }
  const auto others_done = [&] {
    for (sim::NodeIndex i = 0; i < c.nodes; ++i) {
      if (!world.is_up(i) || is_of_tenth(i, c.nodes)) continue;
      if (world.reads(i).empty()) return false;
      for (const auto& read : world.reads(i)) {
        if (!read.is_over()) return false;
      }
    }
    return true;
  };
  const TimePoint until = began + from_seconds(20 * bound + 60);
  if (c.has_slow) {
    // The slow ones are not waited for.
    while (world.now() < until && !others_done()) world.run_until(world.now() + 100ms);
  } else {
    world.run_until_done(until - began);
  }
  world.check_invariants();
  collect(world, c, began, outcome);
  outcome.requests = world.origin_requests();
  outcome.origin_x = static_cast<double>(world.origin_bytes()) / total_bytes(c);
  outcome.origin_end = to_seconds(world.origin_end() - began);
  const double cpu = static_cast<double>(std::clock() - cpu_began) / CLOCKS_PER_SEC;
  outcome.counts = count(world, cpu, total_bytes(c));
  return outcome;
}

void print_case(const Case& c, const SimOptions& options) {
  Outcome outcome = play(c, options.seed);
  double bound = bound_seconds(c);
  // Who begins last needs its own time.
  bound = std::max(bound, outcome.last_start + total_bytes(c) / c.node_rate);
  const double last = outcome.is_complete ? quantile(outcome.times, 1) : 1e9;
  nlohmann::ordered_json params = {{"nodes", c.nodes},
                                   {"mib", c.blob_bytes / MiB},
                                   {"node_mbit", c.node_rate / mbit},
                                   {"relay", c.relays},
                                   {"seed", options.seed}};
  if (c.files > 1) params["files"] = c.files;
  if (!c.is_warm) params["origin_mbit"] = c.origin_rate / mbit;
  nlohmann::ordered_json spread = {{"bound_s", rounded(bound)},
                                   {"last_s", rounded(last)},
                                   {"p50_s", rounded(quantile(outcome.times, 0.5))},
                                   {"counted", outcome.times.size()}};
  if (!c.is_warm) {
    spread["direct_s"] =
        rounded(std::max(static_cast<double>(c.nodes) * total_bytes(c) / c.origin_rate,
                         total_bytes(c) / c.node_rate));
    spread["origin_x"] = rounded(outcome.origin_x, 4);
    spread["origin_end_ratio"] = rounded(outcome.origin_end / bound);
    spread["requests"] = outcome.requests;
    spread["requests_of_one"] =
        c.files * ((c.blob_bytes + limits::extent_bytes - 1) / limits::extent_bytes);
  }
  spread["gap_p50_s"] = rounded(quantile(outcome.gaps, 0.5));
  spread["gap_worst_s"] = rounded(quantile(outcome.gaps, 1));
  spread["first_p50_s"] = rounded(quantile(outcome.firsts, 0.5));
  spread["first_worst_s"] = rounded(quantile(outcome.firsts, 1));
  spread.update(outcome.counts);
  print({"sim_swarm/" + std::string(c.name), params, last / bound, "of the bound", c.goal, spread});
}

}  // namespace

void flash_row(const SimOptions& options, std::size_t nodes) {
  print_case(base_case("flash", options, nodes), options);
}

void pull_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("pull", options, nodes);
  c.relays = false;
  print_case(c, options);
}

void spread_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("spread", options, nodes);
  c.spread = 5s;
  print_case(c, options);
}

void killed_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("killed", options, nodes);
  c.kills = true;
  c.goal.reset();
  print_case(c, options);
}

void slow_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("slow", options, nodes);
  c.has_slow = true;
  c.goal.reset();
  print_case(c, options);
}

void warm_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("warm", options, nodes);
  c.is_warm = true;
  print_case(c, options);
}

void limited_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("limited", options, nodes);
  c.origin_rate = c.node_rate / 4;
  c.blob_bytes /= 2;
  c.goal = 1.07;
  print_case(c, options);
}

void fast_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("fast", options, nodes);
  c.blob_bytes = nodes > large ? 128 * MiB : 512 * MiB;
  c.node_rate = c.origin_rate = 10'000 * mbit;
  print_case(c, options);
}

// Five files of 2 GiB at 10 Gb/s, all read at once, with 1/40 of the bytes at 1/100 of the rate; a
// quarter of the bytes with --long. Chunks are 256 KiB instead of 4 MiB, extents stay 16 MiB.
void model_row(const SimOptions& options, std::size_t nodes) {
  Case c = base_case("model", options, nodes);
  c.files = 5;
  c.blob_bytes = (options.is_long ? 512 : 52) * MiB;
  c.node_rate = c.origin_rate = (options.is_long ? 1'000 : 100) * mbit;
  print_case(c, options);
}

}  // namespace waggle::bench
