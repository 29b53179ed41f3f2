// Two processes with one identity, and what only looks like it: restarts, old disks, reused
// addresses.
#include "gossip/clone_watch.hpp"

#include "base/limits.hpp"
#include "cluster.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

std::size_t reports(Cluster::Node& node) {
  return static_cast<std::size_t>(std::count_if(
      node.events.begin(), node.events.end(),
      [](const GossipEvent& event) { return std::holds_alternative<CloneSeen>(event); }));
}

std::size_t reports(Cluster& cluster, std::size_t nodes) {
  std::size_t sum = 0;
  for (std::size_t n = 0; n < nodes; ++n) sum += reports(cluster.node(n));
  return sum;
}

std::size_t raises(Cluster::Node& node) {
  return static_cast<std::size_t>(std::count_if(
      node.events.begin(), node.events.end(),
      [](const GossipEvent& event) { return std::holds_alternative<IncarnationRaised>(event); }));
}

/// How often somebody other than the cloned node was called faulty or suspect.
std::size_t slanders(Cluster& cluster, std::size_t nodes, const NodeId& cloned) {
  std::size_t count = 0;
  for (std::size_t n = 0; n < nodes; ++n) {
    for (const GossipEvent& event : cluster.node(n).events) {
      const auto* change = std::get_if<MemberChanged>(&event);
      if (change == nullptr || change->id == cloned) continue;
      if (change->state == MemberState::suspect || change->state == MemberState::faulty) ++count;
    }
  }
  return count;
}

void forget_events(Cluster& cluster, std::size_t nodes) {
  for (std::size_t n = 0; n < nodes; ++n) cluster.node(n).events.clear();
}

}  // namespace

TEST_SUITE("gossip/clones") {
  TEST_CASE(
      "a cloned disk is reported by both processes, with the other's address, and by others") {
    for (const bool late : {true, false}) {
      CAPTURE(late);
      Cluster cluster({.nodes = 7});
      cluster.node(6).identity = identity_of(5);
      for (std::size_t n = 0; n < (late ? 6U : 7U); ++n) cluster.start(n);
      cluster.run_for(10s);
      if (late) {
        cluster.node(6).incarnation = 5;
        cluster.start(6);
      }
      REQUIRE(cluster.run_until(
          [&] { return reports(cluster.node(5)) > 0 && reports(cluster.node(6)) > 0; }, 30s));
      for (const std::size_t n : {5U, 6U}) {
        const auto seen = cluster.at(n).clones(cluster.now);
        REQUIRE(seen.size() == 1);
        CHECK(seen[0].id == id_of(5));
        CHECK(seen[0].at == endpoint_of(static_cast<unsigned>(n)));
        CHECK(seen[0].other == endpoint_of(n == 5 ? 6 : 5));
        CHECK(seen[0].other_name == (n == 5 ? "node-6" : "node-5"));
      }
      CHECK(cluster.run_until([&] { return reports(cluster, 5) > 0; }, 60s));
      // One line a minute, for as long as it lasts.
      forget_events(cluster, 7);
      cluster.run_for(300s);
      for (const std::size_t n : {5U, 6U}) {
        CHECK(reports(cluster.node(n)) >= 4);
        CHECK(reports(cluster.node(n)) <= 5);
      }
    }
  }

  TEST_CASE("under a clone nobody else is suspected, the war is slow and the traffic stays small") {
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
      CAPTURE(seed);
      Cluster cluster({.nodes = 9, .seed = seed});
      cluster.node(8).identity = identity_of(7);
      cluster.node(8).incarnation = 1 + seed;  // equal or ahead
      for (std::size_t n = 0; n < 8; ++n) cluster.start(n);
      cluster.run_for(20s);
      forget_events(cluster, 9);
      cluster.start(8);
      cluster.run_for(30s);
      MESSAGE("seed " << seed << ": in the first 30 s " << raises(cluster.node(7)) << " + "
                      << raises(cluster.node(8)) << " raises");
      for (const std::size_t n : {7U, 8U}) CHECK(raises(cluster.node(n)) <= 5);
      CHECK(slanders(cluster, 9, id_of(7)) == 0);
      forget_events(cluster, 9);
      std::uint64_t bytes = 0;
      for (std::size_t n = 0; n < 9; ++n) bytes += cluster.at(n).stats().tx_bytes;
      cluster.run_for(300s);
      std::uint64_t after = 0;
      for (std::size_t n = 0; n < 9; ++n) after += cluster.at(n).stats().tx_bytes;
      CHECK(slanders(cluster, 9, id_of(7)) == 0);
      for (const std::size_t n : {7U, 8U}) CHECK(raises(cluster.node(n)) <= 24);
      for (std::size_t n = 0; n < 7; ++n) CHECK(raises(cluster.node(n)) == 0);
      const double rate = static_cast<double>(after - bytes) / 300 / 9;
      MESSAGE("seed " << seed << ": " << rate << " B/s per node; raises " << raises(cluster.node(7))
                      << " + " << raises(cluster.node(8)));
      CHECK(rate <= 1000);
    }
  }

  TEST_CASE("when the clone gets an identity of its own the reports end") {
    Cluster cluster({.nodes = 5});
    cluster.node(4).identity = identity_of(3);
    for (std::size_t n = 0; n < 5; ++n) cluster.start(n);
    REQUIRE(cluster.run_until([&] { return reports(cluster.node(3)) > 0; }, 30s));
    cluster.crash(4);
    cluster.node(4).identity = identity_of(4);
    cluster.start(4);
    cluster.run_for(limits::clone_remembered + 60s);
    CHECK(cluster.at(3).clones(cluster.now).empty());
    forget_events(cluster, 5);
    cluster.run_for(120s);
    CHECK(reports(cluster, 5) == 0);
    CHECK(cluster.all_see_all());
  }

  TEST_CASE("restarts are no clones: quick ones, with an older disk, in a loop, at a new address") {
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U}) {
      CAPTURE(seed);
      Cluster cluster({.nodes = 6, .seed = seed, .loss = 0.05});
      cluster.start_all();
      cluster.run_for(20s);
      for (int round = 0; round < 5; ++round) {
        cluster.crash(3);
        cluster.run_for(round % 2 == 0 ? 10ms : 3s);
        if (round == 3) cluster.node(3).incarnation = 1;  // the disk is an older one
        cluster.start(3);
        cluster.run_for(round < 3 ? 2s : 20s);
      }
      // The same disk in another machine; the first one is gone.
      cluster.crash(5);
      cluster.node(4).identity = identity_of(4);
      cluster.run_for(1s);
      cluster.crash(4);
      cluster.node(5).identity = identity_of(4);
      cluster.node(5).incarnation = 9;
      cluster.start(5);
      cluster.run_for(60s);
      CHECK(reports(cluster, 6) == 0);
    }
  }

  TEST_CASE(
      "a recorded packet of the boot before proves nothing, and is worth one answer at most") {
    Cluster cluster({.nodes = 3});
    cluster.keep_trace = true;
    cluster.start_all();
    cluster.run_for(20s);
    const auto recording = std::exchange(cluster.trace, {});
    cluster.keep_trace = false;
    cluster.crash(2);
    cluster.start(2);
    cluster.run_for(20s);
    Gossip& target = cluster.at(1);
    for (const auto& sent : recording) {
      if (sent.from != 2 || sent.to != endpoint_of(1)) continue;
      target.handle_datagram(cluster.now, endpoint_of(2), sent.datagram);
      std::size_t answers = 0;
      while (target.poll_transmit()) ++answers;
      CHECK(answers <= 1);
      while (auto event = target.poll_event()) {
        CHECK_FALSE(std::holds_alternative<CloneSeen>(*event));
      }
    }
    CHECK(target.clones(cluster.now).empty());
    CHECK(cluster.sees(1, 2, MemberState::alive));
  }

  TEST_CASE("foreign records of oneself are refuted a few times at once, then every 30 s") {
    RefutationLimit limit(TimePoint{});
    std::size_t at_once = 0;
    while (at_once < 100 && limit.admit(TimePoint{}, 10 + at_once)) ++at_once;
    CHECK(at_once == 4);
    CHECK_FALSE(limit.admit(TimePoint{} + 1s, 90));
    CHECK(limit.due() == TimePoint{} + limits::refutation_interval);
    CHECK_FALSE(limit.take_due(TimePoint{} + 29s).has_value());
    CHECK(limit.take_due(TimePoint{} + 30s) == 90);
    CHECK_FALSE(limit.due().has_value());
    CHECK_FALSE(limit.take_due(TimePoint{} + 60s).has_value());
    // A suspicion was refuted meanwhile: nothing is left to say.
    CHECK(limit.admit(TimePoint{} + 61s, 98));
    CHECK(limit.admit(TimePoint{} + 61s, 99));
    CHECK_FALSE(limit.admit(TimePoint{} + 61s, 100));
    limit.refuted(100);
    CHECK_FALSE(limit.due().has_value());
  }

  TEST_CASE("sightings are bounded: the one of longest ago goes") {
    CloneWatch watch;
    for (unsigned n = 0; n < limits::clones_told_max + 1; ++n) {
      CHECK(watch.proved(TimePoint{} + n * 1s, {id_of(n), {}, {}, {}}).has_value());
    }
    watch.check_invariants();
    const auto seen = watch.seen(TimePoint{} + 20s);
    CHECK(seen.size() == limits::clones_told_max);
    CHECK(std::none_of(seen.begin(), seen.end(),
                       [](const CloneSeen& clone) { return clone.id == id_of(0); }));
    CHECK(watch.seen(TimePoint{} + 1h).empty());
  }

  TEST_CASE("a new node at a dead one's address takes its place long before a suspicion ends") {
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
      CAPTURE(seed);
      Cluster cluster({.nodes = 8, .seed = seed});
      cluster.start_all();
      cluster.run_for(20s);
      cluster.crash(5);
      cluster.node(5).identity = identity_of(50);
      cluster.start(5);
      const auto all_know = [&] {
        for (std::size_t n = 0; n < 8; ++n) {
          const Member* taker = cluster.at(n).find(id_of(50));
          const Member* former = cluster.at(n).find(id_of(5));
          if (taker == nullptr || taker->state != MemberState::alive) return false;
          if (former == nullptr || former->state != MemberState::faulty) return false;
        }
        return true;
      };
      CHECK(cluster.run_until(all_know, 5s));
      cluster.run_for(60s);
      CHECK(all_know());
    }
  }
}
