// Fresh chunks handed on down chains, and what becomes of them when a hop does not play along.
#include "exchange_net.hpp"
#include "fixed_view.hpp"

#include "base/limits.hpp"
#include "base/prng.hpp"
#include "transfer/proof.hpp"
#include "transfer/relay.hpp"
#include "transfer/session_message.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::testing;
using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

namespace {

std::uint64_t sum(Net& net, std::uint64_t ExchangeStats::*field) {
  std::uint64_t total = 0;
  for (std::size_t n = 0; n < net.size(); ++n) total += net.exchange(n).stats().*field;
  return total;
}

constexpr SessionId from_ann{1}, to_bob{2}, to_carol{3};

using Left = std::vector<std::string>;

/// A node in the middle of a chain: Ann sends to it, Bob and Carol come after it.
struct Hop {
  Hop() {
    ExchangeConfig config;
    config.extents_in_flight_max = 0;  // takes nothing from upstream
    exchange = std::make_unique<Exchange>(config, self, view, now);
    view.size = layout.size();
    swarm = *exchange->open(now, key);
    exchange->add_reader(now, swarm, ReaderId{1}, 0);
    exchange->blob_opened(now, swarm, std::vector<StoredChunk>{});
    open(from_ann, ann);
    open(to_bob, bob);
    open(to_carol, carol);
  }
  void open(SessionId session, const Identity& node) {
    exchange->session_opened(now, session, node.node_id());
    tell(session, OpenMessage{key.tag(), key.digest, key.origin, layout.size(), {}});
  }
  void tell(SessionId session, const SessionMessage& message) {
    exchange->handle_control(now, session, encode(message));
  }
  void announce() {
    tell(from_ann, RelayMessage{key.tag(),
                                ChunkIndex{0},
                                0,
                                layout.size(),
                                7,
                                {hop_name(bob.node_id()), hop_name(carol.node_id())}});
  }
  std::optional<BlockBuffer> frame(std::uint32_t offset) {
    return exchange->block_received(now, from_ann,
                                    {key.tag(), ChunkIndex{0}, offset, 16 * KiB, true});
  }
  void sleep(Duration duration) {
    const TimePoint end = now + duration;
    while (const auto next = exchange->poll_timeout()) {
      if (*next > end) break;
      now = std::max(*next, now + 1us);
      exchange->handle_timeout(now);
    }
    now = end;
  }
  /// What left since the last call: "R" a stripe's announcement, "B16" a frame at 16 KiB, "V" a
  /// chunk to verify, "C" a chunk for readers, with the session.
  std::vector<std::string> left() {
    std::vector<std::string> list;
    while (auto output = exchange->poll_output()) {
      if (const auto* block = std::get_if<SendBlock>(&*output)) {
        CHECK(block->relayed);
        CHECK(block->source == relay_source);
        list.push_back(std::to_string(to_value(block->session)) + " B" +
                       std::to_string(block->offset / KiB));
      } else if (const auto* sent = std::get_if<SendControl>(&*output)) {
        const auto message = decode_session_message(sent->message);
        if (std::holds_alternative<RelayMessage>(*message)) {
          list.push_back(std::to_string(to_value(sent->session)) + " R");
        }
      } else if (std::holds_alternative<VerifyChunk>(*output)) {
        list.push_back("V");
      } else if (std::holds_alternative<ChunkReady>(*output)) {
        list.push_back("C");
      }
    }
    return list;
  }
  void close(SessionId session) { exchange->session_closed(now, session); }
  /// All of chunk 0 from Ann, with the CREC of a third; hashed, and wrong in its second stripe.
  void take_wrong_chunk() {
    const Crec crec = Crec::make(dave, {"waggle", key.origin, key.digest, layout.size(), {}}, {});
    for (std::uint32_t stripe = 0; stripe < 4; ++stripe) {
      const auto begin = static_cast<std::uint32_t>(stripe * limits::block_bytes);
      tell(from_ann, RelayMessage{key.tag(), ChunkIndex{0}, begin, layout.size(), 7, {}});
      for (std::uint32_t at = 0; at < limits::block_bytes; at += 16 * KiB) (void)frame(begin + at);
    }
    tell(from_ann, CrecMessage{key.tag(), ChunkIndex{0}, layout.size(), crec.sha256, crec.signer,
                               crec.signature, std::vector<HopName>{}});
    CHECK(left() == Left{"V"});
    exchange->chunk_verified(now, swarm, ChunkIndex{0}, relay_source, ChunkVerdict::mismatch, {},
                             stripes(2));
  }
  /// The chunk from Bob, by request, and right.
  void take_right_chunk() {
    tell(to_bob, HaveMessage{key.tag(), {ChunkIndex{0}}});
    const Crec crec = Crec::make(dave, {"waggle", key.origin, key.digest, layout.size(), {}}, {});
    tell(to_bob, CrecMessage{key.tag(), ChunkIndex{0}, layout.size(), crec.sha256, crec.signer,
                             crec.signature, std::nullopt});
    for (std::uint32_t at = 0; at < layout.chunk_bytes(); at += limits::block_bytes) {
      (void)exchange->block_received(now, to_bob,
                                     {key.tag(), ChunkIndex{0}, at, limits::block_bytes, false});
    }
    exchange->chunk_verified(now, swarm, ChunkIndex{0}, to_bob, ChunkVerdict::ok, {}, stripes(0));
  }
  /// Hashes of four stripes of which the second is this variant.
  static std::vector<ChunkSha256> stripes(Variant variant) {
    std::vector<ChunkSha256> hashes(4);
    hashes[1][0] = static_cast<std::byte>(variant);
    return hashes;
  }

  TimePoint now{};
  Identity self = identity_of(1), ann = identity_of(2), bob = identity_of(3),
           carol = identity_of(4), dave = identity_of(5);
  SwarmKey key{sha256_of(as_bytes("content")), "https://r:443"};
  BlobLayout layout{2 * MiB};
  FixedView view;
  std::unique_ptr<Exchange> exchange;
  SwarmId swarm{};
};

}  // namespace

TEST_SUITE("transfer/relay") {
  TEST_CASE("rings: each has all others once, and who knows the same others has the same rings") {
    const SwarmTag tag{};
    std::vector<NodeId> nodes;
    for (std::uint32_t i = 1; i <= 12; ++i) nodes.push_back(identity_of(i).node_id());
    std::sort(nodes.begin(), nodes.end());
    for (const NodeId& self : nodes) {
      std::vector<NodeId> others = nodes;
      std::erase(others, self);
      RelayRings rings(tag, self);
      rings.set_others(others);
      for (std::size_t ring = 0; ring < RelayRings::count; ++ring) {
        const auto chain = rings.chain(ring);
        CHECK(std::set<NodeId>(chain.begin(), chain.end()) ==
              std::set<NodeId>(others.begin(), others.end()));
        // The chain of the node after this one goes on where this one's does.
        std::vector<NodeId> next_others = nodes;
        std::erase(next_others, chain.front());
        RelayRings next(tag, chain.front());
        next.set_others(next_others);
        CHECK(std::equal(chain.begin() + 1, chain.end(), next.chain(ring).begin()));
        CHECK(next.chain(ring).back() == self);
      }
      CHECK(rings.successors().size() >= 2);
    }
  }

  TEST_CASE("a long list is split into four of the same length, a short one stays whole") {
    for (const std::size_t count : {0U, 1U, 3U, 4U, 7U, 30U, 1023U}) {
      CAPTURE(count);
      std::vector<HopName> hops;
      for (std::size_t i = 0; i < count; ++i) hops.push_back(static_cast<HopName>(i));
      const auto branches = split_chain(hops);
      CHECK(branches.size() == (count <= 3 ? 1 : 4));
      std::vector<HopName> joined;
      for (const RelayBranch& branch : branches) {
        CHECK(branch.rest.size() >= count / branches.size());
        CHECK(branch.rest.size() <= count / branches.size() + 1);
        joined.insert(joined.end(), branch.rest.begin(), branch.rest.end());
      }
      CHECK(joined == hops);
    }
  }

  TEST_CASE("whoever sends which stripe, each node is as often the first hop as any other") {
    const SwarmTag tag{};
    constexpr std::size_t count = 31;
    std::vector<NodeId> nodes;
    for (std::uint32_t i = 1; i <= count; ++i) nodes.push_back(identity_of(i).node_id());
    std::sort(nodes.begin(), nodes.end());
    std::vector<RelayRings> rings;
    for (const NodeId& self : nodes) {
      std::vector<NodeId> others = nodes;
      std::erase(others, self);
      rings.emplace_back(tag, self).set_others(others);
    }
    constexpr std::uint64_t rounds = 8, stripes = rounds * RelayRings::count * count;
    for (const std::uint64_t senders : {1U, 2U, 31U}) {  // of chunks of four stripes
      CAPTURE(senders);
      std::map<HopName, std::uint64_t> firsts, lasts;
      for (std::uint64_t number = 0; number < stripes; ++number) {
        const std::size_t sender = mix_seed(number / 4) % senders;
        const auto order = rings[sender].stripe_order(number);
        REQUIRE(order.size() == count - 1);
        CHECK(std::set<HopName>(order.begin(), order.end()).size() == count - 1);
        CHECK(std::find(order.begin(), order.end(), hop_name(nodes[sender])) == order.end());
        ++firsts[order.front()];
        ++lasts[order.back()];
      }
      // Who sends is no hop itself: the one after it takes its turn.
      for (std::size_t i = senders < count ? senders : 0; i < count; ++i) {
        const std::uint64_t times = firsts[hop_name(nodes[i])];
        CHECK(times >= stripes / count * 7 / 10);
        CHECK(times <= stripes / count * (senders < count ? 20 : 14) / 10);
      }
      CHECK(lasts.size() >= count - 1);
    }
  }

  TEST_CASE("a short name stands for one of the members, or for nobody") {
    std::vector<NodeId> nodes(3);
    nodes[0].bytes[0] = std::byte{1};
    nodes[1].bytes[0] = nodes[2].bytes[0] = std::byte{2};
    nodes[2].bytes[15] = std::byte{9};
    CHECK(node_named(nodes, hop_name(nodes[0])) == nodes[0]);
    CHECK_FALSE(node_named(nodes, hop_name(nodes[1])).has_value());  // two have it
    CHECK_FALSE(node_named(nodes, 77).has_value());
    CHECK_FALSE(node_named({}, 77).has_value());
    nodes.pop_back();
    CHECK(node_named(nodes, hop_name(nodes[1])) == nodes[1]);
  }

  TEST_CASE("a cold blob: nearly all that the others get of a chunk comes down chains, once") {
    for (const std::size_t nodes : {2U, 8U, 16U}) {
      CAPTURE(nodes);
      Net net({.nodes = nodes});
      const Blob blob = net.make_blob(48 * MiB);
      for (std::size_t n = 0; n < nodes; ++n) net.pull(n, blob);
      REQUIRE(net.run_until([&] { return net.all_complete(blob); }, 60s));
      const std::uint64_t received = (nodes - 1) * blob.size;
      MESSAGE(nodes, " nodes: relayed ", sum(net, &ExchangeStats::relayed_bytes) * 100 / received,
              " %, repaired blocks ", sum(net, &ExchangeStats::relay_repairs), ", duplicates ",
              sum(net, &ExchangeStats::duplicate_blocks), ", uploads ",
              sum(net, &ExchangeStats::upload_bytes) * 100 / received, " %");
      CHECK(net.origin().bytes_out == blob.size);
      CHECK(sum(net, &ExchangeStats::relayed_bytes) >= received * 9 / 10);
      CHECK(sum(net, &ExchangeStats::upload_bytes) <= received * 105 / 100);
      for (std::size_t n = 0; n < nodes; ++n) net.exchange(n).check_invariants();
    }
  }

  TEST_CASE("the first chunks of a rush reach all by relay, whoever became known late") {
    struct Row {
      Duration apart, open_time;
      std::uint64_t pulled_max;  // who comes when the file is open is told what is there, and asks
    };
    for (const auto& [apart, open_time, pulled_max] :
         {Row{3ms, 300us, 2 * MiB}, Row{3ms, 30ms, 0}, Row{1ms, 30ms, 0}}) {
      CAPTURE(to_seconds(apart));
      CAPTURE(to_seconds(open_time));
      Net net({.nodes = 8, .upstream_rate = 50e6, .open_time = open_time});
      const Blob blob = net.make_blob(32 * MiB);
      for (std::size_t n = 0; n < net.size(); ++n) {
        net.pull(n, blob);
        net.run_for(apart);
      }
      // A chunk that no stripe of came would be asked for a second after it was heard of.
      REQUIRE(net.run_until(
          [&] {
            for (std::size_t n = 0; n < net.size(); ++n) {
              const auto& ready = net.ready(n);
              const bool has_first = std::any_of(ready.begin(), ready.end(), [](const auto& entry) {
                return entry.first == ChunkIndex{0};
              });
              if (!has_first) return false;
            }
            return true;
          },
          500ms));
      REQUIRE(net.run_until([&] { return net.all_complete(blob); }, 60s));
      CHECK(sum(net, &ExchangeStats::relay_failures) == 0);
      const std::uint64_t relayed = sum(net, &ExchangeStats::relayed_bytes);
      CHECK((net.size() - 1) * blob.size - relayed <= pulled_max);
      for (std::size_t n = 0; n < net.size(); ++n) {
        CHECK(net.exchange(n).banned(net.now()).empty());
        net.exchange(n).check_invariants();
      }
    }
  }

  TEST_CASE("a hop that dies, stands still or passes on wrong bytes: all others are done in time") {
    enum class Fault { none, dies, freezes, corrupts };
    std::optional<Duration> undisturbed;
    for (const Fault fault : {Fault::none, Fault::dies, Fault::freezes, Fault::corrupts}) {
      CAPTURE(static_cast<int>(fault));
      constexpr std::size_t hop = 3;
      Net net({.nodes = 8});
      const Blob blob = net.make_blob(96 * MiB);
      for (std::size_t n = 0; n < net.size(); ++n) net.pull(n, blob);
      if (fault == Fault::corrupts) net.make_liar(hop, 9);
      net.run_for(400ms);
      if (fault == Fault::dies) net.kill(hop);
      if (fault == Fault::freezes) net.freeze(hop);
      REQUIRE(net.run_until(
          [&] {
            for (std::size_t n = 0; n < net.size(); ++n) {
              if (n != hop && !net.is_complete(n, blob)) return false;
            }
            return true;
          },
          60s));
      const Duration took = net.now() - TimePoint{};
      if (fault == Fault::none) undisturbed = took;
      MESSAGE("took ", to_seconds(took), " s, repaired ", sum(net, &ExchangeStats::relay_repairs),
              " blocks, wrong chunks ", sum(net, &ExchangeStats::relay_failures), ", uploads ",
              sum(net, &ExchangeStats::upload_bytes) * 100 / (7 * blob.size), " %, origin ",
              net.origin().bytes_out * 100 / blob.size, " %");
      CHECK(took <= *undisturbed + 5s);
      // Whoever vouched for wrong bytes is found out by those it gave them to, and nobody else is.
      std::size_t convicted_by = 0;
      for (std::size_t n = 0; n < net.size(); ++n) {
        const auto banned = net.exchange(n).banned(net.now());
        const bool is_liar = fault == Fault::corrupts && n != hop;
        CHECK(banned.size() <= (is_liar ? 1U : 0U));
        if (!banned.empty()) CHECK(banned.front() == net.identity(hop).node_id());
        convicted_by += banned.size();
      }
      if (fault == Fault::corrupts) CHECK(convicted_by >= 5);
      CHECK(net.origin().bytes_out <= blob.size + 2 * limits::extent_bytes);
    }
  }

  TEST_CASE(
      "a frame is passed on as it comes, and nothing of it is given out before it is proven") {
    Hop hop;
    hop.announce();
    (void)hop.left();
    CHECK(hop.frame(0) == BlockBuffer{hop.swarm, relay_source});
    CHECK(hop.left() == Left{"2 R", "2 B0"});
    CHECK(hop.frame(16 * KiB).has_value());
    CHECK(hop.left() == Left{"2 B16"});
    CHECK_FALSE(hop.frame(16 * KiB).has_value());  // came already
    CHECK_FALSE(hop.frame(48 * KiB).has_value());  // after a gap
    CHECK(hop.left().empty());
    hop.exchange->check_invariants();
  }

  TEST_CASE("the stripe of a hop that goes begins again at the next") {
    Hop hop;
    hop.announce();
    CHECK(hop.frame(0).has_value());
    CHECK(hop.frame(16 * KiB).has_value());
    (void)hop.left();
    hop.close(to_bob);
    CHECK(hop.left() == Left{"3 R", "3 B0", "3 B16"});
    CHECK(hop.frame(32 * KiB).has_value());
    CHECK(hop.left() == Left{"3 B32"});
    hop.exchange->check_invariants();
  }

  TEST_CASE("a hop that stands still is skipped, and gets no stripe for a while") {
    Hop hop;
    hop.announce();
    CHECK(hop.frame(0).has_value());
    (void)hop.left();
    hop.sleep(400ms);
    CHECK(hop.left().empty());
    hop.sleep(300ms);
    CHECK(hop.left() == Left{"3 R", "3 B0"});
    hop.exchange->relay_sent(hop.now, to_carol, 16 * KiB);
    hop.tell(from_ann, RelayMessage{hop.key.tag(),
                                    ChunkIndex{1},
                                    0,
                                    hop.layout.size(),
                                    8,
                                    {hop_name(hop.bob.node_id()), hop_name(hop.carol.node_id())}});
    (void)hop.exchange->block_received(hop.now, from_ann,
                                       {hop.key.tag(), ChunkIndex{1}, 0, 16 * KiB, true});
    CHECK(hop.left() == Left{"3 R", "3 B0"});
    hop.exchange->check_invariants();
  }

  TEST_CASE("who vouched for a stripe that was wrong is convicted, whatever came first") {
    enum class Vouch { none, before, after, of_another_sending, of_another_stripe };
    for (const Vouch vouch : {Vouch::none, Vouch::before, Vouch::after, Vouch::of_another_sending,
                              Vouch::of_another_stripe}) {
      CAPTURE(static_cast<int>(vouch));
      Hop hop;
      (void)hop.left();
      hop.take_wrong_chunk();
      const auto say = [&](std::uint32_t serial, std::uint64_t stripes) {
        hop.tell(from_ann, RelayVouchMessage{hop.key.tag(), ChunkIndex{0}, serial, stripes});
      };
      if (vouch == Vouch::before) say(7, 0b1111);
      hop.take_right_chunk();
      CHECK(hop.exchange->has_chunk(hop.swarm, ChunkIndex{0}));
      if (vouch == Vouch::after) say(7, 0b0010);
      if (vouch == Vouch::of_another_sending) say(8, 0b1111);
      if (vouch == Vouch::of_another_stripe) say(7, 0b1101);
      const bool is_convicted = vouch == Vouch::before || vouch == Vouch::after;
      CHECK(hop.exchange->banned(hop.now).size() == (is_convicted ? 1 : 0));
      hop.exchange->check_invariants();
    }
  }
}
