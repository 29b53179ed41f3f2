// Nodes die in the middle of a pull: the others finish, and what is lost is bounded.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {
constexpr std::uint64_t MiB = limits::MiB;
}

TEST_SUITE("scenario/churn") {
  TEST_CASE("a node killed mid-pull costs at most its extent, and resumes with what it kept") {
    for (const std::uint64_t seed : sim::seeds(8)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 5, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 120 * MiB);
      for (sim::NodeIndex i = 0; i < 5; ++i) simulator.pull(i, blob);
      const auto held = [&](sim::Simulator& s) -> std::uint64_t {
        std::uint64_t bytes = 0;
        for (const auto& [key, partial] : s.disk(2).partials) {
          for (const auto& [chunk, content] : partial.chunks)
            bytes += BlobLayout(partial.size).chunk_size(chunk);
        }
        return bytes;
      };
      REQUIRE(simulator.run_until([&](sim::Simulator& s) { return held(s) > blob.size * 4 / 10; },
                                  60s));
      simulator.faults().crash(2);
      const std::uint64_t kept = held(simulator);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      CHECK(simulator.origin().egress_bytes() <= blob.size + limits::extent_bytes);
      simulator.faults().restart(2);
      simulator.run_for(3s);
      simulator.pull(2, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      REQUIRE(simulator.node(2)->pulls().front().finished.has_value());
      CHECK(simulator.node(2)->peer_bytes() + simulator.node(2)->upstream_bytes() <=
            blob.size - kept + limits::extent_bytes);
    }
  }

  TEST_CASE("machines that vanish mid-pull: the rest finishes") {
    for (const std::uint64_t seed : sim::seeds(6)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 8, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 100 * MiB);
      for (sim::NodeIndex i = 0; i < 8; ++i) simulator.pull(i, blob);
      simulator.run_for(800ms);
      simulator.faults().power_off(1);
      simulator.run_for(200ms);
      simulator.faults().power_off(4);
      REQUIRE(simulator.run_until(sim::pulls_done, 120s));
      for (const sim::NodeIndex i : {0U, 2U, 3U, 5U, 6U, 7U}) {
        CHECK(simulator.node(i)->pulls().front().finished.has_value());
      }
      CHECK(simulator.origin().egress_bytes() <= blob.size + 4 * limits::extent_bytes);
    }
  }

  TEST_CASE("a killed node is gone from every view and index within its bound, and comes back") {
    sim::Simulator simulator({.node_count = 10, .seed = 5});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    const sim::Blob blob = sim::make_blob("layer", MiB);
    simulator.pull(7, blob);
    REQUIRE(simulator.run_until(sim::pulls_done, 30s));
    simulator.run_for(3s);
    CHECK(simulator.node(0)->core().holders_of(blob.digest).size() == 1);
    simulator.faults().crash(7);
    CHECK(simulator.run_until(sim::converged, 45s));
    CHECK(simulator.node(0)->core().holders_of(blob.digest).empty());
    simulator.faults().restart(7);
    CHECK(simulator.run_until(sim::converged, 60s));
    CHECK(simulator.node(0)->core().holders_of(blob.digest).size() == 1);
  }

  TEST_CASE("all nodes but one with a part of the blob crash: it fetches the rest alone") {
    for (const std::uint64_t seed : sim::seeds(3)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 60 * MiB);
      for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
      simulator.run_for(500ms);
      for (sim::NodeIndex i = 1; i < 6; ++i) simulator.faults().crash(i);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      CHECK(simulator.node(0)->pulls().front().finished.has_value());
      CHECK(simulator.origin().egress_bytes() <= blob.size + 5 * limits::extent_bytes);
    }
  }

  TEST_CASE(
      "a process killed inside its commit has the blob or resumes, before or after the rename") {
    for (const auto when : {sim::CommitCrash::before_rename, sim::CommitCrash::after_rename}) {
      CAPTURE(static_cast<int>(when));
      sim::Simulator simulator({.node_count = 4, .seed = 2});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
      simulator.faults().crash_in_commit(1, when);
      for (sim::NodeIndex i = 0; i < 4; ++i) simulator.pull(i, blob);
      REQUIRE(simulator.run_until([](sim::Simulator& s) { return s.node(1) == nullptr; }, 30s));
      CHECK(simulator.disk(1).blobs.contains(blob.digest) ==
            (when == sim::CommitCrash::after_rename));
      simulator.run_for(1s);
      simulator.faults().restart(1);
      simulator.run_for(2s);
      simulator.pull(1, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      simulator.run_for(1s);  // to the commit
      CHECK(simulator.run_until(sim::converged, 30s));
      CHECK(simulator.node(0)->core().holders_of(blob.digest).size() == 3);
      CHECK(simulator.origin().egress_bytes() == blob.size);
    }
  }
}
