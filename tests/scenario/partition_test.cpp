// A partition and its healing: views and indexes meet again, pulls on both sides finish.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {
constexpr std::uint64_t MiB = limits::MiB;
}

TEST_SUITE("scenario/partition") {
  TEST_CASE("after the partition heals every node agrees on members and holders") {
    for (const std::uint64_t seed : sim::seeds(8)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 16, .seed = seed, .link = {.loss = 0.05}});
      REQUIRE(simulator.run_until(sim::converged, 60s));
      simulator.faults().partition({0, 1, 2, 3});
      simulator.run_for(60s);
      const sim::Blob here = sim::make_blob("here", 2 * MiB);
      const sim::Blob there = sim::make_blob("there", 2 * MiB);
      simulator.pull(1, here);
      simulator.pull(9, there);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      CHECK(simulator.node(9)->core().holders_of(here.digest).empty());
      simulator.faults().heal();
      CHECK(simulator.run_until(sim::converged, 120s));
      CHECK(simulator.node(9)->core().holders_of(here.digest).size() == 1);
      CHECK(simulator.node(1)->core().holders_of(there.digest).size() == 1);
    }
  }

  TEST_CASE("a pull that a partition cuts in two finishes on both sides") {
    for (const std::uint64_t seed : sim::seeds(6)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 8, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 60s));
      const sim::Blob blob = sim::make_blob("layer", 80 * MiB);
      for (sim::NodeIndex i = 0; i < 8; ++i) simulator.pull(i, blob);
      simulator.run_for(500ms);
      simulator.faults().partition({0, 1, 2});
      REQUIRE(simulator.run_until(sim::pulls_done, 180s));
      for (sim::NodeIndex i = 0; i < 8; ++i)
        CHECK(simulator.node(i)->pulls().front().finished.has_value());
      // One more copy per extra side, plus what was under way.
      CHECK(simulator.origin().egress_bytes() <= 2 * blob.size + 4 * limits::extent_bytes);
      simulator.faults().heal();
      CHECK(simulator.run_until(sim::converged, 120s));
    }
  }
}
