// A node under test and a hostile member of its cluster: keys, identities, and the exchange that
// makes the member's boot known. Used by the targets that speak through the seal.
#pragma once

#include "../unit/gossip/samples.hpp"
#include "base/random_source.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/wire.hpp"
#include "target.hpp"

#include <optional>

namespace waggle::fuzz {

/// The member: it seals whatever it is given.
class HostileMember {
 public:
  static const Identity& identity() {
    static const Identity hostile = gossip::test::identity_of(2);
    return hostile;
  }
  static Endpoint endpoint() { return gossip::test::endpoint_of(2); }

  HostileMember() : seal_(gossip::test::keys_of({1}), "waggle", identity().node_id(), 77) {}

  /// What opens the session: a PING with its own record, proof of life as the node's answer asks.
  /// `node` needs handle_datagram() and poll_transmit().
  template <typename Node>
  void introduce(Node& node, TimePoint now) {
    static const gossip::Member record = gossip::test::member_of(2);
    gossip::Ping ping;
    ping.seq = 1;
    ping.self = record;
    const auto hello = seal_.seal(gossip::PacketType::ping, std::nullopt, encode(ping));
    node.handle_datagram(now, endpoint(), hello);
    const auto answer = find_ack(node);
    expect(answer.has_value(), "a PING of a member is answered");
    ping.seq = 2;
    ping.echo = answer->cookie;
    say(node, now, gossip::PacketType::ping, encode(ping));
    while (node.poll_transmit()) {
    }
  }

  template <typename Node>
  void say(Node& node, TimePoint now, gossip::PacketType type, ByteView body) {
    node.handle_datagram(now, endpoint(), seal_.seal(type, node_, body));
  }

 private:
  template <typename Node>
  std::optional<gossip::Ack> find_ack(Node& node) {
    std::optional<gossip::Ack> found;
    while (const auto transmit = node.poll_transmit()) {
      const auto opened = seal_.open(transmit->datagram);
      if (!opened) continue;
      const auto message = decode(opened->header.type, opened->body);
      expect(message.has_value(), "what a node sends decodes");
      if (const auto* ack = std::get_if<gossip::Ack>(&*message)) {
        node_ = gossip::Destination{ack->self->id, opened->header.boot};
        found = *ack;
      }
    }
    return found;
  }

  gossip::PacketSeal seal_;
  gossip::Destination node_;
};

inline gossip::GossipConfig gossip_config() {
  gossip::GossipConfig config;
  config.keys = gossip::test::keys_of({1});
  config.advertise = {gossip::test::endpoint_of(1)};
  config.name = "node-1";
  return config;
}

inline const Identity& node_identity() {
  static const Identity identity = gossip::test::identity_of(1);
  return identity;
}

}  // namespace waggle::fuzz
