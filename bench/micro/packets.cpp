// What a datagram costs: sealing, opening, decoding, and applying announcements.
#include "base/siphash.hpp"
#include "bench.hpp"
#include "gossip/announcements.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/wire.hpp"

#include <cstdlib>
#include <string>

using namespace waggle;
using namespace waggle::bench;
using namespace waggle::gossip;

namespace {

Identity identity_of(std::uint64_t n) {
  SecretBytes<32> seed;
  store_le(seed.mutable_view(), n);
  return Identity(seed);
}

Member member_of(std::uint64_t n) {
  const Identity identity = identity_of(n);
  Member member;
  member.id = identity.node_id();
  member.public_key = identity.public_key();
  member.endpoints = {Endpoint::v4(10, 0, 0, static_cast<std::uint8_t>(n), 7947)};
  member.name = "node-" + std::to_string(n);
  member.zone = "rack-1";
  return member;
}

void measure_seal() {
  SecretKey key;
  const KeyRing ring{ClusterKey(key)};
  const NodeId receiver = identity_of(2).node_id();
  PacketSeal sender(ring, "waggle", identity_of(1).node_id(), 11);
  PacketSeal opener(ring, "waggle", receiver, 22);
  std::vector<PacketSeal> many;
  for (std::uint64_t n = 0; n < 2000; ++n) {
    NodeId id;
    store_le(MutableByteView(id.bytes), n + 1);
    many.emplace_back(ring, "waggle", id, n);
  }
  for (const std::size_t bytes : {64UL, 1300UL}) {
    const Bytes body(bytes, std::byte{7});
    const Json params = {{"body_bytes", bytes}};
    print(timing_line("packet_seal", params, time_each(50'000, [&](std::size_t) {
                        keep(sender.seal(PacketType::app, Destination{receiver, 22}, body).size());
                      })));
    const Bytes packet = sender.seal(PacketType::app, Destination{receiver, 22}, body);
    print(timing_line("packet_open", params, time_each(50'000, [&](std::size_t) {
                        if (!opener.open(packet)) std::abort();
                      })));
    std::vector<Bytes> packets;
    for (auto& seal : many)
      packets.push_back(seal.seal(PacketType::app, Destination{receiver, 22}, body));
    print(timing_line("packet_open", {{"body_bytes", bytes}, {"senders", many.size()}},
                      time_each(packets.size(), [&](std::size_t i) {
                        if (!opener.open(packets[i])) std::abort();
                      })));
  }
}

Digest digest_of(std::uint64_t n) { return sha256_of(as_bytes(std::to_string(n))); }

Records records_of(const NodeId& origin, std::uint64_t first, std::size_t count) {
  LogSlice slice{NodeRef::short_of(origin), 1, first, {}};
  for (std::size_t i = 0; i < count; ++i) {
    slice.records.emplace_back(Have{Id64{mix_seed(first + i)}});
  }
  return {0, {slice}};
}

void measure_decode() {
  Ping ping;
  ping.seq = 1;
  ping.to = identity_of(2).node_id();
  for (std::uint64_t n = 1; n <= 8; ++n) ping.news.push_back({member_of(n), {}});
  const Bytes with_news = encode(ping);
  const auto time_decode = [](std::size_t count, auto decode_one) {
    return time_each(count, [&](std::size_t) {
      if (!decode_one()) std::abort();
    });
  };
  print(timing_line("datagram_decode", {{"message", "PING"}, {"news", 8}}, time_decode(20'000, [&] {
                      return decode(PacketType::ping, with_news).has_value();
                    })));
  const NodeId origin = identity_of(1).node_id();
  for (const std::size_t count : {1UL, 100UL}) {
    const Bytes body = encode(Message(records_of(origin, 1, count)));
    print(timing_line("datagram_decode",
                      {{"message", "RECORDS"}, {"records", count}, {"bytes", body.size()}},
                      time_decode(20'000, [&] { return decode_message(body).has_value(); })));
  }
  std::vector<LogState> states;
  for (std::uint32_t n = 1; n <= 100; ++n) {
    states.push_back({NodeRef{NodeRef::lowest(n << 12U), false}, 7, 1000 + n, n, 100});
  }
  const Bytes body = pack_full_states(states, 0, UINT32_MAX, 1300).front();
  print(timing_line("datagram_decode",
                    {{"message", "AE_STATES"}, {"states", 100}, {"bytes", body.size()}},
                    time_decode(20'000, [&] { return decode_message(body).has_value(); })));
}

/// RECORDS of `count` HAVEs each, applied in order; every digest is known, as from other holders.
void measure_apply(std::size_t count, std::size_t messages) {
  const Identity self = identity_of(1);
  const Identity known = identity_of(2);
  const Identity origin = identity_of(3);
  AnnouncementsConfig config;
  config.id_key = IdKey::for_cluster("bench");
  config.self = self.node_id();
  const TimePoint now{};
  Announcements core(config, self, now);
  core.member_up(now, known.node_id(), 1, known.public_key());
  core.member_up(now, origin.node_id(), 1, origin.public_key());
  std::vector<Bytes> bodies;
  std::uint64_t seq = 1;
  for (std::size_t i = 0; i < rounds_in_all * messages; ++i) {
    LogSlice of_origin{NodeRef::short_of(origin.node_id()), 1, seq, {}};
    for (std::size_t n = 0; n < count; ++n, ++seq) {
      const Definition definition{digest_of(seq), 1};
      core.handle_message(
          now, known.node_id(),
          encode(Message(Records{
              0, {{NodeRef::short_of(known.node_id()), 1, seq, {DefinedHave{definition}}}}})));
      of_origin.records.emplace_back(Have{id64_of(config.id_key, definition.digest)});
    }
    bodies.push_back(encode(Message(Records{0, {of_origin}})));
  }
  std::size_t next = 0;
  print(timing_line("announcement_apply", {{"records", count}, {"bytes", bodies.front().size()}},
                    time_each(messages, [&](std::size_t) {
                      core.handle_message(now, origin.node_id(), bodies[next++]);
                    })));
  if (core.fact_count() != 2 * (seq - 1)) std::abort();
}

}  // namespace

int main() {
  measure_seal();
  measure_decode();
  measure_apply(1, 5'000);
  measure_apply(100, 200);  // a full datagram
  return 0;
}
