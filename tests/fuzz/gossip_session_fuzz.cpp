// An authenticated member that says anything: sealed bodies of every type and bulk frames, one
// after the other, against a whole gossip core.
#include "../unit/gossip/log_samples.hpp"
#include "base/limits.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/gossip.hpp"
#include "gossip_peer.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::gossip;
using namespace std::chrono_literals;

constexpr std::size_t steps_max = 64;
/// What one step may make a node send: pieces of its table and its log, to all it believes in.
constexpr std::size_t outputs_max = 4096;

void drain(Gossip& node) {
  std::size_t outputs = 0;
  while (const auto transmit = node.poll_transmit()) {
    expect(transmit->datagram.size() + limits::ip_udp_header_bytes <= limits::datagram_bytes_max,
           "a datagram keeps its limit");
    ++outputs;
  }
  while (node.poll_event()) ++outputs;
  expect(outputs <= outputs_max, "one step has a bounded outcome");
}

void check(const Gossip& node, std::uint64_t& incarnation) {
  node.check_invariants();
  const Member* self = node.find(node_identity().node_id());
  expect(self != nullptr && self->is_self && self->state == MemberState::alive,
         "nobody can talk a node out of its life");
  expect(self->incarnation >= incarnation, "an incarnation only rises");
  expect(self->name == "node-1" && self->endpoints == gossip_config().advertise,
         "a node's record is its own");
  incarnation = self->incarnation;
  expect(node.live().size() <= limits::members_max, "members keep their limit");
}

/// Steps of {kind, string}: a packet type, a bulk frame, or time that passes.
void run(ByteView bytes) {
  SeededRandomSource random(1);
  TimePoint now{1000s};
  Gossip node(gossip_config(), node_identity(), random, now);
  HostileMember member;
  member.introduce(node, now);
  std::uint64_t incarnation = 1;
  Input input(bytes);
  for (std::size_t step = 0; step < steps_max && !input.empty(); ++step) {
    const unsigned kind = input.byte();
    const ByteView text = input.string();
    if (kind < 9) {
      const ByteView body = text.first(std::min<std::size_t>(text.size(), 1300));
      member.say(node, now, static_cast<PacketType>(kind), body);
    } else if (kind < 12) {
      node.handle_bulk(now, HostileMember::identity().node_id(), text);
    } else {
      now += std::chrono::milliseconds(kind * 20);
      node.handle_timeout(now);
    }
    drain(node);
    check(node, incarnation);
  }
}

void append_step(Bytes& out, std::uint8_t kind, ByteView text) {
  out.push_back(static_cast<std::byte>(kind));
  append_string(out, text);
}

Bytes announcement(const Message& message) {
  return encode(GossipMessage{AnnouncementBody{encode(message)}});
}

std::vector<Bytes> seeds() {
  const NodeId peer = test::id_of(2);
  const Definition definition{sha256_of(as_bytes("abc")), 3};
  Bytes facts;
  append_step(facts, 7, announcement(test::one_log(peer, 1, 1, {DefinedHave{definition}})));
  append_step(facts, 7, announcement(test::one_log(peer, 1, 2, {Have{Id64{5}}, Drop{Id64{5}}})));
  append_step(facts, 200, {});
  append_step(facts, 7, announcement(AeRoot{7, false}));
  append_step(facts, 7, announcement(test::only_state({peer, 1, 9, 3, 1})));
  append_step(facts, 7, announcement(AePull{{test::range(test::id_of(1), 1, 1)}}));
  Bytes members;
  append_step(members, 6,
              encode(GossipMessage{
                  MemberRecords{false, {{test::member_of(3), {}}, {test::member_of(4), {}}}}}));
  append_step(members, 6,
              encode(GossipMessage{
                  MemberRecords{true,
                                {{test::member_of(1, MemberState::faulty, 5), {}},
                                 {test::member_of(3, MemberState::suspect), test::id_of(2)}}}}));
  append_step(members, 255, {});
  append_step(members, 5, encode(GossipMessage{MemberHashes{true, {}}}));
  append_step(members, 3, encode(GossipMessage{PingReq{7, test::id_of(3)}}));
  append_step(members, 8, encode(GossipMessage{App{1, bytes_of("claim")}}));
  Bytes bulk;
  const auto frame = [](const BulkMessage& message) {
    Bytes out{std::byte{0}};
    append(out, encode_bulk(message));
    return out;
  };
  append_step(bulk, 9, frame(SetPull{{test::id_of(1)}}));
  append_step(bulk, 9, frame(SetData{peer, 1, 9, 0, 0, 1, {Id64{5}}, {}}));
  append_step(bulk, 9, frame(Definitions{{definition}}));
  append_step(bulk, 9, frame(SnapshotPull{{false, 0}, 0}));
  append_step(bulk, 9, frame(SnapshotPull{{true, 0}, 7}));
  append_step(bulk, 9,
              frame(SnapshotPart{{false, 0}, 0, 7, 1, {{NodeRef{peer}, 1, 1, 7}}, {}, {}}));
  append_step(bulk, 9, frame(SnapshotNone{}));
  append_step(bulk, 9, bytes_of(std::string("\1\7\0\0\0\0\0\0\0", 9)));
  append_step(bulk, 9, bytes_of(std::string("\2\7\0\0\0\0\0\0\0", 9)));
  return {facts, members, bulk};
}

const Target target("gossip_session", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
