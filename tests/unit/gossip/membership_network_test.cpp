// Stories of a small cluster in virtual time.
#include "cluster.hpp"
#include "gossip/suspicion.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

template <typename Event>
std::size_t count_events(const Cluster::Node& node) {
  std::size_t count = 0;
  for (const GossipEvent& event : node.events)
    count += std::holds_alternative<Event>(event) ? 1 : 0;
  return count;
}

}  // namespace

TEST_SUITE("gossip/network") {
  TEST_CASE("nodes that start at once all see each other within 3 s") {
    for (const std::size_t nodes : {2, 5, 20}) {
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        CAPTURE(nodes);
        CAPTURE(seed);
        Cluster cluster({.nodes = nodes, .seed = seed});
        cluster.start_all();
        CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
      }
    }
  }

  TEST_CASE("a joiner knows a standing cluster within a few round trips") {
    Cluster cluster({.nodes = 20});
    for (std::size_t n = 0; n < 19; ++n) cluster.start(n);
    cluster.run_for(10s);
    cluster.start(19);
    CHECK(cluster.run_until([&] { return cluster.at(19).live().size() == 20; }, 5ms));
    CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
  }

  TEST_CASE(
      "a killed node is faulty everywhere, no sooner than the shortest suspicion and soon after "
      "it") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      CAPTURE(seed);
      Cluster cluster({.nodes = 10, .seed = seed});
      cluster.start_all();
      cluster.run_for(10s);
      cluster.crash(3);
      CHECK_FALSE(cluster.run_until([&] { return cluster.all_see(3, MemberState::faulty); },
                                    Suspicion::min_timeout(10)));
      CHECK(cluster.run_until([&] { return cluster.all_see(3, MemberState::faulty); }, 10s));
      CHECK(cluster.at(0).live().size() == 9);
      CHECK(cluster.at(0).stats().faulty == 1);
    }
  }

  TEST_CASE("a node that comes back with a higher incarnation is alive again at once") {
    Cluster cluster({.nodes = 5});
    cluster.start_all();
    cluster.run_for(5s);
    cluster.crash(2);
    CHECK(cluster.run_until([&] { return cluster.all_see(2, MemberState::faulty); }, 30s));
    cluster.start(2);
    CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
  }

  TEST_CASE("a restart within the suspicion changes boots without anybody declaring it faulty") {
    Cluster cluster({.nodes = 5});
    cluster.start_all();
    cluster.run_for(5s);
    cluster.crash(2);
    cluster.run_for(1500ms);
    cluster.start(2);
    CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
    cluster.run_for(30s);
    CHECK(cluster.all_see_all());
    for (std::size_t n = 0; n < 5; ++n) {
      for (const GossipEvent& event : cluster.node(n).events) {
        const auto* change = std::get_if<MemberChanged>(&event);
        CHECK((change == nullptr || change->state != MemberState::faulty));
      }
    }
    // Payloads flow again both ways.
    CHECK(cluster.on(
        0, [&](Gossip& g) { return g.send_app(cluster.now, id_of(2), 9, as_bytes("hi")); }));
    CHECK(cluster.on(
        2, [&](Gossip& g) { return g.send_app(cluster.now, id_of(0), 9, as_bytes("hi")); }));
    cluster.run_for(50ms);
    CHECK(count_events<AppMessage>(cluster.node(2)) == 1);
    CHECK(count_events<AppMessage>(cluster.node(0)) == 1);
  }

  TEST_CASE("a node that was paused refutes the suspicion and condemns nobody") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      CAPTURE(seed);
      Cluster cluster({.nodes = 10, .seed = seed});
      cluster.start_all();
      cluster.run_for(10s);
      cluster.pause(4);
      cluster.run_until([&] { return cluster.sees(0, 4, MemberState::suspect); }, 20s);
      REQUIRE(cluster.sees(0, 4, MemberState::suspect));
      cluster.run_for(2s);
      cluster.resume(4);
      CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 4s));
      CHECK(count_events<IncarnationRaised>(cluster.node(4)) >= 1);
      cluster.run_for(30s);
      CHECK(cluster.all_see_all());
      for (std::size_t n = 0; n < 10; ++n) CHECK(cluster.at(n).find(id_of(0))->incarnation == 1);
    }
  }

  TEST_CASE("a partition splits the views and heals within a rejoin round") {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      CAPTURE(seed);
      Cluster cluster({.nodes = 12, .seed = seed});
      cluster.start_all();
      cluster.run_for(10s);
      cluster.partition({0, 1, 2, 3});
      cluster.run_for(60s);
      CHECK(cluster.at(0).live().size() == 4);
      CHECK(cluster.at(7).live().size() == 8);
      cluster.heal();
      CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 60s));
      cluster.run_for(60s);
      CHECK(cluster.all_see_all());
    }
  }

  TEST_CASE("a partition heals also while hints that lead nowhere new are renewed all the time") {
    Cluster cluster({.nodes = 4});
    cluster.start_all();
    cluster.run_for(5s);
    cluster.partition({0, 1});
    cluster.run_for(60s);
    REQUIRE(cluster.at(0).live().size() == 2);
    cluster.heal();
    const auto healed = [&] { return cluster.all_see_all(); };
    for (int i = 0; i < 12 && !healed(); ++i) {
      for (const std::size_t n : {0, 1}) {
        cluster.on(n,
                   [&](Gossip& g) { g.set_hints(cluster.now, {endpoint_of(0), endpoint_of(1)}); });
      }
      for (const std::size_t n : {2, 3}) {
        cluster.on(n,
                   [&](Gossip& g) { g.set_hints(cluster.now, {endpoint_of(2), endpoint_of(3)}); });
      }
      cluster.run_until(healed, 10s);
    }
    CHECK(healed());
  }

  TEST_CASE("leaving is seen as left at once, and the departed may still be talked to") {
    Cluster cluster({.nodes = 8});
    cluster.start_all();
    cluster.run_for(10s);
    cluster.on(5, [&](Gossip& g) { g.leave(cluster.now); });
    CHECK(cluster.run_until([&] { return cluster.all_see(5, MemberState::left); }, 10ms));
    CHECK(cluster.at(0).stats().left == 1);
    CHECK_FALSE(cluster.on(0, [&](Gossip& g) { return g.send_app(cluster.now, id_of(5), 1, {}); }));
    CHECK(cluster.on(5, [&](Gossip& g) { return g.send_app(cluster.now, id_of(0), 1, {}); }));
    cluster.run_for(30s);
    CHECK(count_events<AppMessage>(cluster.node(0)) == 1);
    CHECK(cluster.all_see(5, MemberState::left));
    cluster.crash(5);
    cluster.start(5);
    CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
  }

  TEST_CASE("draining takes a node out of the candidates everywhere") {
    Cluster cluster({.nodes = 5});
    cluster.start_all();
    cluster.run_for(5s);
    cluster.on(1, [&](Gossip& g) { g.set_draining(cluster.now, true); });
    CHECK(cluster.at(1).registrar_candidates().size() == 4);
    cluster.run_for(3s);
    for (std::size_t n = 0; n < 5; ++n) {
      CHECK(cluster.at(n).registrar_candidates().size() == 4);
      CHECK(cluster.at(n).live().size() == 5);
    }
  }

  TEST_CASE("no node dies at 5 % loss in ten minutes") {
    Cluster cluster({.nodes = 10, .seed = 9, .loss = 0.05});
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 10s));
    cluster.run_for(600s);
    for (std::size_t n = 0; n < 10; ++n) {
      CHECK(cluster.at(n).stats().faulty == 0);
      CHECK(cluster.at(n).live().size() == 10);
    }
  }

  TEST_CASE("an idle node sends at most 1 KB and 12 packets per second") {
    Cluster cluster({.nodes = 20});
    cluster.start_all();
    cluster.run_for(30s);
    const GossipStats before = cluster.at(3).stats();
    cluster.run_for(60s);
    const GossipStats after = cluster.at(3).stats();
    const auto bytes = static_cast<double>(after.tx_bytes - before.tx_bytes) / 60;
    const auto packets = static_cast<double>(after.tx_packets - before.tx_packets) / 60;
    MESSAGE("idle node: " << bytes << " B/s, " << packets << " packets/s");
    CHECK(bytes + 48 * packets <= 1024);
    CHECK(packets <= 12);
  }

  TEST_CASE("two runs with one seed send the same bytes at the same times, another seed does not") {
    const auto trace_of = [](std::uint64_t seed) {
      Cluster cluster({.nodes = 6, .seed = seed, .loss = 0.02});
      cluster.keep_trace = true;
      cluster.start_all();
      cluster.on(1, [&](Gossip& g) { g.announce(cluster.now, {sha256_of(as_bytes("blob")), 4}); });
      cluster.run_for(10s);
      cluster.crash(2);
      cluster.run_for(15s);
      return cluster.trace;
    };
    CHECK(trace_of(5) == trace_of(5));
    CHECK_FALSE(trace_of(5) == trace_of(6));
  }

  TEST_CASE(
      "announcements reach everybody, holders agree, and the dead and the departed hold nothing") {
    for (const double loss : {0.0, 0.05}) {
      Cluster cluster({.nodes = 8, .seed = 3, .loss = loss});
      cluster.start_all();
      cluster.run_for(5s);
      const Content blob{sha256_of(as_bytes("blob")), 1234};
      for (const std::size_t n : {1, 2, 6}) {
        cluster.on(n, [&](Gossip& g) { g.announce(cluster.now, blob); });
      }
      const auto holders = [&](std::size_t n) {
        std::vector<NodeId> ids;
        cluster.at(n).holders(blob.digest, ids);
        return std::set<NodeId>(ids.begin(), ids.end());
      };
      const auto agreed = [&](std::size_t count) {
        for (const std::size_t n : {0, 3, 4, 5, 7}) {
          if (!cluster.is_running(n)) continue;
          if (holders(n).size() != count || cluster.at(n).content_size(blob.digest) != 1234)
            return false;
        }
        return true;
      };
      CHECK(cluster.run_until([&] { return agreed(3) && cluster.roots_agree(); }, 15s));
      CHECK(holders(1).size() == 2);
      CHECK(cluster.at(7).index_ready(cluster.now));
      cluster.on(6, [&](Gossip& g) { g.withdraw(cluster.now, blob.digest); });
      CHECK(cluster.run_until([&] { return agreed(2); }, 15s));
      cluster.on(2, [&](Gossip& g) { g.leave(cluster.now); });
      CHECK(cluster.run_until([&] { return agreed(1); }, 5s));
      cluster.crash(1);
      // Whoever has left is told nothing any more.
      const auto gone = [&] {
        for (const std::size_t n : {0, 3, 4, 5, 6, 7}) {
          if (!cluster.sees(n, 1, MemberState::faulty) || !holders(n).empty()) return false;
        }
        return true;
      };
      CHECK(cluster.run_until(gone, 40s));
    }
  }

  TEST_CASE("the index is ready at once without hints, after a match or after 10 s") {
    Cluster cluster({.nodes = 3});
    cluster.start(0);
    CHECK(cluster.at(0).index_ready(cluster.now));
    cluster.start(1, {endpoint_of(2)});
    CHECK_FALSE(cluster.at(1).index_ready(cluster.now));
    cluster.run_for(9s);
    CHECK_FALSE(cluster.at(1).index_ready(cluster.now));
    cluster.run_for(1s);
    CHECK(cluster.at(1).index_ready(cluster.now));
    cluster.start(2, {endpoint_of(0)});
    CHECK(cluster.run_until([&] { return cluster.at(2).index_ready(cluster.now); }, 5s));
  }

  TEST_CASE("keys rotate without anybody dying and without a packet dropped for its key") {
    Cluster cluster({.nodes = 4});
    cluster.start_all();
    cluster.run_for(5s);
    for (const KeyRing& ring : {keys_of({1, 2}), keys_of({2, 1}), keys_of({2})}) {
      for (std::size_t n = 0; n < 4; ++n) {
        cluster.on(n, [&](Gossip& gossip) { gossip.set_keys(cluster.now, ring); });
        cluster.run_for(1s);
      }
      cluster.run_for(20s);
      CHECK(cluster.all_see_all());
    }
    for (std::size_t n = 0; n < 4; ++n) {
      CHECK(cluster.at(n).stats().faulty == 0);
      CHECK(cluster.at(n).stats().dropped_unknown_key == 0);
      CHECK(cluster.at(n).stats().dropped_unauthenticated == 0);
    }
  }

  TEST_CASE("which keys a member holds is known to all soon after it changed, restarts included") {
    Cluster cluster({.nodes = 6});
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 10s));
    const auto all_know = [&](std::size_t subject, const KeyNames& names) {
      return cluster.run_until(
          [&] {
            for (std::size_t n = 0; n < 6; ++n) {
              const Member* member = cluster.at(n).find(id_of(static_cast<unsigned>(subject)));
              if (member == nullptr || member->keys != names) return false;
            }
            return true;
          },
          5s);
    };
    CHECK(all_know(3, names_of(keys_of({1}))));
    const std::uint64_t before = cluster.at(0).find(id_of(3))->incarnation;
    for (std::size_t n = 0; n < 6; ++n) {
      cluster.on(n, [&](Gossip& gossip) { gossip.set_keys(cluster.now, keys_of({1, 2})); });
    }
    CHECK(all_know(3, names_of(keys_of({1, 2}))));
    cluster.on(3, [&](Gossip& gossip) { gossip.set_keys(cluster.now, keys_of({2, 1})); });
    CHECK(all_know(3, names_of(keys_of({2, 1}))));
    // The same ring once more is no news.
    CHECK(cluster.at(0).find(id_of(3))->incarnation == before + 2);
    cluster.on(3, [&](Gossip& gossip) { gossip.set_keys(cluster.now, keys_of({2, 1})); });
    cluster.run_for(5s);
    CHECK(cluster.at(0).find(id_of(3))->incarnation == before + 2);
    cluster.crash(5);
    cluster.keys = keys_of({1, 2});
    cluster.run_for(1s);
    cluster.start(5);
    CHECK(all_know(5, names_of(keys_of({1, 2}))));
  }

  TEST_CASE("a node that alone has another key stays alone") {
    Cluster cluster({.nodes = 3});
    cluster.start(0);
    cluster.start(1);
    cluster.keys = keys_of({7});
    cluster.start(2);
    cluster.run_for(20s);
    CHECK(cluster.at(2).live().size() == 1);
    CHECK(cluster.at(0).live().size() == 2);
    CHECK(cluster.at(0).stats().dropped_unknown_key > 0);
    CHECK(cluster.at(0).stats().dropped_unauthenticated == 0);
    CHECK(cluster.at(2).stats().rx_packets == 0);
  }
}
