// How soon the dead are known, and that nobody else is taken for dead. A day of a hundred nodes:
// bench/sim.
#include "cluster.hpp"
#include "gossip/suspicion.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

/// A cluster and what its nodes say about deaths.
struct Watched {
  explicit Watched(std::size_t nodes, double loss, std::uint64_t seed)
      : cluster({.nodes = nodes,
                 .seed = seed,
                 .loss = loss,
                 .calls_per_check = 20 * nodes * nodes,
                 .keep_events = false}) {
    for (std::size_t n = 0; n < nodes; ++n) index_of.emplace(id_of(static_cast<unsigned>(n)), n);
    cluster.on_event = [this](std::size_t observer, const GossipEvent& event) {
      note(observer, event);
    };
  }

  /// Everybody joins over a few seconds through one of the first three.
  [[nodiscard]] bool start() {
    const std::size_t nodes = index_of.size();
    for (std::size_t n = 0; n < nodes; ++n) {
      cluster.start(n, {endpoint_of(0), endpoint_of(1), endpoint_of(2)});
      cluster.run_for(Duration(10s) / static_cast<int>(nodes));
    }
    return cluster.run_until(
        [this, nodes, next = cluster.now]() mutable {
          if (cluster.now < next) return false;
          next = cluster.now + 1s;
          for (std::size_t n = 0; n < nodes; ++n) {
            if (cluster.at(n).live().size() != nodes) return false;
          }
          return true;
        },
        60s);
  }

  void note(std::size_t observer, const GossipEvent& event) {
    const auto* change = std::get_if<MemberChanged>(&event);
    if (change == nullptr) return;
    const std::size_t subject = index_of.at(change->id);
    suspicions += change->state == MemberState::suspect ? 1 : 0;
    if (change->state != MemberState::faulty) return;
    if (cluster.is_running(subject)) {
      ++false_deaths;
      MESSAGE("node " << observer << " takes " << subject << " for dead at "
                      << to_seconds(cluster.now.time_since_epoch()) << " s");
    } else {
      ++known_by[subject];
    }
  }

  Cluster cluster;
  std::unordered_map<NodeId, std::size_t> index_of;
  std::map<std::size_t, std::size_t> known_by;  ///< crashed node -> who declared it faulty
  std::size_t false_deaths = 0;
  std::size_t suspicions = 0;
};

}  // namespace

TEST_SUITE("gossip/failure_detection") {
  TEST_CASE("nobody is taken for dead at 5 % loss while nodes stand still for 5 s, one by one") {
    constexpr std::size_t nodes = 40;
    constexpr std::size_t minutes = 6;
    Watched watched(nodes, 0.05, 17);
    REQUIRE(watched.start());
    Cluster& cluster = watched.cluster;
    Prng prng(99);
    const TimePoint end = cluster.now + std::chrono::minutes(minutes);
    std::size_t pauses = 0;
    while (cluster.now < end) {
      const auto paused = static_cast<std::size_t>(prng.below(nodes));
      cluster.pause(paused);
      cluster.run_for(5s);
      cluster.resume(paused);
      ++pauses;
      cluster.run_for(from_seconds(2 * prng.unit()));
    }
    cluster.run_for(30s);
    MESSAGE(nodes << " nodes, " << minutes << " min, " << pauses
                  << " pauses: " << watched.false_deaths << " false deaths, " << watched.suspicions
                  << " times somebody was suspected by somebody");
    CHECK(watched.false_deaths == 0);
    CHECK(watched.suspicions > 0);
    for (std::size_t n = 0; n < nodes; ++n) CHECK(cluster.at(n).live().size() == nodes);
  }

  TEST_CASE("a dead node is known to all within the shortest suspicion and 6 s more, at 1 % loss") {
    constexpr std::size_t nodes = 30;
    constexpr std::size_t crashes = 8;
    Watched watched(nodes, 0.01, 5);
    REQUIRE(watched.start());
    Cluster& cluster = watched.cluster;
    cluster.run_for(20s);
    Prng prng(3);
    std::vector<double> seconds;
    for (std::size_t i = 0; i < crashes; ++i) {
      // Not the hints: who comes back has to find somebody.
      const std::size_t dead = 3 + static_cast<std::size_t>(prng.below(nodes - 3));
      watched.known_by.clear();
      cluster.crash(dead);
      const TimePoint began = cluster.now;
      REQUIRE(cluster.run_until([&] { return watched.known_by[dead] == nodes - 1; }, 120s));
      seconds.push_back(to_seconds(cluster.now - began));
      cluster.start(dead, {endpoint_of(0), endpoint_of(1), endpoint_of(2)});
      cluster.run_for(20s);
    }
    std::sort(seconds.begin(), seconds.end());
    const auto quantile = [&](double q) {
      return seconds[static_cast<std::size_t>(q * static_cast<double>(seconds.size() - 1) + 0.5)];
    };
    MESSAGE(nodes << " nodes, " << crashes << " crashes: known to all after p50 " << quantile(0.5)
                  << " s, p99 " << quantile(0.99) << " s");
    CHECK(quantile(0.99) <= to_seconds(Suspicion::min_timeout(nodes)) + 6);
    CHECK(watched.false_deaths == 0);
  }
}
