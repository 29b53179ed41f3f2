// The two-hop relay in clusters of Announcements: reach, cost, loss, dead relays, the way between
// modes.
#include "../identity_of.hpp"
#include "announcement_network.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using waggle::testing::identity_of;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

/// A settled cluster of `count` that will say nothing but what the test makes it say for a while.
AnnouncementNetwork settled(std::size_t count, std::uint64_t seed, double loss = 0) {
  AnnouncementNetwork net(count, seed);
  net.check_every_ = 997;
  net.run_for(3s);
  net.set_loss(loss);
  return net;
}

std::size_t knowing(AnnouncementNetwork& net, std::size_t holder, std::uint64_t blob) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < net.size(); ++i) {
    if (i == holder || !net.running(i)) continue;
    const auto known = net.holders(i, blob);
    count += std::binary_search(known.begin(), known.end(), net.id(holder)) ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_SUITE("gossip/relay") {
  TEST_CASE("above 40 members an announcement reaches all in two hops, each told three times") {
    AnnouncementNetwork net = settled(100, 1);
    CHECK(net.at(0).spreading() == BroadcastMode::relay);
    for (std::size_t holder = 0; holder < 100; holder += 9) {
      const auto before = net.records_sent();
      net.announce(holder, holder);
      CHECK(net.run_until(100ms, [&] { return net.all_know(holder, holder); }));
      net.run_for(50ms);
      CHECK(net.records_sent() - before >= 3 * 99);
      CHECK(net.records_sent() - before <= 3 * 99 + 3);  // and back to the origin itself
      net.run_for(2s);
    }
    net.check_facts(100);
  }

  TEST_CASE("with 1 % loss 99 % know within 150 ms, all of them within 6 s") {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      CAPTURE(seed);
      AnnouncementNetwork net = settled(100, seed, 0.01);
      for (std::size_t holder = 0; holder < 100; holder += 13) {
        net.announce(holder, holder);
        net.run_for(150ms);
        CHECK(knowing(net, holder, holder) >= 98);
        CHECK(net.run_until(6s, [&] { return net.all_know(holder, holder); }));
      }
    }
  }

  TEST_CASE("dead relays that nobody has noticed yet only delay what they should have passed on") {
    AnnouncementNetwork net = settled(100, 4);
    for (std::size_t i = 0; i < 10; ++i) net.silence(10 * i);
    for (std::size_t holder = 1; holder < 100; holder += 11) net.announce(holder, holder);
    net.run_for(200ms);
    for (std::size_t holder = 1; holder < 100; holder += 11) {
      CHECK(knowing(net, holder, holder) >= 85);  // of 89
    }
    CHECK(net.run_until(15s, [&] {
      for (std::size_t holder = 1; holder < 100; holder += 11) {
        if (knowing(net, holder, holder) < 89) return false;
      }
      return true;
    }));
  }

  TEST_CASE("24 to 40 members go on as they did: by relay when they were more, else by unicast") {
    AnnouncementNetwork net(45, 5);
    net.check_every_ = 997;
    net.run_for(1s);
    CHECK(net.at(0).spreading() == BroadcastMode::relay);
    for (std::size_t i = 44; i >= 30; --i) net.stop(i);
    CHECK(net.at(0).spreading() == BroadcastMode::relay);
    net.announce(0, 1);
    CHECK(net.run_until(150ms, [&] { return net.all_know(0, 1); }));
    for (std::size_t i = 29; i >= 22; --i) net.stop(i);
    CHECK(net.at(0).spreading() == BroadcastMode::unicast);
    for (std::size_t i = 22; i < 35; ++i) net.restart(i);
    CHECK(net.at(0).spreading() == BroadcastMode::unicast);
    net.announce(0, 2);
    CHECK(net.run_until(1500ms, [&] { return net.all_know(0, 2); }));
    for (std::size_t i = 35; i < 42; ++i) net.restart(i);
    CHECK(net.at(0).spreading() == BroadcastMode::relay);
  }

  TEST_CASE("as long as one member speaks version 1 announcements go by unicast") {
    AnnouncementNetwork net = settled(60, 6);
    for (std::size_t i = 0; i < 60; ++i) net.at(i).set_version(1);
    CHECK(net.at(0).spreading() == BroadcastMode::unicast);
    const auto before = net.records_sent();
    net.announce(0, 1);
    CHECK(net.run_until(50ms, [&] { return net.all_know(0, 1); }));
    CHECK(net.records_sent() - before == 59);
    for (std::size_t i = 0; i < 60; ++i) net.at(i).set_version(2);
    CHECK(net.at(0).spreading() == BroadcastMode::relay);
  }

  TEST_CASE("a storm is batched: nobody passes the hard budget, and all of it arrives") {
    AnnouncementNetwork net = settled(60, 7, 0.01);
    Prng prng(7);
    std::uint64_t blob = 0;
    const auto began = net.now();
    net.reset_bytes();
    while (net.now() - began < 10s) {
      for (int i = 0; i < 20; ++i) {
        net.announce(static_cast<std::size_t>(prng.below(60)), 1000 + prng.below(400));
        ++blob;
      }
      net.run_for(100ms);
    }
    for (std::size_t i = 0; i < 60; ++i) CHECK(net.bytes_of(i) <= 10 * 100'000);
    CHECK(net.run_until(10s, [&] { return net.roots_equal(); }));
    for (std::size_t i = 0; i < 60; ++i) {
      CHECK(net.at(i).fact_count() == net.at(0).fact_count());
    }
  }

  TEST_CASE("whoever announced before it knew anybody is heard once it does") {
    AnnouncementNetwork net = settled(60, 8);
    net.stop(59);
    net.run_for(100ms);
    net.start_alone(59);
    for (std::uint64_t b = 0; b < 20; ++b) net.announce(59, b);
    net.run_for(2s);
    net.meet_all(59);
    CHECK(net.run_until(1s, [&] { return net.all_know(59, 19); }));
  }

  TEST_CASE("a member relays only what comes from the origin itself, for its own row") {
    const Identity us = identity_of(1);
    Announcements core({cluster_key(), us.node_id(), 5, 1200, 1}, us, TimePoint{});
    std::vector<Identity> others;
    RelayPlan plan(cluster_key(), us.node_id());
    for (unsigned n = 2; n < 60; ++n) {
      others.push_back(identity_of(n));
      core.member_up(TimePoint{}, others.back().node_id(), 1, others.back().public_key());
      plan.add(others.back().node_id());
    }
    TimePoint now{};
    const auto relayed = [&] {
      now += 1s;
      core.handle_timeout(now);
      std::size_t count = 0;
      while (const auto message = core.poll_message()) {
        const auto decoded = decode_message(message->body);
        count += decoded && std::holds_alternative<Records>(*decoded) ? 1 : 0;
      }
      return count;
    };
    CHECK(relayed() == 0);
    const std::uint32_t rows = plan.rows();
    const auto mate = std::find_if(others.begin(), others.end(), [&](const Identity& other) {
      return plan.shares_row(other.node_id(), rows);
    });
    const auto far = std::find_if(others.begin(), others.end(), [&](const Identity& other) {
      return !plan.shares_row(other.node_id(), rows);
    });
    REQUIRE(mate != others.end());
    const auto second_mate = std::find_if(mate + 1, others.end(), [&](const Identity& other) {
      return plan.shares_row(other.node_id(), rows);
    });
    REQUIRE(second_mate != others.end());
    REQUIRE(far != others.end());
    const auto say = [&](const Identity& from, const Records& records) {
      core.handle_message(now, from.node_id(), encode(records));
    };
    say(*mate, one_log(mate->node_id(), 1, 1, {Have{Id64{1}}}, rows));
    CHECK(relayed() == plan.targets(rows, 3).size());
    say(*mate, one_log(mate->node_id(), 1, 2, {Have{Id64{2}}}));  // not to be relayed
    CHECK(relayed() == 0);
    say(*second_mate, one_log(mate->node_id(), 1, 3, {Have{Id64{3}}}, rows));  // not its origin
    CHECK(relayed() == 0);
    say(*far, one_log(far->node_id(), 1, 1, {Have{Id64{1}}}, rows));  // of another row
    CHECK(relayed() == 0);
    // Another R than ours is served as it says.
    say(*mate, one_log(mate->node_id(), 1, 4, {Have{Id64{4}}}, 1));
    CHECK(relayed() == plan.targets(1, 3).size());
    core.check_invariants();
  }
}
