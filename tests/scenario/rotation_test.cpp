// The cluster key changes under traffic: nobody who has the keys is lost, whoever lacks the new one
// is known by name before it is cut off.
#include "node/key_rotation.hpp"
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = limits::MiB;
constexpr sim::NodeIndex nodes = 20;
constexpr sim::NodeIndex forgotten = 19;

/// Every node reads a new blob every two seconds; nobody who has the keys counts another such as
/// dead.
class Traffic {
 public:
  explicit Traffic(sim::Simulator& simulator) : sim_(simulator) {}

  void run_for(Duration duration, sim::NodeIndex informed) {
    for (Duration done{0}; done < duration; done += 100ms) {
      if (done % 2s == Duration{0}) {
        const auto blob = sim::make_blob("traffic/" + std::to_string(++blobs_), 3 * MiB);
        for (sim::NodeIndex i = 0; i < nodes; ++i) sim_.pull(i, blob);
      }
      sim_.run_for(100ms);
      for (sim::NodeIndex i = 0; i < informed; ++i) count_dead(i, informed);
    }
  }
  [[nodiscard]] std::size_t dead() const { return dead_; }

 private:
  void count_dead(sim::NodeIndex observer, sim::NodeIndex informed) {
    for (sim::NodeIndex i = 0; i < informed; ++i) {
      const auto* member = sim_.node(observer)->core().gossip().find(sim_.id_of(i));
      if (member == nullptr || member->state == gossip::MemberState::faulty) ++dead_;
    }
  }
  sim::Simulator& sim_;
  std::size_t blobs_ = 0, dead_ = 0;
};

std::uint64_t key_drops(sim::Simulator& simulator, sim::NodeIndex informed) {
  std::uint64_t drops = 0;
  for (sim::NodeIndex i = 0; i < informed; ++i) {
    const auto stats = simulator.node(i)->core().gossip().stats();
    drops += stats.dropped_unknown_key + stats.dropped_unauthenticated;
  }
  return drops;
}

std::size_t pulls_failed(sim::Simulator& simulator, sim::NodeIndex informed) {
  std::size_t failed = 0;
  for (sim::NodeIndex i = 0; i < informed; ++i) {
    for (const auto& pull : simulator.node(i)->pulls()) failed += pull.error ? 1 : 0;
  }
  return failed;
}

void change(sim::Simulator& simulator, Traffic& traffic, sim::NodeIndex informed,
            const std::vector<std::uint32_t>& keys) {
  for (sim::NodeIndex i = 0; i < informed; ++i) {
    simulator.faults().set_keys(i, keys);
    if (i % 5 == 4) traffic.run_for(100ms, informed);
  }
  traffic.run_for(6s, informed);
}

/// What one node knows of the keys, by key.
std::vector<node::KeyStanding> standings(sim::Simulator& simulator, sim::NodeIndex index) {
  const auto& gossip = simulator.node(index)->core().gossip();
  return node::key_standings(gossip.find(simulator.id_of(index))->keys, gossip.members());
}

}  // namespace

TEST_SUITE("scenario/rotation") {
  TEST_CASE("twenty nodes rotate their key under traffic: no death, no drop, no session broken") {
    for (const std::uint64_t seed : sim::seeds(1)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = nodes, .seed = seed, .check_every = 1024});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      Traffic traffic(simulator);
      traffic.run_for(2s, nodes);
      for (const std::vector<std::uint32_t>& keys : {std::vector<std::uint32_t>{0, 1}, {1, 0}}) {
        change(simulator, traffic, nodes, keys);
        for (sim::NodeIndex i = 0; i < nodes; ++i) {
          for (const auto& key : standings(simulator, i)) CHECK(key.accepted_by == nodes);
          CHECK(standings(simulator, i).front().sealed_with_by == nodes);
        }
      }
      for (sim::NodeIndex i = 0; i < nodes; ++i) {
        for (const auto& [session, end] : simulator.node(i)->sessions()) CHECK(end.key == 1);
      }
      change(simulator, traffic, nodes, {1});
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      CHECK(pulls_failed(simulator, nodes) == 0);
      CHECK(traffic.dead() == 0);
      CHECK(key_drops(simulator, nodes) == 0);
      CHECK(simulator.run_until(sim::converged, 30s));
    }
  }

  TEST_CASE("the one that missed the new key is named, and its loss is nobody else's") {
    for (const std::uint64_t seed : sim::seeds(1)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = nodes, .seed = seed, .check_every = 1024});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      Traffic traffic(simulator);
      change(simulator, traffic, forgotten, {0, 1});
      const auto& gossip = simulator.node(0)->core().gossip();
      const KeyNames now = gossip.find(simulator.id_of(0))->keys;
      const KeyNames promoted{now.opens, now.seals};
      const std::vector<std::string> missing = {"n19"};
      for (sim::NodeIndex i = 0; i < forgotten; ++i) {
        CHECK(standings(simulator, i).at(1).lacking == missing);
        const auto members = simulator.node(i)->core().gossip().members();
        CHECK(node::key_loss(now, promoted, members).deaf == missing);
      }
      // Done all the same, to the end.
      change(simulator, traffic, forgotten, {1, 0});
      change(simulator, traffic, forgotten, {1});
      traffic.run_for(20s, forgotten);
      CHECK(traffic.dead() == 0);
      for (sim::NodeIndex i = 0; i < forgotten; ++i) {
        CHECK(simulator.node(i)->core().gossip().live().size() == forgotten);
        CHECK(standings(simulator, i).at(0).lost == missing);
      }
      CHECK(pulls_failed(simulator, forgotten) == 0);
      simulator.faults().set_keys(forgotten, {1});
      CHECK(simulator.run_until(sim::converged, 60s));
    }
  }
}
