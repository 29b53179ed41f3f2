// Upstream's moods: no ranges, no such blob, no credential, overloaded, gone, wrong.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = limits::MiB;
constexpr sim::NodeIndex node_count = 5;

void pull_everywhere(sim::Simulator& simulator, const sim::Blob& blob) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) simulator.pull(i, blob);
}

void all_finished(sim::Simulator& simulator) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    CAPTURE(i);
    CHECK(simulator.node(i)->pulls().back().finished.has_value());
  }
}

void all_failed(sim::Simulator& simulator, transfer::SwarmError error) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    CAPTURE(i);
    CHECK(simulator.node(i)->pulls().back().error == error);
    CHECK(simulator.disk(i).blobs.empty());
  }
}

}  // namespace

TEST_SUITE("scenario/upstream") {
  TEST_CASE("an origin without ranges is read once, by one node, and the others swarm from it") {
    for (const std::uint64_t seed : sim::seeds(6)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = 6, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      simulator.origin().set_range_support(false);
      const sim::Blob blob = sim::make_blob("stream", 60 * MiB);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() == blob.size);
      CHECK(simulator.origin().request_count() == 1);
    }
  }

  // Found by a random run: a chunk that was overtaken was asked from nobody any more.
  TEST_CASE("chunks of one answer that are hashed out of order are all used") {
    for (const std::uint64_t seed : sim::seeds(3)) {
      CAPTURE(seed);
      sim::Simulator simulator(
          {.node_count = node_count, .seed = seed, .uneven_hashing = true, .check_every = 4});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 24 * MiB);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() <= blob.size + MiB);
    }
  }

  TEST_CASE("404 and 401 are passed on at once, and forgotten by the next pull") {
    for (const std::uint64_t seed : sim::seeds(4)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = node_count, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
      simulator.faults().origin_status(404);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 10s));
      all_failed(simulator, transfer::SwarmError::not_found);
      simulator.faults().origin_status(401);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 10s));
      all_failed(simulator, transfer::SwarmError::unauthorized);
      simulator.faults().origin_status(200);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 20s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() == blob.size);
    }
  }

  TEST_CASE("without any credential in the cluster everybody knows within two seconds") {
    for (const std::uint64_t seed : sim::seeds(4)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = node_count, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      simulator.faults().origin_status(401);
      pull_everywhere(simulator, sim::make_blob("layer", 20 * MiB));
      REQUIRE(simulator.run_until(sim::pulls_done, 2s));
      all_failed(simulator, transfer::SwarmError::unauthorized);
      CHECK(simulator.origin().request_count() <= node_count);
    }
  }

  TEST_CASE(
      "an origin that asks for a minute's pause is left alone, and readers go elsewhere soon") {
    sim::Simulator simulator({.node_count = node_count, .seed = 3});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    simulator.faults().origin_status(429, 60s);
    pull_everywhere(simulator, sim::make_blob("layer", 20 * MiB));
    REQUIRE(simulator.run_until(sim::pulls_done, 4s));
    all_failed(simulator, transfer::SwarmError::unreachable);
    CHECK(simulator.origin().request_count() <= node_count);
  }

  TEST_CASE("a first request that is never answered is hedged, not waited for") {
    for (const sim::NodeIndex nodes : {1U, 3U}) {
      for (const std::uint64_t seed : sim::seeds(4)) {
        CAPTURE(nodes);
        CAPTURE(seed);
        sim::Simulator simulator({.node_count = nodes, .seed = seed});
        REQUIRE(simulator.run_until(sim::converged, 30s));
        simulator.faults().origin_stall_next(1);
        const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
        pull_everywhere(simulator, blob);
        REQUIRE(simulator.run_until(sim::pulls_done, 9s));
        all_finished(simulator);
        CHECK(simulator.origin().egress_bytes() <= blob.size + 2 * MiB);
      }
    }
  }

  TEST_CASE("an overloaded or broken origin is asked again with pauses until it recovers") {
    for (const unsigned status : {503U, 500U, 429U}) {
      CAPTURE(status);
      sim::Simulator simulator({.node_count = node_count, .seed = status});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
      simulator.faults().origin_status(status);
      pull_everywhere(simulator, blob);
      simulator.run_for(4s);
      CHECK(simulator.origin().request_count() <= 10 * node_count);
      simulator.faults().origin_status(200);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() == blob.size);
    }
  }

  TEST_CASE("an origin that goes away mid-pull and returns costs no byte twice") {
    for (const std::uint64_t seed : sim::seeds(4)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = node_count, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 64 * MiB);
      pull_everywhere(simulator, blob);
      simulator.run_for(500ms);
      simulator.faults().origin_down(true);
      simulator.run_for(2s);
      simulator.faults().origin_down(false);
      REQUIRE(simulator.run_until(sim::pulls_done, 30s));
      all_finished(simulator);
      CHECK(simulator.origin().egress_bytes() <= blob.size + MiB);
    }
  }

  TEST_CASE("an origin that is gone for good is an error in bounded time") {
    sim::Simulator simulator({.node_count = node_count, .seed = 9});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    simulator.faults().origin_down(true);
    const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
    pull_everywhere(simulator, blob);
    REQUIRE(simulator.run_until(sim::pulls_done, 20s));
    all_failed(simulator, transfer::SwarmError::unreachable);
  }

  TEST_CASE("an origin that was gone a moment ago is not waited for again, until it answers") {
    sim::Simulator simulator({.node_count = 1, .seed = 5});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    simulator.faults().origin_down(true);
    simulator.pull(0, sim::make_blob("manifest", 7'000));
    simulator.run_for(6s);
    CHECK_FALSE(simulator.node(0)->pulls().back().error);
    REQUIRE(simulator.run_until(sim::pulls_done, 6s));
    for (int i = 0; i < 5; ++i) {
      simulator.pull(0, sim::make_blob("layer" + std::to_string(i), 20 * MiB));
      REQUIRE(simulator.run_until(sim::pulls_done, 2s));
      all_failed(simulator, transfer::SwarmError::unreachable);
    }
    simulator.faults().origin_down(false);
    simulator.pull(0, sim::make_blob("layer0", 20 * MiB));
    REQUIRE(simulator.run_until(sim::pulls_done, 10s));
    all_finished(simulator);
    simulator.faults().origin_down(true);
    simulator.pull(0, sim::make_blob("another", 20 * MiB));
    simulator.run_for(3s);
    CHECK_FALSE(simulator.node(0)->pulls().back().error);
  }

  TEST_CASE("wrong bytes from upstream are never committed; right ones later are") {
    for (const std::uint64_t size : {7'000UL, 20 * MiB}) {
      CAPTURE(size);
      sim::Simulator simulator({.node_count = node_count, .seed = 4});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", size);
      simulator.origin().set_variant(7);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      all_failed(simulator, transfer::SwarmError::bad_upstream);
      simulator.run_for(2s);
      CHECK(simulator.node(0)->core().holders_of(blob.digest).empty());
      simulator.origin().set_variant(sim::true_bytes);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 60s));
      all_finished(simulator);
    }
  }

  TEST_CASE("one node's way to upstream is poisoned: everybody still gets the truth") {
    for (const std::uint64_t seed : sim::seeds(4)) {
      CAPTURE(seed);
      sim::Simulator simulator({.node_count = node_count, .seed = seed});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      const sim::Blob blob = sim::make_blob("layer", 60 * MiB);
      simulator.origin().set_variant_for(2, 5);
      pull_everywhere(simulator, blob);
      REQUIRE(simulator.run_until(sim::pulls_done, 120s));
      for (const sim::NodeIndex i : {0U, 1U, 3U, 4U}) {
        CAPTURE(i);
        CHECK(simulator.node(i)->pulls().back().finished.has_value());
      }
    }
  }
}
