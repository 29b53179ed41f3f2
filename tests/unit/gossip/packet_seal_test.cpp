// What opens and what does not.
#include "gossip/packet_seal.hpp"

#include "gossip/error.hpp"
#include "samples.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

constexpr Boot boot_a = 0xa1;
constexpr Boot boot_b = 0xb2;

PacketSeal seal_of(unsigned n, Boot boot, const KeyRing& keys = keys_of({1}),
                   std::string cluster = "waggle") {
  return {keys, std::move(cluster), id_of(n), boot};
}
const Destination to_b{id_of(2), boot_b};

}  // namespace

TEST_SUITE("gossip/packet_seal") {
  TEST_CASE("a directed packet opens at its receiver's boot only") {
    PacketSeal a = seal_of(1, boot_a);
    const Bytes packet = a.seal(PacketType::app, to_b, as_bytes("hello"));
    CHECK(packet.size() == 5 + seal_bytes);
    const auto opened = seal_of(2, boot_b).open(packet);
    REQUIRE(opened.has_value());
    CHECK(as_text(opened->body) == "hello");
    CHECK(opened->header.sender == id_of(1).prefix());
    CHECK(opened->header.boot == boot_a);
    CHECK(opened->header.directed);
    CHECK(seal_of(2, boot_b + 1).open(packet).error() == GossipError::not_authentic);
    CHECK(seal_of(3, boot_b).open(packet).error() == GossipError::not_authentic);
    CHECK(seal_of(2, boot_b, keys_of({1}), "other").open(packet).error() ==
          GossipError::not_authentic);
  }

  TEST_CASE("an undirected PING opens everywhere; other types may not go undirected") {
    PacketSeal a = seal_of(1, boot_a);
    Bytes packet = a.seal(PacketType::ping, std::nullopt, as_bytes("x"));
    CHECK(seal_of(2, boot_b).open(packet).has_value());
    CHECK(seal_of(3, 9).open(packet).has_value());
    packet[1] = static_cast<std::byte>(PacketType::ack);
    CHECK(seal_of(2, boot_b).open(packet).error() == GossipError::malformed);
  }

  TEST_CASE("no single flipped bit and no truncation opens") {
    PacketSeal a = seal_of(1, boot_a);
    const PacketSeal b = seal_of(2, boot_b);
    for (const bool directed : {true, false}) {
      const Bytes packet = a.seal(PacketType::ping, directed ? std::optional(to_b) : std::nullopt,
                                  as_bytes("payload"));
      REQUIRE(b.open(packet).has_value());
      for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
        Bytes flipped = packet;
        flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CAPTURE(bit);
        CHECK_FALSE(b.open(flipped).has_value());
      }
      for (std::size_t size = 0; size < packet.size(); ++size) {
        CHECK_FALSE(b.open(ByteView(packet).first(size)).has_value());
      }
    }
  }

  TEST_CASE("rotation: the first key seals, both open, a retired one opens nothing") {
    PacketSeal a = seal_of(1, boot_a, keys_of({1, 2}));
    PacketSeal b = seal_of(2, boot_b, keys_of({2, 1}));
    const Bytes old_key = a.seal(PacketType::app, to_b, as_bytes("1"));
    a.set_keys(keys_of({2, 1}));
    const Bytes new_key = a.seal(PacketType::app, to_b, as_bytes("2"));
    CHECK(b.open(old_key)->header.counter + 1 == b.open(new_key)->header.counter);
    b.set_keys(keys_of({2}));
    CHECK(b.open(new_key).has_value());
    CHECK(b.open(old_key).error() == GossipError::unknown_key);
  }

  TEST_CASE("an equal key id with another key fails to authenticate") {
    // Key ids are one byte of a hash: find two keys that share it.
    unsigned twin = 2;
    while (keys_of({twin}).front().key_id() != keys_of({1}).front().key_id()) ++twin;
    PacketSeal a = seal_of(1, boot_a);
    const Bytes packet = a.seal(PacketType::app, to_b, as_bytes("x"));
    CHECK(seal_of(2, boot_b, keys_of({twin})).open(packet).error() == GossipError::not_authentic);
    CHECK(seal_of(2, boot_b, keys_of({twin, 1})).open(packet).has_value());
  }

  TEST_CASE("the same body never gives the same packet") {
    PacketSeal a = seal_of(1, boot_a);
    std::set<Bytes> packets;
    for (int i = 0; i < 100; ++i) packets.insert(a.seal(PacketType::app, to_b, as_bytes("same")));
    CHECK(packets.size() == 100);
    PacketSeal restarted = seal_of(1, boot_a + 1);
    CHECK_FALSE(packets.contains(restarted.seal(PacketType::app, to_b, as_bytes("same"))));
  }
}
