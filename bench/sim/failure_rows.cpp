// Deaths: how soon everybody knows of a true one, and how often one is made up.
#include "sim/gossip_checks.hpp"
#include "sim/gossip_rows.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

namespace waggle::bench {
namespace {

using namespace std::chrono_literals;

/// When each survivor took each victim for gone.
class DeathWatch final : public sim::WorldListener {
 public:
  explicit DeathWatch(sim::GossipWorld& world) : world_(world) { world_.add_listener(this); }
  ~DeathWatch() override { world_.remove_listener(this); }
  DeathWatch(const DeathWatch&) = delete;
  DeathWatch& operator=(const DeathWatch&) = delete;

  void kill(const std::vector<sim::NodeIndex>& victims) {
    for (const sim::NodeIndex victim : victims) world_.crash(victim);
    for (const sim::NodeIndex victim : victims) {
      waiting_[victim] = {world_.now(), 0, std::vector<bool>(world_.size())};
    }
    survivors_ = world_.up_count();
  }
  [[nodiscard]] bool is_over() const { return waiting_.empty(); }

  void member_changed(sim::NodeIndex observer, sim::NodeIndex subject,
                      const gossip::Member& record) override {
    using gossip::MemberState;
    const auto found = waiting_.find(subject);
    if (found == waiting_.end()) return;
    const double after = to_seconds(world_.now() - found->second.died);
    if (record.state == MemberState::suspect && found->second.reached == 0 &&
        !found->second.is_suspected) {
      found->second.is_suspected = true;
      first_suspicions.push_back(after);
    }
    if (record.state != MemberState::faulty || found->second.knows[observer]) return;
    found->second.knows[observer] = true;
    delays.push_back(after);
    std::vector<NodeId> holders;
    world_.at(observer).holders(content_of("held/" + std::to_string(subject)).digest, holders);
    still_in_index += holders.empty() ? 0 : 1;
    if (++found->second.reached < survivors_) return;
    lasts.push_back(after);
    waiting_.erase(found);
  }

  std::vector<double> delays, lasts, first_suspicions;
  std::size_t still_in_index = 0;

 private:
  struct Waiting {
    TimePoint died;
    std::size_t reached = 0;
    std::vector<bool> knows;
    bool is_suspected = false;
  };
  sim::GossipWorld& world_;
  std::map<sim::NodeIndex, Waiting> waiting_;
  std::size_t survivors_ = 0;
};

void print_deaths(DeathWatch& watch, const SimOptions& options, std::size_t nodes,
                  const std::string& what, std::size_t unseen) {
  const std::optional<double> goal = nodes <= 100    ? std::optional(14.0)
                                     : nodes <= 1000 ? std::optional(18.0)
                                                     : std::nullopt;
  const nlohmann::ordered_json params = {
      {"nodes", nodes}, {"killed", what}, {"loss", 0.01}, {"seed", options.seed}};
  nlohmann::ordered_json spread = spread_of(watch.lasts, 2);
  spread["every_view_p50"] = rounded(quantile(watch.delays, 0.5), 2);
  spread["every_view_p99"] = rounded(quantile(watch.delays, 0.99), 2);
  spread["first_suspicion_p50"] = rounded(quantile(watch.first_suspicions, 0.5), 2);
  spread["first_suspicion_p99"] = rounded(quantile(watch.first_suspicions, 0.99), 2);
  spread["still_in_index"] = watch.still_in_index;
  spread["not_seen_by_all"] = unseen;
  print({"sim/failure_seen_by_all", params, quantile(watch.lasts, 0.99), "s (p99)", goal, spread});
}

void pause_one(sim::GossipWorld& world) {
  const auto node = static_cast<sim::NodeIndex>(world.choices().below(world.size()));
  world.pause(node, 5s);
}

class SuspicionCount final : public sim::WorldListener {
 public:
  void member_changed(sim::NodeIndex, sim::NodeIndex subject,
                      const gossip::Member& record) override {
    if (record.state != gossip::MemberState::suspect) return;
    auto& incarnation = suspected_[subject];
    if (incarnation == record.incarnation) return;
    incarnation = record.incarnation;
    ++count;
  }
  std::uint64_t count = 0;  ///< suspicions, however many nodes hear of each

 private:
  std::map<sim::NodeIndex, std::uint64_t> suspected_;
};

}  // namespace

void failure_row(const SimOptions& options, std::size_t nodes) {
  const std::size_t singles = options.is_long && nodes <= 1000 ? 30 : nodes <= 100 ? 10 : 4;
  sim::GossipWorld world({.node_count = nodes, .seed = options.seed, .link = {.loss = 0.01}});
  settle(world);
  std::vector<sim::NodeIndex> order(nodes);
  for (sim::NodeIndex i = 0; i < nodes; ++i) order[i] = i;
  world.choices().shuffle(std::span(order));
  const std::size_t tenth = nodes / 10;
  // Victims hold something, so that their leaving the index can be seen.
  for (std::size_t i = 0; i < singles + tenth; ++i) {
    world.announce(order[i], content_of("held/" + std::to_string(order[i])));
    world.run_for(nodes > 100 ? 100ms : 10ms);
  }
  world.run_for(10s);
  {
    DeathWatch watch(world);
    for (std::size_t i = 0; i < singles; ++i) {
      watch.kill({order[i]});
      world.run_until([&](sim::GossipWorld&) { return watch.is_over(); }, 90s, 100ms);
      world.run_for(std::chrono::milliseconds(world.choices().below(2000)));
    }
    print_deaths(watch, options, nodes, "one at a time", singles - watch.lasts.size());
  }
  DeathWatch watch(world);
  watch.kill({order.begin() + static_cast<std::ptrdiff_t>(singles),
              order.begin() + static_cast<std::ptrdiff_t>(singles + tenth)});
  world.run_until([&](sim::GossipWorld&) { return watch.is_over(); }, 120s, 100ms);
  print_deaths(watch, options, nodes, "a tenth at once", tenth - watch.lasts.size());
}

void false_death_row(const SimOptions& options, std::size_t nodes) {
  const double standard = nodes <= 100    ? (options.is_long ? 24 : 0.25)
                          : nodes <= 1000 ? 0.25
                                          : 0.02;
  const double hours = options.hours.value_or(standard);
  // Every node stands still once in 50 minutes.
  const auto between = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(3000.0 / static_cast<double>(nodes)));
  sim::GossipWorld world({.node_count = nodes, .seed = options.seed, .link = {.loss = 0.05}});
  settle(world);
  sim::GossipChecks checks(world, {});
  SuspicionCount suspicions;
  world.add_listener(&suspicions);
  std::uint64_t pauses = 0;
  const TimePoint begin = world.now();
  const TimePoint end = begin + from_seconds(hours * 3600);
  TimePoint told = begin;
  while (world.now() < end) {
    if (world.now() - told >= 1h) {  // a run of a day takes hours
      told += 1h;
      std::fprintf(stderr, "false_deaths, %zu nodes: %.0f of %g h, %zu held for dead, %.0f s\n",
                   nodes, to_seconds(told - begin) / 3600, hours, checks.falsely_dead_nodes(),
                   wall_seconds());
    }
    pause_one(world);
    ++pauses;
    world.run_for(between / 2 + Duration(static_cast<Duration::rep>(world.choices().below(
                                    static_cast<std::uint64_t>(between.count())))));
  }
  world.remove_listener(&suspicions);
  print(
      {"sim/false_deaths",
       {{"nodes", nodes}, {"loss", 0.05}, {"pause_s", 5}, {"hours", hours}, {"seed", options.seed}},
       static_cast<double>(checks.falsely_dead_nodes()),
       "nodes held for dead that were not",
       0.0,
       {{"declarations", checks.false_deaths()},
        {"pauses", pauses},
        {"suspicions", suspicions.count},
        {"broken_invariants", checks.failures()}}});
}

}  // namespace waggle::bench
