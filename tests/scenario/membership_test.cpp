// Joins, mass crashes, loss, restarts, clocks and pauses: views and indexes come out right.
#include "sim/simulator.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = limits::MiB;

/// Every node holds `count` small blobs of its own before it starts.
void fill_disks(sim::Simulator& simulator, std::size_t count) {
  for (sim::NodeIndex i = 0; i < simulator.size(); ++i) {
    for (std::size_t b = 0; b < count; ++b) {
      const sim::Blob blob = sim::make_blob("own/" + std::to_string(i), 100 + b);
      simulator.origin().add(blob);
      simulator.disk(i).blobs[blob.digest] = blob.size;
    }
  }
}

}  // namespace

TEST_SUITE("scenario/membership") {
  TEST_CASE("sixty nodes join within half a minute: everybody knows everybody soon after") {
    sim::Simulator simulator({.node_count = 60, .seed = 3, .start_all = false});
    Prng prng(3);
    for (sim::NodeIndex i = 0; i < 60; ++i) {
      simulator.start_node(i);
      simulator.run_for(std::chrono::milliseconds(prng.below(1000)));
    }
    CHECK(simulator.run_until(sim::converged, 10s));
  }

  TEST_CASE("one, a tenth or half of the nodes crash at once: the others agree within 45 s") {
    for (const sim::NodeIndex dead : {1U, 2U, 10U}) {
      CAPTURE(dead);
      sim::Simulator simulator({.node_count = 20, .seed = dead});
      REQUIRE(simulator.run_until(sim::converged, 30s));
      for (sim::NodeIndex i = 0; i < dead; ++i) simulator.faults().power_off(2 * i);
      CHECK(simulator.run_until(sim::converged, 45s));
      for (sim::NodeIndex i = 0; i < dead; ++i) simulator.faults().restart(2 * i);
      CHECK(simulator.run_until(sim::converged, 60s));
    }
  }

  TEST_CASE("loss, repeats and overtaking delay announcements, and lose none") {
    for (const double loss : {0.0, 0.05, 0.2}) {
      CAPTURE(loss);
      sim::Simulator simulator({.node_count = 10, .seed = 8, .start_all = false});
      fill_disks(simulator, 20);
      simulator.faults().set_loss(loss);
      simulator.faults().set_duplicates(loss);
      simulator.faults().set_extra_delay(20ms);
      for (sim::NodeIndex i = 0; i < 10; ++i) simulator.start_node(i);
      CHECK(simulator.run_until(sim::converged, 60s));
      CHECK(simulator.node(9)->core().holders_of(sim::make_blob("own/4", 107).digest).size() == 1);
    }
  }

  TEST_CASE("a storm of announcements while a tenth of the nodes die reaches all others") {
    sim::Simulator simulator({.node_count = 20, .seed = 4, .link = {.loss = 0.01}});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    for (std::uint64_t b = 0; b < 30; ++b) {
      for (sim::NodeIndex i = 0; i < 20; ++i) {
        simulator.pull(i, sim::make_blob("storm/" + std::to_string(i), 100 + b));
      }
      if (b == 10) simulator.faults().power_off(3);
      if (b == 11) simulator.faults().power_off(14);
      simulator.run_for(100ms);
    }
    CHECK(simulator.run_until(sim::converged, 60s));
    CHECK(simulator.node(0)->core().holders_of(sim::make_blob("storm/7", 120).digest).size() == 1);
    CHECK(simulator.node(0)->core().holders_of(sim::make_blob("storm/3", 105).digest).empty());
  }

  TEST_CASE("a partition of ten minutes heals like a short one") {
    sim::Simulator simulator({.node_count = 8, .seed = 6});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    simulator.faults().partition({0, 1, 2, 3});
    simulator.run_for(600s);
    simulator.faults().heal();
    CHECK(simulator.run_until(sim::converged, 60s));
  }

  TEST_CASE("whoever is heard but hears nobody comes back when the way back is open again") {
    sim::Simulator simulator({.node_count = 6, .seed = 7});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    // The others' datagrams do not reach node 2, its own reach them; then the reverse.
    simulator.faults().partition({0, 1, 3, 4, 5}, true);
    simulator.run_for(60s);
    simulator.faults().heal();
    CHECK(simulator.run_until(sim::converged, 60s));
    simulator.faults().partition({2}, true);
    simulator.run_for(60s);
    simulator.faults().heal();
    CHECK(simulator.run_until(sim::converged, 60s));
  }

  TEST_CASE("a rolling restart keeps every blob known, and upstream is not asked") {
    sim::Simulator simulator({.node_count = 6, .seed = 2});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    const sim::Blob blob = sim::make_blob("layer", 20 * MiB);
    for (sim::NodeIndex i = 0; i < 6; ++i) simulator.pull(i, blob);
    REQUIRE(simulator.run_until(sim::pulls_done, 30s));
    simulator.run_for(2s);
    simulator.faults().origin_down(true);
    for (sim::NodeIndex i = 0; i < 6; ++i) {
      simulator.faults().drain(i);
      simulator.run_for(500ms);
      simulator.faults().leave(i);
      simulator.run_for(500ms);
      simulator.faults().crash(i);
      simulator.run_for(2s);
      CHECK_FALSE(simulator.node((i + 1) % 6)->core().holders_of(blob.digest).empty());
      simulator.faults().restart(i);
      CHECK(simulator.run_until(sim::converged, 30s));
    }
    CHECK(simulator.node(0)->core().holders_of(blob.digest).size() == 5);
    CHECK(simulator.origin().egress_bytes() == blob.size);
  }

  TEST_CASE("clocks that jump, and wall clocks a year off at a restart, lose nobody") {
    sim::Simulator simulator({.node_count = 6, .seed = 5});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    simulator.faults().clock_jump(1, 20s);
    simulator.faults().clock_jump(4, 3s);
    simulator.run_for(5s);
    CHECK(simulator.run_until(sim::converged, 60s));
    for (const sim::NodeIndex i : {0U, 3U}) {
      simulator.faults().crash(i);
      simulator.faults().wall_error(i, i == 0 ? Duration(-24h * 365) : Duration(24h * 365));
      simulator.faults().restart(i);
    }
    // Whose disk is new and whose clock is behind has a lower incarnation than is known of it.
    simulator.faults().crash(5);
    simulator.disk(5).incarnation = 0;
    simulator.faults().wall_error(5, -24h * 365);
    simulator.faults().restart(5);
    CHECK(simulator.run_until(sim::converged, 90s));
  }

  TEST_CASE("another machine at the address of a dead one is a new member") {
    sim::Simulator simulator({.node_count = 5, .seed = 11});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    const NodeId before = simulator.id_of(3);
    simulator.faults().power_off(3);
    simulator.run_for(1s);
    simulator.faults().reinstall(3);
    simulator.faults().restart(3);
    REQUIRE(simulator.id_of(3) != before);
    const auto superseded = [&](sim::Simulator& running) {
      for (const sim::NodeIndex i : {0U, 1U, 2U, 4U}) {
        const auto* old = running.node(i)->core().gossip().find(before);
        if (old == nullptr || old->state != gossip::MemberState::faulty) return false;
      }
      return true;
    };
    CHECK(simulator.run_until(superseded, 6s));
    CHECK(simulator.run_until(sim::converged, 60s));
  }

  TEST_CASE("a fifth of the nodes stand still for five seconds: nobody stays lost") {
    sim::Simulator simulator({.node_count = 15, .seed = 9});
    REQUIRE(simulator.run_until(sim::converged, 30s));
    for (const sim::NodeIndex i : {2U, 7U, 12U}) simulator.faults().pause(i, 5s);
    simulator.run_for(5s);
    CHECK(simulator.run_until(sim::converged, 45s));
  }
}
