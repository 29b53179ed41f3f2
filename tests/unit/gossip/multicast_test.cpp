// Datagrams to the cluster's group: joining through it, and whose announcements are read from it.
#include "base/limits.hpp"
#include "cluster.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/error.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/wire.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

const Endpoint group = Endpoint::v4(239, 255, 79, 47, 7947);
constexpr Boot stranger_boot = 0x77;

Bytes announcement_of(unsigned n, std::uint64_t seq) {
  const Records records = one_log(id_of(n), 1, seq, {DefinedHave{{Digest{}, 100 + seq}}});
  return encode(AnnouncementBody{encode(Message{records})});
}

std::vector<Transmit> drain(Gossip& gossip) {
  std::vector<Transmit> sent;
  while (auto transmit = gossip.poll_transmit()) sent.push_back(std::move(*transmit));
  while (gossip.poll_event()) {
  }
  gossip.check_invariants();
  return sent;
}

std::vector<Transmit> feed(Cluster& cluster, unsigned from, ByteView datagram) {
  cluster.at(0).handle_datagram(cluster.now, endpoint_of(from), datagram);
  return drain(cluster.at(0));
}

/// Node 0 in a cluster of its own, and node 7, played by the test.
struct Bench {
  Cluster cluster{{.nodes = 1}};
  PacketSeal seven{keys_of({1}), "waggle", id_of(7), stranger_boot};
  Bench() { cluster.start(0); }

  /// Node 7 becomes a member through this boot of its own.
  void join(PacketSeal& boot) {
    Ping ping;
    ping.seq = 1;
    ping.self = member_of(7);
    const auto reply = feed(cluster, 7, boot.seal(PacketType::ping, std::nullopt, encode(ping)));
    REQUIRE(reply.size() == 1);
    const auto opened = boot.open(reply.front().datagram);
    REQUIRE(opened.has_value());
    ping.echo = std::get<Ack>(*decode(PacketType::ack, opened->body)).cookie;
    const Destination to{id_of(0), opened->header.boot};
    feed(cluster, 7, boot.seal(PacketType::ping, to, encode(ping)));
    REQUIRE(cluster.sees(0, 7, MemberState::alive));
  }
  std::vector<Transmit> multicast(PacketSeal& boot, std::uint64_t seq) {
    return feed(cluster, 7,
                boot.seal(PacketType::announcement, std::nullopt, announcement_of(7, seq),
                          Cast::multicast));
  }
  std::size_t facts() { return cluster.at(0).stats().index_facts; }
};

}  // namespace

TEST_SUITE("gossip/multicast") {
  TEST_CASE("a PING and an ANNOUNCEMENT to the group open everywhere, nothing else may go there") {
    PacketSeal seal(keys_of({1}), "waggle", id_of(1), 1);
    const PacketSeal other(keys_of({1}), "waggle", id_of(2), 2);
    for (const PacketType type : {PacketType::ping, PacketType::announcement}) {
      Bytes packet = seal.seal(type, std::nullopt, as_bytes("x"), Cast::multicast);
      const auto opened = other.open(packet);
      REQUIRE(opened.has_value());
      CHECK(opened->header.multicast);
      CHECK_FALSE(opened->header.directed);
      packet[1] = static_cast<std::byte>(PacketType::app);
      CHECK(other.open(packet).error() == GossipError::malformed);
    }
    Bytes ping = seal.seal(PacketType::ping, std::nullopt, as_bytes("x"), Cast::multicast);
    for (const unsigned flags : {0U, 3U, 4U}) {
      ping[3] = static_cast<std::byte>(flags);
      CHECK_FALSE(other.open(ping).has_value());  // the flag is sealed in; two at once are none
    }
  }

  TEST_CASE("nodes that know nothing but the group become one cluster") {
    for (const std::size_t nodes : {2U, 3U, 12U, 40U}) {
      Cluster cluster({.nodes = nodes, .group = group});
      CAPTURE(nodes);
      for (std::size_t n = 0; n < nodes; ++n) cluster.start(n, {});
      CHECK(cluster.run_until([&] { return cluster.all_see_all(); }, 8s));
    }
  }

  TEST_CASE("a node alone asks the group each second, one with company every 30 s") {
    Cluster cluster({.nodes = 2, .group = group});
    cluster.keep_trace = true;
    const auto asked = [&](std::size_t node) {
      return std::count_if(cluster.trace.begin(), cluster.trace.end(),
                           [&](const auto& sent) { return sent.from == node && sent.to == group; });
    };
    cluster.start(0, {});
    cluster.run_for(10s);
    CHECK(asked(0) == 11);
    CHECK_FALSE(cluster.at(0).index_ready(cluster.now - 1s));  // a group is a hint
    cluster.start(1, {});
    cluster.run_for(5s);
    cluster.trace.clear();
    cluster.run_for(90s);
    CHECK(asked(0) == 3);
  }

  TEST_CASE("of many members some three answer a PING to the group, whoever they are") {
    constexpr std::size_t nodes = 40;
    Cluster cluster({.nodes = nodes});
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 20s));
    std::vector<std::size_t> answers(nodes);
    constexpr std::size_t rounds = 200;
    for (std::size_t round = 0; round < rounds; ++round) {
      PacketSeal seal(keys_of({1}), "waggle", id_of(77), round + 1);
      Ping ping;
      ping.seq = 1;
      ping.self = member_of(77);
      const Bytes datagram =
          seal.seal(PacketType::ping, std::nullopt, encode(ping), Cast::multicast);
      for (std::size_t n = 0; n < nodes; ++n) {
        cluster.at(n).handle_datagram(cluster.now, endpoint_of(77), datagram);
        answers[n] += drain(cluster.at(n)).size();
      }
    }
    const std::size_t all = std::accumulate(answers.begin(), answers.end(), std::size_t{0});
    CHECK(all > rounds * 5 / 2);
    CHECK(all < rounds * 7 / 2);
    CHECK(*std::max_element(answers.begin(), answers.end()) < 40);
  }

  TEST_CASE("an announcement to the group is read from a member with a session, once") {
    Bench bench;
    bench.join(bench.seven);
    const Bytes datagram = bench.seven.seal(PacketType::announcement, std::nullopt,
                                            announcement_of(7, 1), Cast::multicast);
    feed(bench.cluster, 7, datagram);
    CHECK(bench.facts() == 1);
    const auto replays = bench.cluster.at(0).stats().dropped_replay;
    CHECK(feed(bench.cluster, 7, datagram).empty());
    CHECK(bench.cluster.at(0).stats().dropped_replay == replays + 1);
  }

  TEST_CASE("questions of the repair are not taken from the group") {
    Bench bench;
    bench.join(bench.seven);
    const Bytes body = encode(AnnouncementBody{encode(Message{AePull{{{id_of(0), 1, 1}}}})});
    const auto malformed = bench.cluster.at(0).stats().dropped_malformed;
    CHECK(feed(bench.cluster, 7,
               bench.seven.seal(PacketType::announcement, std::nullopt, body, Cast::multicast))
              .empty());
    CHECK(bench.cluster.at(0).stats().dropped_malformed == malformed + 1);
  }

  TEST_CASE(
      "a member's unknown boot is asked for, once a second, and what it announced is dropped") {
    Bench bench;
    bench.join(bench.seven);
    PacketSeal restarted(keys_of({1}), "waggle", id_of(7), stranger_boot + 1);
    const auto sent = bench.multicast(restarted, 1);
    REQUIRE(sent.size() == 1);
    CHECK(sent.front().to == endpoint_of(7));
    const auto opened = restarted.open(sent.front().datagram);
    REQUIRE(opened.has_value());
    CHECK(opened->header.type == PacketType::ping);
    CHECK_FALSE(opened->header.directed);
    CHECK(bench.facts() == 0);
    for (std::uint64_t seq = 2; seq < 100; ++seq) CHECK(bench.multicast(restarted, seq).empty());
    bench.cluster.now += 1s;
    CHECK(bench.multicast(restarted, 100).size() == 1);

    // Its answer makes the session, and from then on it is read.
    const auto ping = std::get<Ping>(*decode(PacketType::ping, opened->body));
    Ack ack;
    ack.seq = ping.seq;
    ack.self = member_of(7);
    feed(bench.cluster, 7,
         restarted.seal(PacketType::ack, Destination{id_of(0), opened->header.boot}, encode(ack)));
    bench.multicast(restarted, 1);
    CHECK(bench.facts() == 1);
  }

  TEST_CASE("a stranger's announcement to the group gets no answer and changes nothing") {
    Bench bench;
    const auto before = bench.cluster.at(0).state_hash();
    CHECK(bench.multicast(bench.seven, 1).empty());
    PacketSeal foreign(keys_of({2}), "waggle", id_of(7), 1);
    CHECK(bench.multicast(foreign, 1).empty());
    CHECK(bench.cluster.at(0).state_hash() == before);
    CHECK(bench.facts() == 0);
  }

  TEST_CASE("boots of a thousand members are asked for at a bounded rate") {
    Bench bench;
    Ping ping;
    ping.seq = 2;
    bench.join(bench.seven);
    // Node 7 tells of many members: node 0 knows them, without a session.
    std::size_t asked = 0;
    for (unsigned n = 100; n < 1100; n += 10) {
      ping.news.clear();
      for (unsigned i = n; i < n + 10; ++i) ping.news.push_back({member_of(i), {}});
      ++ping.seq;
      feed(bench.cluster, 7, bench.seven.seal(PacketType::ping, std::nullopt, encode(ping)));
    }
    REQUIRE(bench.cluster.at(0).stats().alive > 900);
    for (unsigned n = 100; n < 1100; ++n) {
      PacketSeal seal(keys_of({1}), "waggle", id_of(n), n);
      asked += feed(bench.cluster, n,
                    seal.seal(PacketType::announcement, std::nullopt, announcement_of(n, 1),
                              Cast::multicast))
                   .size();
    }
    CHECK(asked == limits::boot_questions_per_second);
  }
}
