// Rolling upgrades: what the cluster speaks, and who shares no version with it.
#include "cluster.hpp"
#include "gossip/member_table.hpp"
#include "gossip/packet_seal.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

constexpr TimePoint start{};

Member speaking(unsigned n, unsigned version_min, unsigned version_max,
                MemberState state = MemberState::alive, std::uint64_t incarnation = 1) {
  Member member = member_of(n, state, incarnation);
  member.version_min = static_cast<std::uint8_t>(version_min);
  member.version_max = static_cast<std::uint8_t>(version_max);
  return member;
}

void set_versions(Cluster& cluster, std::size_t n, unsigned version_min, unsigned version_max) {
  cluster.node(n).version_min = static_cast<std::uint8_t>(version_min);
  cluster.node(n).version_max = static_cast<std::uint8_t>(version_max);
}

}  // namespace

TEST_SUITE("gossip/versions") {
  TEST_CASE("the cluster speaks the lowest of the highest versions of whoever is live") {
    MemberTable table(IdKey::for_cluster("waggle"), speaking(0, 1, 3));
    const auto apply = [&](const Member& member) {
      table.apply(start, member);
      table.check_invariants();
      return static_cast<int>(table.cluster_version());
    };
    CHECK(table.cluster_version() == 3);
    CHECK(apply(speaking(1, 1, 2)) == 2);
    CHECK(apply(speaking(2, 2, 9)) == 2);
    CHECK(apply(speaking(3, 1, 1)) == 1);
    CHECK(apply(speaking(3, 1, 1, MemberState::suspect)) == 1);
    CHECK(apply(speaking(3, 1, 1, MemberState::faulty)) == 2);
    CHECK(apply(speaking(1, 1, 3, MemberState::alive, 2)) == 3);
    CHECK(apply(speaking(3, 1, 3, MemberState::alive, 2)) == 3);
    CHECK(apply(speaking(1, 1, 2, MemberState::left, 3)) == 3);
  }

  TEST_CASE("an incompatible member is listed, and neither candidate nor asked for its version") {
    MemberTable table(IdKey::for_cluster("waggle"), speaking(0, 2, 3));
    table.apply(start, speaking(1, 1, 2));
    table.apply(start, speaking(2, 1, 1));
    table.apply(start, speaking(3, 4, 5, MemberState::suspect));
    table.check_invariants();
    CHECK(table.live().size() == 4);
    CHECK(table.candidates().size() == 2);
    CHECK(table.incompatible() == 2);
    CHECK(table.cluster_version() == 2);
    CHECK(table.find(id_of(1))->compatible);
    CHECK_FALSE(table.find(id_of(2))->compatible);
    CHECK_FALSE(table.find(id_of(3))->compatible);
    table.apply(start, speaking(2, 1, 2, MemberState::alive, 2));
    table.apply(start, speaking(3, 4, 5, MemberState::faulty));
    table.check_invariants();
    CHECK(table.incompatible() == 0);
    CHECK(std::ranges::equal(table.candidates(), table.live()));
  }

  TEST_CASE("candidates stay right while members drain, change version, come and go") {
    MemberTable table(IdKey::for_cluster("waggle"), speaking(0, 1, 2));
    Prng prng(8);
    std::uint64_t incarnation = 1;
    for (int i = 0; i < 3000; ++i) {
      Member member = speaking(1 + static_cast<unsigned>(prng.below(12)), 1, 2,
                               static_cast<MemberState>(prng.below(4)), ++incarnation);
      member.draining = prng.chance(0.1);
      if (prng.chance(0.1)) member.version_min = member.version_max = 7;
      table.apply(start + std::chrono::seconds(i), member);
      if (prng.chance(0.02)) table.expire(start + std::chrono::hours(prng.below(40)));
      table.check_invariants();
    }
  }

  TEST_CASE(
      "a rolling upgrade: version 2 is on when the last has it, and off for one that has not") {
    Cluster cluster({.nodes = 4});
    std::vector<std::vector<unsigned>> said(4);
    cluster.on_event = [&](std::size_t n, const GossipEvent& event) {
      if (const auto* change = std::get_if<VersionChanged>(&event)) {
        said[n].push_back(change->version);
      }
    };
    for (std::size_t n = 0; n < 4; ++n) set_versions(cluster, n, 1, 1);
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
    const auto all_speak = [&](unsigned version) {
      for (std::size_t n = 0; n < 4; ++n) {
        if (cluster.at(n).cluster_version() != version) return false;
      }
      return true;
    };
    for (std::size_t n = 0; n < 4; ++n) {
      CHECK(all_speak(1));
      cluster.on(n, [&](Gossip& gossip) { gossip.leave(cluster.now); });
      cluster.run_for(1s);
      cluster.crash(n);
      set_versions(cluster, n, 1, 2);
      cluster.start(n, {endpoint_of(0), endpoint_of(1)});
      REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 10s));
    }
    CHECK(cluster.run_until([&] { return all_speak(2); }, 3s));
    CHECK(said[0] == std::vector<unsigned>{1, 2});  // alone at first, it spoke its own highest
    // Back: one node of the old version comes.
    cluster.crash(3);
    set_versions(cluster, 3, 1, 1);
    cluster.start(3);
    CHECK(cluster.run_until([&] { return all_speak(1); }, 3s));
    CHECK(said[0] == std::vector<unsigned>{1, 2, 1});
  }

  TEST_CASE("to a member without a common version only probes go, and it is nobody's false death") {
    Cluster cluster({.nodes = 5});
    set_versions(cluster, 4, 3, 4);
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
    const Content blob{sha256_of(as_bytes("blob")), 1234};
    cluster.on(0, [&](Gossip& gossip) { gossip.announce(cluster.now, blob); });
    cluster.on(4, [&](Gossip& gossip) { gossip.announce(cluster.now, blob); });
    CHECK_FALSE(cluster.on(
        0, [&](Gossip& gossip) { return gossip.send_app(cluster.now, id_of(4), 1, {}); }));
    cluster.keep_trace = true;
    cluster.run_for(120s);
    std::size_t probes = 0;
    for (const auto& sent : cluster.trace) {
      if (sent.from == 4 || sent.to != endpoint_of(4)) continue;
      const auto type = static_cast<PacketType>(sent.datagram[1]);
      CHECK((type == PacketType::ping || type == PacketType::ack || type == PacketType::ping_req ||
             type == PacketType::nack));
      ++probes;
    }
    CHECK(probes > 100);
    for (std::size_t n = 0; n < 4; ++n) {
      CHECK(cluster.at(n).live().size() == 5);
      CHECK(cluster.at(n).stats().incompatible == 1);
      CHECK(cluster.at(n).registrar_candidates().size() == 4);
      CHECK(cluster.at(n).cluster_version() == 2);
      std::vector<NodeId> holders;
      cluster.at(n).holders(blob.digest, holders);
      CHECK(holders.size() == (n == 0 ? 0 : 1));
    }
    CHECK(cluster.at(4).registrar_candidates().size() == 1);
    CHECK(cluster.at(4).stats().incompatible == 4);
    // It dies like anybody else.
    cluster.crash(4);
    CHECK(cluster.run_until([&] { return cluster.all_see(4, MemberState::faulty); }, 30s));
    CHECK(cluster.at(0).stats().incompatible == 0);
  }
}
