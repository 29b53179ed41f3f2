// What a member that holds the key can do with garbage and floods: bounded answers, bounded tables.
#include "../mutate.hpp"
#include "base/limits.hpp"
#include "cluster.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/member_table.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/send_budget.hpp"
#include "gossip/wire.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int mutation_count = 10'000;
#else
constexpr int mutation_count = 100'000;
#endif

struct Answers {
  std::size_t packets = 0, bytes = 0, bulk_bytes = 0, events = 0;
};

Answers drain(Gossip& gossip) {
  Answers answers;
  while (auto transmit = gossip.poll_transmit()) {
    ++answers.packets;
    answers.bytes += transmit->datagram.size();
  }
  while (auto event = gossip.poll_event()) {
    ++answers.events;
    if (const auto* bulk = std::get_if<BulkSend>(&*event)) answers.bulk_bytes += bulk->frame.size();
  }
  return answers;
}

/// Node 0 of a settled cluster of three, and member 9, which has the key, a session and no manners.
struct Insider {
  static constexpr Boot boot = 0x9999;

  Insider() {
    cluster.start_all();
    cluster.run_for(5s);
    for (std::size_t n = 0; n < 3; ++n) {
      const Content content{sha256_of(as_bytes("content " + std::to_string(n))), 1000 + n};
      cluster.on(n, [&](Gossip& gossip) { gossip.announce(cluster.now, content); });
    }
    cluster.run_for(5s);
    Ping ping = introduction();
    target().handle_datagram(cluster.now, endpoint_of(9),
                             seal.seal(PacketType::ping, std::nullopt, encode(ping)));
    const auto opened = seal.open(target().poll_transmit()->datagram);
    to = Destination{id_of(0), opened->header.boot};
    ping.echo = std::get<Ack>(*decode(PacketType::ack, opened->body)).cookie;
    send(ping);
    REQUIRE(target().find(id_of(9)) != nullptr);
    drain(target());
  }

  [[nodiscard]] Ping introduction() {
    Ping ping;
    ping.seq = ++seq;
    ping.self = member_of(9);
    return ping;
  }
  Gossip& target() { return cluster.at(0); }
  void send(PacketType type, ByteView body) {
    target().handle_datagram(cluster.now, endpoint_of(9), seal.seal(type, to, body));
  }
  void send(const GossipMessage& message) { send(type_of(message), encode(message)); }
  void send(const Message& message) { send(GossipMessage{AnnouncementBody{encode(message)}}); }

  Cluster cluster{{.nodes = 3}};
  PacketSeal seal{keys_of({1}), "waggle", id_of(9), boot};
  std::optional<Destination> to;
  std::uint64_t seq = 0;
};

/// One valid message of every kind, for mutation.
std::vector<std::pair<PacketType, Bytes>> samples(Insider& insider) {
  const std::uint64_t incarnation = insider.target().find(id_of(1))->incarnation;
  Ping ping = insider.introduction();
  ping.news = {{member_of(1, MemberState::suspect), id_of(9)}, {member_of(40), {}}};
  Ack ack;
  ack.seq = 3;
  ack.self = member_of(9);
  ack.news = {{member_of(2, MemberState::faulty), {}}};
  MemberHashes hashes;
  hashes.want_hashes = true;
  const Definition definition{sha256_of(as_bytes("x")), 4096};
  const std::vector<GossipMessage> plain = {
      ping,
      ack,
      PingReq{7, id_of(1)},
      Nack{8},
      hashes,
      MemberRecords{true, {{member_of(41), {}}, {member_of(1, MemberState::left), {}}}},
      App{1, Bytes(40, std::byte{7})}};
  const std::vector<Message> logs = {
      one_log(id_of(9), 1, 1, {Have{Id64{5}}, DefinedHave{definition}, Drop{Id64{6}}, Base{}}),
      AeRoot{17, false},
      only_state({id_of(1), incarnation, 2, 3, 1}),
      AeBuckets{},
      AePull{{range(id_of(1), incarnation, 1)}},
      DefinitionPull{{Id64{1}, Id64{2}}},
      Definitions{{definition}}};
  std::vector<std::pair<PacketType, Bytes>> out;
  for (const GossipMessage& message : plain) out.emplace_back(type_of(message), encode(message));
  for (const Message& message : logs) {
    out.emplace_back(PacketType::announcement, encode(AnnouncementBody{encode(message)}));
  }
  return out;
}

SnapshotPart snapshot_part() {
  SnapshotPart part{{false, 0}, 0, 7, 1, {{NodeRef{id_of(9)}, 1, 1, 7}}, {}, {}};
  SnapshotPacker packer(1, 100);
  const std::uint64_t holders = 1;
  CHECK(packer.append({Definition{sha256_of(as_bytes("z")), 4096}, {}, {&holders, 1}}));
  part.entries = packer.take();
  return part;
}

std::vector<Bytes> bulk_samples() {
  const Definition definition{sha256_of(as_bytes("y")), 4096};
  std::vector<Bytes> out;
  for (const BulkMessage& message : std::vector<BulkMessage>{
           SetPull{{id_of(0), id_of(1)}}, SetData{id_of(9), 1, 9, 77, 0, 1, {Id64{1}, Id64{2}}, {}},
           SetNone{id_of(1)}, SnapshotPull{{false, 0}, 0}, SnapshotPull{{true, 5}, 7},
           snapshot_part(), SnapshotNone{}, DefinitionPull{{Id64{1}}}, Definitions{{definition}}}) {
    Bytes frame{std::byte{0}};
    append(frame, encode_bulk(message));
    out.push_back(std::move(frame));
  }
  out.push_back(Bytes(9, std::byte{1}));
  out.push_back(Bytes(9, std::byte{2}));
  return out;
}

/// No longer than the longest datagram.
Bytes mutated(const Bytes& bytes, Prng& prng) {
  Bytes changed = waggle::testing::mutate(bytes, prng);
  constexpr std::size_t headers = 100;  // IPv6, UDP and the packet's own
  changed.resize(std::min(changed.size(), limits::datagram_bytes_max - headers));
  return changed;
}

}  // namespace

TEST_SUITE("gossip/floods") {
  TEST_CASE("packets and announcements of kinds that are not known are counted, and no more") {
    Insider insider;
    const GossipStats before = insider.target().stats();
    const std::uint64_t root = insider.target().index_root();
    const std::uint64_t state = insider.target().state_hash();
    for (unsigned type = 9; type <= 255; ++type) {
      insider.send(static_cast<PacketType>(type), Bytes{std::byte{0x91}, std::byte{1}});
      CHECK(drain(insider.target()).packets == 0);
    }
    CHECK(insider.target().stats().dropped_unknown_type == before.dropped_unknown_type + 247);
    // The same from who is no member: it has no session, and learns nothing.
    PacketSeal stranger(keys_of({1}), "waggle", id_of(8), 0x8888);
    insider.target().handle_datagram(
        insider.cluster.now, endpoint_of(8),
        stranger.seal(static_cast<PacketType>(9), insider.to, Bytes{std::byte{0x90}}));
    CHECK(drain(insider.target()).packets == 0);
    for (unsigned kind = 32; kind < 128; ++kind) {
      insider.send(GossipMessage{
          AnnouncementBody{Bytes{std::byte{0x92}, static_cast<std::byte>(kind), std::byte{1}}}});
      const Answers answers = drain(insider.target());
      CHECK(answers.packets + answers.events == 0);
    }
    CHECK(insider.target().index_root() == root);
    CHECK(insider.target().state_hash() == state);
    insider.target().check_invariants();
    // It is still listened to.
    insider.send(PingReq{5, id_of(40)});
    CHECK(drain(insider.target()).packets == 1);
  }

  TEST_CASE(
      "mutations of every message by a member trip nothing and grow nothing past its bounds") {
    Insider insider;
    Gossip& target = insider.target();
    const auto messages = samples(insider);
    const auto frames = bulk_samples();
    Prng prng(3);
    for (int i = 0; i < mutation_count; ++i) {
      if (prng.below(8) == 0) {
        const Bytes& frame = frames[static_cast<std::size_t>(prng.below(frames.size()))];
        target.handle_bulk(insider.cluster.now, id_of(9), mutated(frame, prng));
      } else {
        const auto& [type, body] = messages[static_cast<std::size_t>(prng.below(messages.size()))];
        insider.send(type, mutated(body, prng));
      }
      const Answers answers = drain(target);
      CHECK(answers.packets <= 64);
      if (i % 1000 == 0) {
        target.check_invariants();
        insider.cluster.now += 50ms;
        target.handle_timeout(insider.cluster.now);
        drain(target);
      }
    }
    target.check_invariants();
    CHECK(target.find(id_of(0))->state == MemberState::alive);
    CHECK(target.stats().dropped_malformed > static_cast<std::uint64_t>(mutation_count) / 4);
    // Whatever it now thinks of others, the cluster talks it out of that.
    CHECK(insider.cluster.run_until(
        [&] { return insider.cluster.all_see_all() && insider.cluster.roots_agree(); }, 120s));
  }

  TEST_CASE("introductions_per_second first PINGs are answered, the next one is not until later") {
    Cluster cluster({.nodes = 1});
    cluster.start(0);
    Gossip& target = cluster.at(0);
    drain(target);
    PacketSeal stranger(keys_of({1}), "waggle", id_of(7), 0x77);
    Ping ping;
    ping.seq = 5;
    ping.self = member_of(7);
    const Bytes recorded = stranger.seal(PacketType::ping, std::nullopt, encode(ping));
    Answers answers;
    const auto replay = [&](std::size_t times) {
      const std::size_t before = answers.packets;
      for (std::size_t i = 0; i < times; ++i) {
        target.handle_datagram(cluster.now, endpoint_of(77), recorded);
        answers.packets += drain(target).packets;
      }
      return answers.packets - before;
    };
    CHECK(replay(limits::introductions_per_second) == limits::introductions_per_second);
    CHECK(replay(5000) == 0);
    CHECK(target.stats().dropped_over_rate == 5000);
    CHECK(target.members().size() == 1);
    cluster.now += 500ms;
    CHECK(replay(5000) == limits::introductions_per_second / 2);
  }

  TEST_CASE("questions about the index are answered at a rate, and asked again succeed later") {
    Insider insider;
    Gossip& target = insider.target();
    for (std::uint32_t i = 0; i < limits::log_records_per_origin_max; ++i) {
      target.announce(insider.cluster.now, {sha256_of(as_bytes(std::to_string(i))), i});
    }
    drain(target);
    const std::uint64_t incarnation = target.find(id_of(0))->incarnation;
    const Message everything = AePull{{range(id_of(0), incarnation, 2)}};
    const auto ask_for = [&](Duration time) {
      const TimePoint end = insider.cluster.now + time;
      std::size_t bytes = 0;
      for (; insider.cluster.now < end; insider.cluster.now += 10ms) {
        for (int i = 0; i < 20; ++i) insider.send(everything);
        bytes += drain(target).bytes;
      }
      return static_cast<double>(bytes);
    };
    const double burst = ask_for(1s);
    CHECK(burst >= SendBudget::hard_bytes_per_second / 2);
    CHECK(burst <= 256 * 1024.0);
    const double then = ask_for(2s);
    CHECK(then <= 2.1 * SendBudget::hard_bytes_per_second);
    // Once the flood is over the next question is answered.
    for (int i = 0; i < 100; ++i) {
      insider.cluster.now += 100ms;
      target.handle_timeout(insider.cluster.now);
      drain(target);
    }
    insider.send(Message{AeRoot{1, false}});
    CHECK(drain(target).packets > 0);
  }

  TEST_CASE(
      "set_pulls_served_per_second sets are walked, the next question is told to ask elsewhere") {
    Insider insider;
    Gossip& target = insider.target();
    Bytes frame{std::byte{0}};
    append(frame, encode_bulk(SetPull{{id_of(1)}}));
    std::size_t sets = 0;
    std::size_t refusals = 0;
    for (std::size_t i = 0; i < limits::set_pulls_served_per_second + 10; ++i) {
      target.handle_bulk(insider.cluster.now, id_of(9), frame);
      while (auto event = target.poll_event()) {
        const auto* bulk = std::get_if<BulkSend>(&*event);
        if (bulk == nullptr) continue;
        const auto answer = decode_bulk(ByteView(bulk->frame).subspan(1));
        REQUIRE(answer.has_value());
        ++(std::holds_alternative<SetNone>(*answer) ? refusals : sets);
      }
    }
    CHECK(sets == limits::set_pulls_served_per_second);
    CHECK(refusals == 10);
  }

  TEST_CASE("relayed_probes_max probes are run for others, the next asker is told so at once") {
    Insider insider;
    const auto ask = [&] {
      insider.send(GossipMessage{PingReq{++insider.seq, id_of(1)}});
      return drain(insider.target()).packets;
    };
    std::size_t sent = 0;
    for (std::size_t i = 0; i < limits::relayed_probes_max; ++i) sent += ask();
    CHECK(sent == limits::relayed_probes_max);  // one PING each
    const auto before = insider.target().stats().tx_bytes;
    CHECK(ask() == 1);  // a NACK: smaller than any PING
    CHECK(insider.target().stats().tx_bytes - before < seal_bytes + 16);
    insider.target().check_invariants();
  }

  TEST_CASE("repair_records_per_second member records are given out, then none until later") {
    Insider insider;
    Gossip& target = insider.target();
    MemberHashes differing;
    differing.hashes.fill(1);
    std::size_t answered = 0;
    for (std::size_t i = 0; i < limits::repair_records_per_second; ++i) {
      insider.send(GossipMessage{differing});
      answered += drain(target).packets;
    }
    // Four members differ each time.
    CHECK(answered <= limits::repair_records_per_second / 4 + 1);
    CHECK(answered >= limits::repair_records_per_second / 4 - 1);
    insider.cluster.now += 10ms;
    insider.send(GossipMessage{differing});
    CHECK(drain(target).packets == 1);
  }

  TEST_CASE("a datagram of the largest size is looked at, one byte more is not") {
    Cluster cluster({.nodes = 1});
    cluster.start(0);
    Gossip& target = cluster.at(0);
    target.handle_datagram(cluster.now, endpoint_of(7), Bytes(limits::datagram_bytes_max));
    CHECK(target.stats().dropped_malformed == 1);
    PacketSeal stranger(keys_of({1}), "waggle", id_of(7), 0x77);
    const Bytes most(limits::datagram_bytes_max - seal_bytes);
    Bytes longest = stranger.seal(PacketType::ping, std::nullopt, most);
    target.handle_datagram(cluster.now, endpoint_of(7), longest);
    longest.back() ^= std::byte{1};
    target.handle_datagram(cluster.now, endpoint_of(7), longest);
    CHECK(target.stats().dropped_unauthenticated == 1);  // opened, so it was looked at
    longest.push_back(std::byte{0});
    target.handle_datagram(cluster.now, endpoint_of(7), longest);
    CHECK(target.stats().dropped_unauthenticated == 1);
    CHECK(target.stats().dropped_malformed == 3);
  }

  TEST_CASE("members_max members are known, one more is refused, and those known still change") {
    MemberTable table(IdKey::for_cluster("waggle"), member_of(0));
    Member claim = member_of(1);
    for (std::uint32_t i = 1; i < limits::members_max; ++i) {
      store_le(MutableByteView(claim.id.bytes), i);
      CHECK(table.apply(TimePoint{}, claim) == MemberTable::Outcome::added);
    }
    store_le(MutableByteView(claim.id.bytes), std::uint32_t{limits::members_max});
    CHECK(table.apply(TimePoint{}, claim) == MemberTable::Outcome::refused);
    CHECK(table.members().size() == limits::members_max);
    store_le(MutableByteView(claim.id.bytes), std::uint32_t{1});
    claim.state = MemberState::suspect;
    CHECK(table.apply(TimePoint{}, claim) == MemberTable::Outcome::changed);
  }
}
