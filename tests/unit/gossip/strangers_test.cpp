// What outsiders, recordings and damaged packets can do to a node: nothing. And how payloads wait
// for a session.
#include "base/limits.hpp"
#include "cluster.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/wire.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

/// Everything that must not move: members, index, timers.
std::string state_of(const Gossip& gossip) {
  MemberRecords all;
  for (const Member& member : gossip.members()) all.records.push_back({member, {}});
  Bytes state = encode(all);
  append_le(state, gossip.index_root());
  const auto timeout = gossip.poll_timeout();
  append_le(state, timeout ? static_cast<std::uint64_t>(timeout->time_since_epoch().count()) : 0);
  const GossipStats stats = gossip.stats();
  append_le(state, static_cast<std::uint64_t>(stats.index_digests));
  append_le(state, static_cast<std::uint64_t>(stats.tx_packets));
  std::array<std::byte, 32> hash{};
  blake2b(hash, state);
  return to_hex(hash);
}

struct Answer {
  std::size_t packets = 0;
  std::size_t bytes = 0;
  std::size_t events = 0;
};

/// Hands a datagram over, and takes (without delivering) what the node says to it.
Answer feed(Gossip& gossip, TimePoint now, const Endpoint& from, ByteView datagram) {
  gossip.handle_datagram(now, from, datagram);
  Answer answer;
  while (auto transmit = gossip.poll_transmit()) {
    ++answer.packets;
    answer.bytes += transmit->datagram.size();
  }
  while (gossip.poll_event()) ++answer.events;
  gossip.check_invariants();
  return answer;
}

/// A settled cluster of five and everything that was sent in it.
struct Recorded {
  Cluster cluster{{.nodes = 5}};
  std::vector<Cluster::Sent> recording;
  Recorded() {
    cluster.keep_trace = true;
    cluster.start_all();
    cluster.run_for(20s);
    recording = std::exchange(cluster.trace, {});
    cluster.keep_trace = false;
  }
};

}  // namespace

TEST_SUITE("gossip/strangers") {
  TEST_CASE("garbage, damaged and foreign packets get no answer and change nothing") {
    Recorded bench;
    Gossip& target = bench.cluster.at(1);
    const std::string before = state_of(target);
    Prng prng(11);
    for (std::size_t size = 0; size <= limits::datagram_bytes_max + 1; ++size) {
      Bytes garbage(size);
      for (std::byte& byte : garbage) byte = static_cast<std::byte>(prng.below(256));
      if (size > 3) garbage[0] = std::byte{wire_version};
      const Answer answer = feed(target, bench.cluster.now, endpoint_of(9), garbage);
      CHECK(answer.packets + answer.events == 0);
    }
    for (int i = 0; i < 3000; ++i) {
      const auto& sent =
          bench.recording[static_cast<std::size_t>(prng.below(bench.recording.size()))];
      Bytes damaged = sent.datagram;
      damaged[static_cast<std::size_t>(prng.below(damaged.size()))] ^=
          static_cast<std::byte>(1U << prng.below(8));
      const Answer answer = feed(target, bench.cluster.now, endpoint_of(9), damaged);
      CHECK(answer.packets + answer.events == 0);
    }
    PacketSeal foreign(keys_of({2}), "waggle", id_of(9), 1);
    Ping ping;
    ping.seq = 1;
    ping.self = member_of(9);
    CHECK(feed(target, bench.cluster.now, endpoint_of(9),
               foreign.seal(PacketType::ping, std::nullopt, encode(ping)))
              .packets == 0);
    PacketSeal other_cluster(keys_of({1}), "other", id_of(9), 1);
    CHECK(feed(target, bench.cluster.now, endpoint_of(9),
               other_cluster.seal(PacketType::ping, std::nullopt, encode(ping)))
              .packets == 0);
    CHECK(state_of(target) == before);
    CHECK(target.stats().dropped_unauthenticated > 2500);
  }

  TEST_CASE(
      "every recorded datagram, replayed to every node, costs at most one bounded answer and no "
      "state") {
    Recorded bench;
    for (std::size_t n = 0; n < 5; ++n) {
      Gossip& target = bench.cluster.at(n);
      const auto members = target.stats().alive;
      for (const Cluster::Sent& sent : bench.recording) {
        const Answer answer = feed(target, bench.cluster.now, endpoint_of(77), sent.datagram);
        CHECK(answer.packets <= 1);
        CHECK(answer.bytes <= sent.datagram.size() + 64);
        CHECK(answer.events == 0);
        const PacketSeal reader(keys_of({1}), "waggle", id_of(77), 1);
        if (!reader.open(sent.datagram).has_value()) CHECK(answer.packets == 0);  // directed
      }
      CHECK(target.stats().alive == members);
    }
    // The cluster does not notice.
    bench.cluster.run_for(30s);
    CHECK(bench.cluster.all_see_all());
  }

  TEST_CASE("recordings of an earlier run neither reach nor displace a restarted node") {
    Recorded bench;
    bench.cluster.crash(2);
    bench.cluster.start(2);
    bench.cluster.run_for(5s);
    REQUIRE(bench.cluster.all_see_all());
    for (std::size_t n = 0; n < 5; ++n) {
      Gossip& target = bench.cluster.at(n);
      const auto incarnation = target.find(id_of(2))->incarnation;
      for (const Cluster::Sent& sent : bench.recording) {
        const Answer answer = feed(target, bench.cluster.now, endpoint_of(77), sent.datagram);
        CHECK(answer.packets <= 1);
        CHECK(answer.events == 0);
      }
      CHECK(target.find(id_of(2))->incarnation == incarnation);
    }
    const auto faulty = [&] {
      return bench.cluster.at(0).stats().faulty + bench.cluster.at(0).stats().suspect;
    };
    bench.cluster.run_until([&] { return faulty() > 0; }, 30s);
    CHECK(faulty() == 0);
  }

  TEST_CASE(
      "a first PING gets one ACK with a cookie, only its echo makes a member, and only once") {
    Cluster cluster({.nodes = 1});
    cluster.start(0);
    Gossip& target = cluster.at(0);
    PacketSeal stranger(keys_of({1}), "waggle", id_of(7), 0x77);
    Ping ping;
    ping.seq = 5;
    ping.self = member_of(7);
    ping.news = {{member_of(8), {}}};
    const std::string before = state_of(target);
    target.handle_datagram(cluster.now, endpoint_of(7),
                           stranger.seal(PacketType::ping, std::nullopt, encode(ping)));
    const auto reply = target.poll_transmit();
    REQUIRE(reply.has_value());
    CHECK(reply->to == endpoint_of(7));
    CHECK_FALSE(target.poll_transmit().has_value());
    CHECK(target.members().size() == 1);
    CHECK(target.poll_event() == std::nullopt);

    const auto opened = stranger.open(reply->datagram);
    REQUIRE(opened.has_value());
    const auto ack = std::get<Ack>(*decode(PacketType::ack, opened->body));
    CHECK(ack.seq == 5);
    CHECK(ack.cookie != 0);
    CHECK(ack.self->id == id_of(0));
    const Destination to{id_of(0), opened->header.boot};

    ping.echo = ack.cookie + 1;
    CHECK(
        feed(target, cluster.now, endpoint_of(7), stranger.seal(PacketType::ping, to, encode(ping)))
            .packets == 1);
    CHECK(target.members().size() == 1);
    ping.echo = ack.cookie;
    // Undirected it proves nothing: it could be meant for any node.
    CHECK(feed(target, cluster.now, endpoint_of(7),
               stranger.seal(PacketType::ping, std::nullopt, encode(ping)))
              .packets == 1);
    CHECK(target.members().size() == 1);
    const Bytes proof = stranger.seal(PacketType::ping, to, encode(ping));
    CHECK(feed(target, cluster.now, endpoint_of(7), proof).packets >= 1);
    CHECK(target.members().size() == 3);
    CHECK(target.find(id_of(8)) != nullptr);  // news counts from now on
    CHECK(feed(target, cluster.now, endpoint_of(7), proof).packets == 0);
    CHECK(target.stats().dropped_replay == 1);
    CHECK(state_of(target) != before);
  }

  TEST_CASE("a PING that means another node, or lies about its id, is not answered") {
    Cluster cluster({.nodes = 1});
    cluster.start(0);
    PacketSeal stranger(keys_of({1}), "waggle", id_of(7), 0x77);
    Ping ping;
    ping.self = member_of(7);
    ping.to = id_of(3);
    CHECK(feed(cluster.at(0), cluster.now, endpoint_of(7),
               stranger.seal(PacketType::ping, std::nullopt, encode(ping)))
              .packets == 0);
    ping.to = id_of(0);
    ping.self = member_of(8);
    CHECK(feed(cluster.at(0), cluster.now, endpoint_of(7),
               stranger.seal(PacketType::ping, std::nullopt, encode(ping)))
              .packets == 0);
    ping.self.reset();
    CHECK(feed(cluster.at(0), cluster.now, endpoint_of(7),
               stranger.seal(PacketType::ping, std::nullopt, encode(ping)))
              .packets == 0);
  }

  TEST_CASE("an unasked ACK starts no session") {
    Recorded bench;
    Gossip& target = bench.cluster.at(0);
    // The insider knows the boot, but no PING of the target is open.
    const PacketSeal reader(keys_of({1}), "waggle", id_of(9), 0x99);
    std::optional<Boot> boot;
    for (const Cluster::Sent& sent : bench.recording) {
      if (sent.from == 0) boot = load_le<Boot>(ByteView(sent.datagram).subspan(12));
    }
    PacketSeal insider(keys_of({1}), "waggle", id_of(9), 0x99);
    Ack ack;
    ack.seq = 1'000'000;
    ack.self = member_of(9);
    const std::string before = state_of(target);
    CHECK(feed(target, bench.cluster.now, endpoint_of(9),
               insider.seal(PacketType::ack, Destination{id_of(0), *boot}, encode(ack)))
              .packets == 0);
    CHECK(state_of(target) == before);
    CHECK(target.stats().dropped_other > 0);
  }

  TEST_CASE(
      "without a session 16 payloads wait, the 17th drops, and all drop after a second of "
      "silence") {
    Cluster cluster({.nodes = 6});
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_see_all(); }, 3s));
    cluster.run_for(30s);
    // A restart leaves the others without node 5's boot.
    cluster.crash(5);
    cluster.start(5);
    cluster.run_until([&] { return cluster.at(1).find(id_of(5))->incarnation == 2; }, 3s);
    const auto dropped = [&] { return cluster.at(1).stats().dropped_other; };
    cluster.pause(5);
    cluster.run_for(1ms);
    const auto before = dropped();
    const auto send = [&](std::uint8_t kind) {
      return cluster.on(
          1, [&](Gossip& g) { return g.send_app(cluster.now, id_of(5), kind, as_bytes("x")); });
    };
    for (std::uint8_t kind = 0; kind < 17; ++kind) CHECK(send(kind));
    CHECK(dropped() <= before + 1);
    cluster.resume(5);
    cluster.run_for(20ms);
    const auto delivered = [&] {
      std::vector<std::uint8_t> kinds;
      for (const GossipEvent& event : cluster.node(5).events) {
        if (const auto* app = std::get_if<AppMessage>(&event)) kinds.push_back(app->kind);
      }
      return kinds;
    };
    CHECK(delivered().size() >= 16);
    CHECK(delivered().front() == 0);
  }

  TEST_CASE("a payload for a member that never answers is dropped after one second and counted") {
    Cluster cluster({.nodes = 2});
    cluster.start(0);
    // Node 0 hears of a node 9 that does not exist.
    cluster.start(1);
    cluster.run_for(3s);
    PacketSeal stranger(keys_of({1}), "waggle", id_of(7), 0x77);
    Ping ping;
    ping.seq = 1;
    ping.self = member_of(7);
    Gossip& target = cluster.at(0);
    target.handle_datagram(cluster.now, endpoint_of(7),
                           stranger.seal(PacketType::ping, std::nullopt, encode(ping)));
    const auto reply = target.poll_transmit();
    const auto opened = stranger.open(reply->datagram);
    ping.echo = std::get<Ack>(*decode(PacketType::ack, opened->body)).cookie;
    ping.news = {{member_of(9), {}}};
    feed(target, cluster.now, endpoint_of(7),
         stranger.seal(PacketType::ping, Destination{id_of(0), opened->header.boot}, encode(ping)));
    REQUIRE(target.find(id_of(9)) != nullptr);
    for (std::size_t i = 0; i < limits::parked_payloads_per_member + 1; ++i) {
      CHECK(target.send_app(cluster.now, id_of(9), 1, as_bytes("x")));
    }
    const auto before = target.stats().dropped_other;
    CHECK(before >= 1);  // one beyond the limit
    cluster.run_for(1s);
    CHECK(target.stats().dropped_other >= before + limits::parked_payloads_per_member);
  }

  TEST_CASE("payloads up to the stated maximum fit one datagram") {
    Recorded bench;
    const std::size_t most = bench.cluster.at(0).app_payload_bytes_max();
    CHECK(most >= 1290);
    bench.cluster.keep_trace = true;
    CHECK(bench.cluster.on(
        0, [&](Gossip& g) { return g.send_app(bench.cluster.now, id_of(3), 200, Bytes(most)); }));
    bench.cluster.run_for(10ms);
    std::size_t largest = 0;
    for (const Cluster::Sent& sent : bench.cluster.trace)
      largest = std::max(largest, sent.datagram.size());
    CHECK(largest <= limits::datagram_bytes_max - limits::ip_udp_header_bytes);
    CHECK(largest >= most + seal_bytes);
    const auto* app = std::get_if<AppMessage>(&bench.cluster.node(3).events.back());
    REQUIRE(app != nullptr);
    CHECK(app->payload.size() == most);
    CHECK(app->kind == 200);
    CHECK(app->from == id_of(0));
  }
}
