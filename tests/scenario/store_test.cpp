// Blobs of all sizes, many at once, full disks, lying members, and what a restart finds.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {
constexpr std::uint64_t MiB = limits::MiB;
}

TEST_SUITE("scenario/store") {
  TEST_CASE("small and empty blobs are taken once") {
    for (const std::uint64_t seed : sim::seeds(3)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      std::uint64_t total = 0;
      for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, MiB - 1, MiB, MiB + 1}) {
        const sim::Blob blob = sim::make_blob("small", size);
        total += size;
        for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      }
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      simulator.run_for(1s);  // to the commit
      for (sim::NodeIndex i = 0; i < 6; ++i) {
        CHECK(simulator.disk(i).blobs.size() == 5);
      }
      CHECK(simulator.origin().egress_bytes() == total);
    }
  }

  TEST_CASE("eight blobs at once on sixteen nodes: every byte leaves upstream once") {
    for (const std::uint64_t seed : sim::seeds(2)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 16, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      std::uint64_t total = 0;
      for (std::uint64_t b = 0; b < 8; ++b) {
        const sim::Blob blob = sim::make_blob("file" + std::to_string(b), 5 * MiB + b * 3 * MiB);
        total += blob.size;
        for (sim::NodeIndex i = 0; i < 16; ++i) simulator.pull(i, blob);
      }
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      simulator.run_for(1s);
      for (sim::NodeIndex i = 0; i < 16; ++i) CHECK(simulator.disk(i).blobs.size() == 8);
      CHECK(simulator.origin().egress_bytes() == total);
    }
  }

  TEST_CASE("a full disk fails one node's pull; the others finish") {
    for (const std::uint64_t seed : sim::seeds(6)) {
      CAPTURE(seed);
      const bool from_the_start = seed % 2 == 0;
      sim::Simulator simulator({.node_count = 5, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 80 * MiB);
      for (sim::NodeIndex i = 0; i < 5; ++i) simulator.pull(i, blob);
      if (!from_the_start) simulator.run_for(500ms);
      simulator.disk(2).full = true;
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      for (const sim::NodeIndex i : {0U, 1U, 3U, 4U}) {
        CHECK(simulator.node(i)->pulls().front().finished.has_value());
      }
      CHECK(simulator.node(2)->pulls().front().error == transfer::SwarmError::store_failed);
      CHECK_FALSE(simulator.disk(2).blobs.contains(blob.digest));
      CHECK(simulator.origin().egress_bytes() <= blob.size + 2 * limits::extent_bytes);
    }
  }

  TEST_CASE("a lying member among five: the others finish with the truth, for little more") {
    for (const bool warm : {false, true}) {
      for (const std::uint64_t seed : sim::seeds(4)) {
        CAPTURE(warm);
        CAPTURE(seed);
        sim::Simulator simulator({.node_count = 5, .seed = seed});
        REQUIRE(simulator.run_until(sim::converged, 30s));
        const sim::Blob blob = sim::make_blob("layer", 60 * MiB);
        if (warm) {
          simulator.pull(0, blob);
          simulator.pull(2, blob);
          REQUIRE(simulator.run_until(sim::pulls_done, 30s));
          simulator.run_for(2s);
        }
        simulator.node(2)->lie(sim::Lie::bytes);
        for (sim::NodeIndex i = 0; i < 5; ++i) simulator.pull(i, blob);
        REQUIRE(simulator.run_until(sim::pulls_done, 120s));
        for (sim::NodeIndex i = 0; i < 5; ++i) {
          CAPTURE(i);
          CHECK(simulator.node(i)->pulls().back().finished.has_value());
        }
        // Banned by all, the liar fetches for itself.
        CHECK(simulator.origin().egress_bytes() <=
              blob.size + 2 * limits::extent_bytes + simulator.node(2)->upstream_bytes());
      }
    }
  }

  TEST_CASE("the only holder hangs or lies: the blob comes from upstream in bounded time") {
    for (const bool lies : {false, true}) {
      for (const std::uint64_t seed : sim::seeds(4)) {
        CAPTURE(lies);
        CAPTURE(seed);
        sim::Simulator simulator({.node_count = 6, .seed = seed});
        REQUIRE(simulator.run_until(sim::converged, 30s));
        const sim::Blob blob = sim::make_blob("layer", 40 * MiB);
        simulator.pull(0, blob);
        REQUIRE(simulator.run_until(sim::pulls_done, 30s));
        simulator.run_for(2s);
        if (lies) {
          simulator.node(0)->lie(sim::Lie::bytes);
        } else {
          simulator.faults().pause(0, 20s);
        }
        const TimePoint begin = simulator.now();
        for (sim::NodeIndex i = 1; i < 6; ++i) simulator.pull(i, blob);
        REQUIRE(simulator.run_until(sim::pulls_done, 60s));
        for (sim::NodeIndex i = 1; i < 6; ++i) {
          CAPTURE(i);
          const sim::Pull& pull = simulator.node(i)->pulls().back();
          REQUIRE(pull.finished.has_value());
          CHECK(*pull.finished - begin <= 10s);
        }
        CHECK(simulator.origin().egress_bytes() <= 2 * blob.size + 2 * limits::extent_bytes);
      }
    }
  }

  TEST_CASE("after a restart of all nodes their blobs are there and upstream is not asked") {
    for (const std::uint64_t seed : sim::seeds(3)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 7, .seed = seed, .start_all = false});
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.start_node(i);
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 30 * MiB);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      simulator.run_for(1s);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.faults().crash(i);
      simulator.faults().origin_down(true);
      simulator.run_for(5s);
      for (sim::NodeIndex i = 0; i < 7; ++i) simulator.faults().restart(i);
      REQUIRE(simulator.run_until(sim::converged, 60s));
      for (sim::NodeIndex i = 0; i < 7; ++i) simulator.pull(i, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      for (sim::NodeIndex i = 0; i < 7; ++i) {
        CHECK(simulator.node(i)->pulls().back().finished.has_value());
      }
      CHECK(simulator.origin().egress_bytes() == blob.size);
      CHECK(simulator.run_until(sim::converged, 30s));
      CHECK(simulator.node(6)->core().holders_of(blob.digest).size() == 6);
    }
  }
}
