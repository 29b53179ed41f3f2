// Outsiders on the wire and keys that change.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {
constexpr std::uint64_t MiB = limits::MiB;
}

TEST_SUITE("scenario/stranger") {
  // That nothing changes and nobody answers is checked at each of these datagrams.
  TEST_CASE("mangled and replayed datagrams change nothing, also after a restart") {
    for (const std::uint64_t seed : sim::seeds(3)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 5, .seed = seed});
      simulator.faults().set_noise(1);
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
      for (sim::NodeIndex i = 0; i < 5; ++i) simulator.pull(i, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      simulator.faults().crash(2);
      simulator.run_for(1s);
      simulator.faults().restart(2);
      simulator.run_for(20s);
      CHECK(simulator.run_until(sim::converged, 30s));
      CHECK(simulator.origin().egress_bytes() == blob.size);
    }
  }

  TEST_CASE("keys rotate under traffic; who missed it comes back with the new key") {
    for (const std::uint64_t seed : sim::seeds(3)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 60 * MiB);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      const std::vector<std::vector<std::uint32_t>> steps = {{0, 1}, {1, 0}, {1}};
      for (const auto& keys : steps) {
        for (sim::NodeIndex i = 0; i < 5; ++i) {
          simulator.faults().set_keys(i, keys);
          simulator.run_for(50ms);
        }
      }
      REQUIRE(simulator.run_until(sim::pulls_done, 120s));
      simulator.run_for(60s);
      // Node 5 has the old key only: nobody hears it any more.
      for (sim::NodeIndex i = 0; i < 5; ++i) {
        CAPTURE(i);
        CHECK(simulator.node(i)->core().gossip().live().size() == 5);
      }
      CHECK(simulator.node(5)->core().gossip().live().size() == 1);
      simulator.faults().set_keys(5, {1});
      CHECK(simulator.run_until(sim::converged, 60s));
      for (sim::NodeIndex i = 0; i < 6; ++i) {
        CHECK(simulator.node(i)->pulls().front().finished.has_value());
      }
    }
  }
}
