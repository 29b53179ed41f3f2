// Datagrams as they come from the network: nothing made without the cluster's key gets an answer.
#include "base/limits.hpp"
#include "gossip/gossip.hpp"
#include "gossip_peer.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::gossip;

constexpr TimePoint start{std::chrono::seconds(1000)};

void run(ByteView bytes) {
  SeededRandomSource random(1);
  Gossip node(gossip_config(), node_identity(), random, start);
  const PacketSeal seal(test::keys_of({1}), "waggle", node_identity().node_id(), 5);
  const auto opened = seal.open(bytes);
  const auto root = node.index_root();
  node.handle_datagram(start, test::endpoint_of(2), bytes);
  std::size_t answers = 0;
  std::size_t answer_bytes = 0;
  while (const auto transmit = node.poll_transmit()) {
    ++answers;
    answer_bytes += transmit->datagram.size();
    expect(transmit->to == test::endpoint_of(2), "an answer goes to the asker");
  }
  const auto stats = node.stats();
  if (!opened) {
    expect(answers == 0, "what does not open gets no answer");
    expect(stats.dropped_unknown_key + stats.dropped_unauthenticated + stats.dropped_malformed == 1,
           "and is counted");
  }
  expect(answers <= 1 && answer_bytes <= limits::datagram_bytes_max,
         "a first PING costs one bounded reply");
  expect(!node.poll_event(), "a stranger causes no event");
  expect(node.members().size() == 1 && node.index_root() == root, "and no state");
  node.check_invariants();
}

std::vector<Bytes> seeds() {
  Ping ping;
  ping.seq = 1;
  ping.self = test::member_of(2);
  PacketSeal seal(test::keys_of({1}), "waggle", test::id_of(2), 77);
  PacketSeal stranger(test::keys_of({9}), "waggle", test::id_of(2), 77);
  const Destination node{node_identity().node_id(), 5};
  return {seal.seal(PacketType::ping, std::nullopt, encode(ping)),
          seal.seal(PacketType::nack, node, encode(Nack{300})),
          stranger.seal(PacketType::ping, std::nullopt, encode(ping))};
}

const Target target("datagram", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
