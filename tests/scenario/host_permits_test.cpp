// What the whole cluster asks of one registry host: how much at once, and what after a 429.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = limits::MiB;

std::vector<sim::Blob> blobs_of(std::size_t count, std::uint64_t size) {
  std::vector<sim::Blob> blobs;
  for (std::size_t i = 0; i < count; ++i)
    blobs.push_back(sim::make_blob("blob" + std::to_string(i), size));
  return blobs;
}

void pull_all_everywhere(sim::Simulator& simulator, const std::vector<sim::Blob>& blobs) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    for (const auto& blob : blobs) simulator.pull(i, blob);
  }
}

void all_finished(sim::Simulator& simulator) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    CAPTURE(i);
    if (simulator.node(i) == nullptr) continue;
    for (const auto& pull : simulator.node(i)->pulls()) CHECK(pull.finished.has_value());
  }
}

std::uint64_t bypasses(sim::Simulator& simulator) {
  std::uint64_t count = 0;
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) != nullptr)
      count += simulator.node(i)->core().exchange().stats().bypasses;
  }
  return count;
}

}  // namespace

TEST_SUITE("scenario/host_permits") {
  TEST_CASE("a 429 is heard by the whole cluster: a handful of refused requests per pause") {
    for (const std::size_t count : {1U, 3U}) {
      for (const std::uint64_t seed : sim::seeds(1)) {
        CAPTURE(count);
        CAPTURE(seed);
        sim::Simulator simulator({.node_count = 40, .seed = seed, .check_every = 4096});
        REQUIRE(simulator.run_until(sim::converged, 30s));
        simulator.faults().origin_status(429, 1s);
        pull_all_everywhere(simulator, blobs_of(count, 6 * MiB));
        simulator.run_for(900ms);
        CHECK(simulator.origin().refused_count() <= 6);
        const auto before = simulator.origin().refused_count();
        simulator.run_for(1s);
        CHECK(simulator.origin().refused_count() - before <= 6);
        simulator.faults().origin_status(200);
        REQUIRE(simulator.run_until(sim::pulls_done, 60s));
        all_finished(simulator);
        CHECK(simulator.origin().egress_bytes() <= count * 7 * MiB);
      }
    }
  }

  TEST_CASE("readers that have waited too long while the host rests do not all ask when it ends") {
    for (const std::uint64_t seed : sim::seeds(2)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 40, .seed = seed, .check_every = 4096});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      simulator.faults().origin_status(429, 3s);
      pull_all_everywhere(simulator, blobs_of(1, 6 * MiB));
      simulator.run_for(2900ms);
      const auto before = simulator.origin().refused_count();
      CHECK(before <= 6);
      simulator.run_for(2900ms);
      MESSAGE("refused: ", before, ", then ", simulator.origin().refused_count() - before);
      CHECK(simulator.origin().refused_count() - before <= 6);
    }
  }

  TEST_CASE("several blobs share the limit of their host, also when who keeps it dies") {
    for (const bool crash : {false, true}) {
      for (const std::uint64_t seed : sim::seeds(1)) {
        CAPTURE(crash);
        CAPTURE(seed);
        sim::Simulator simulator(
            {.node_count = 12, .seed = seed, .in_flight_per_host = 4, .check_every = 1024});
        REQUIRE(simulator.run_until(sim::converged, 30s));
        pull_all_everywhere(simulator, blobs_of(4, 48 * MiB));
        simulator.run_for(700ms);
        if (crash) {
          simulator.faults().crash(simulator.host_registrars()[0]);
        }
        REQUIRE(simulator.run_until(sim::pulls_done, 120s));
        all_finished(simulator);
        // What readers get that waited for 3 s comes on top.
        CHECK(simulator.origin().fetches_peak() <= 4 + bypasses(simulator));
        CHECK(simulator.origin().fetches_peak() >= 4);
      }
    }
  }

  TEST_CASE("who can't reach the host's trio goes on alone") {
    for (const std::uint64_t seed : sim::seeds(1)) {
      CAPTURE(seed);
      sim::Simulator simulator(
          {.node_count = 12, .seed = seed, .in_flight_per_host = 4, .check_every = 1024});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const auto registrars = simulator.host_registrars();
      simulator.faults().partition({registrars.begin(), registrars.end()});
      pull_all_everywhere(simulator, blobs_of(3, 20 * MiB));
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      all_finished(simulator);
      simulator.faults().heal();
    }
  }
}
