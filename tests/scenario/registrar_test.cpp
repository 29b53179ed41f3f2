// Those who keep the claims die, or those who hold claims get no bytes: others take over.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = limits::MiB;

void all_finished(sim::Simulator& simulator) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    CAPTURE(i);
    for (const auto& pull : simulator.node(i)->pulls()) CHECK(pull.finished.has_value());
  }
}

}  // namespace

TEST_SUITE("scenario/registrar") {
  TEST_CASE("one, two or all three registrars crash mid-pull: the rest finishes") {
    for (const std::size_t dead : {1UL, 2UL, 3UL}) {
      for (const std::uint64_t seed : sim::seeds(3)) {
        CAPTURE(dead);
        CAPTURE(seed);
        sim::Simulator simulator({.node_count = 10, .seed = seed});
        REQUIRE(simulator.run_until(sim::converged, 30s));
        const sim::Blob blob = sim::make_blob("layer", 120 * MiB);
        for (sim::NodeIndex i = 0; i < 10; ++i) simulator.pull(i, blob);
        simulator.run_for(700ms);
        const auto registrars = simulator.registrars(blob.digest);
        for (std::size_t rank = 0; rank < dead; ++rank) simulator.faults().crash(registrars[rank]);
        REQUIRE(simulator.run_until(sim::pulls_done, 60s));
        all_finished(simulator);
        // Lost: what the dead were fetching. Without any registrar some extents are fetched twice.
        const std::uint64_t extents = dead < 3 ? 2 * dead : 10;
        CHECK(simulator.origin().egress_bytes() <= blob.size + extents * limits::extent_bytes);
      }
    }
  }

  TEST_CASE("a claimant that gets no more bytes is taken over, and gets the rest from others") {
    for (const std::uint64_t seed : sim::seeds(6)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 96 * MiB);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      simulator.run_for(600ms);
      const auto fetching = simulator.origin().fetching();
      REQUIRE_FALSE(fetching.empty());
      simulator.faults().stall(*fetching.begin());
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() <= blob.size + 2 * limits::extent_bytes);
    }
  }

  TEST_CASE("blocks that come after their time are used, and asked from nobody else again") {
    for (const std::uint64_t seed : sim::seeds(6)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed, .check_every = 4});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 96 * MiB);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      simulator.run_for(400ms);
      for (const sim::NodeIndex i : {1U, 4U}) simulator.faults().pause(i, 1500ms);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      all_finished(simulator);
    }
  }

  TEST_CASE("a node paused for seconds keeps nobody waiting, and finishes when it is back") {
    for (const std::uint64_t seed : sim::seeds(4)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 96 * MiB);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      simulator.run_for(500ms);
      simulator.faults().pause(simulator.registrars(blob.digest)[0], 5s);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() <= blob.size + 3 * limits::extent_bytes);
    }
  }
}
