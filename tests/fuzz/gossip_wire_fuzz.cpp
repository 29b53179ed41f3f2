// The messages inside sealed datagrams: the decoder behind the seal.
#include "../unit/gossip/samples.hpp"
#include "gossip/wire.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::gossip;

/// The packet type, then the body. What decodes is written as it was read.
void run(ByteView bytes) {
  Input input(bytes);
  const auto type = static_cast<PacketType>(input.byte());
  const ByteView body = input.rest();
  const auto message = decode(type, body);
  if (!message) return;
  expect(type_of(*message) == type, "a message has the type it was sent as");
  const Bytes again = encode(*message);
  // Longer forms of integers and the like shrink, unknown flags go; nothing grows.
  expect(again.size() <= body.size(), "a decoded message takes no more bytes than it came in");
  const auto twice = decode(type, again);
  expect(twice.has_value(), "what is encoded decodes");
  expect(encode(*twice) == again, "decode and encode are inverse");
}

std::vector<Bytes> seeds() {
  Ping ping;
  ping.seq = 0x11223344;
  ping.to = test::id_of(2);
  ping.echo = 0xfedcba9876543210;
  ping.self = test::member_of(1);
  ping.self->endpoints.push_back(Endpoint::parse("[2001:db8::7]:7947").value());
  ping.news = {{test::member_of(2, MemberState::suspect), test::id_of(3)},
               {test::member_of(3, MemberState::left, 300), {}}};
  Ack ack;
  ack.seq = 7;
  ack.target = test::id_of(2);
  const std::vector<GossipMessage> messages = {
      ping,
      ack,
      PingReq{300, test::id_of(2)},
      Nack{300},
      MemberHashes{true, {}},
      MemberRecords{true, {{test::member_of(1), {}}}},
      AnnouncementBody{bytes_of("opaque")},
      App{5, bytes_of("want")},
  };
  std::vector<Bytes> out;
  for (const auto& message : messages) {
    out.push_back({static_cast<std::byte>(type_of(message))});
    append(out.back(), encode(message));
  }
  return out;
}

const Target target("gossip_wire", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
