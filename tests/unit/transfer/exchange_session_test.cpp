// One exchange against hand-written messages: who is answered what.
#include "fixed_view.hpp"

#include "transfer/exchange.hpp"

#include "base/limits.hpp"
#include "transfer/proof.hpp"
#include "transfer/session_message.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::testing;
using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

namespace {

constexpr SessionId first{1};
constexpr SessionId second{2};

struct Bench {
  explicit Bench(bool reports = false) {
    view.members = {self.node_id()};
    ExchangeConfig config;
    config.reports_sent_blocks = reports;
    exchange = std::make_unique<Exchange>(config, self, view, now);
  }
  void tell(SessionId session, const SessionMessage& message) {
    exchange->handle_control(now, session, encode(message));
  }
  template <typename Output>
  std::vector<Output> take() {
    std::vector<Output> found;
    while (auto output = exchange->poll_output()) {
      if (auto* wanted = std::get_if<Output>(&*output)) found.push_back(std::move(*wanted));
    }
    return found;
  }
  /// The messages sent since, in order.
  std::vector<SessionMessage> sent() {
    std::vector<SessionMessage> messages;
    for (const SendControl& control : take<SendControl>()) {
      messages.push_back(*decode_session_message(control.message));
    }
    return messages;
  }
  void advance(Duration duration) {
    const TimePoint end = now + duration;
    while (const auto next = exchange->poll_timeout()) {
      if (*next > end) break;
      now = std::max(*next, now + 1us);
      exchange->handle_timeout(now);
    }
    now = end;
  }

  TimePoint now{};
  Identity self = identity_of(1);
  NodeId ann = identity_of(2).node_id();
  NodeId bob = identity_of(3).node_id();
  SwarmKey key{sha256_of(as_bytes("content")), "https://r:443"};
  FixedView view;
  std::unique_ptr<Exchange> exchange;
};

OpenMessage open_message(const SwarmKey& key) {
  return {.tag = key.tag(), .digest = key.digest, .origin = key.origin, .size = {}, .have = {}};
}

/// A reader wants a blob of four chunks, and a session with Ann is up.
void wanting(Bench& bench) {
  const auto swarm = bench.exchange->open(bench.now, bench.key, MiB);
  bench.exchange->blob_opened(bench.now, *swarm, std::vector<StoredChunk>{});
  bench.exchange->add_reader(bench.now, *swarm, ReaderId{1}, 0);
  bench.exchange->session_opened(bench.now, first, bench.ann);
}

/// Chunk 0 arrives as it was asked for: how many chunks may then be hashed against a proof.
std::size_t verified_chunks(Bench& bench) {
  (void)bench.sent();
  for (std::uint32_t offset = 0; offset < 256 * KiB; offset += 64 * KiB) {
    (void)bench.exchange->block_received(bench.now, first,
                                         {bench.key.tag(), ChunkIndex{0}, offset, 64 * KiB});
  }
  return bench.take<VerifyChunk>().size();
}

}  // namespace

TEST_SUITE("transfer/exchange_session") {
  TEST_CASE("a complete blob is served without a swarm, for any origin, until it goes") {
    Bench bench;
    bench.exchange->blob_available(bench.now, bench.key.digest, 3 * MiB);
    bench.exchange->session_opened(bench.now, first, bench.ann);
    const SwarmKey other{bench.key.digest, "https://elsewhere:443"};
    bench.tell(first, open_message(other));
    auto sent = bench.sent();
    REQUIRE(sent.size() == 1);
    CHECK(std::get<StateMessage>(sent[0]).have.all);
    CHECK(std::get<StateMessage>(sent[0]).size == 3 * MiB);
    bench.tell(first, RequestMessage{other.tag(), ChunkIndex{11}, 64 * KiB, 64 * KiB, false});
    const auto blocks = bench.take<SendBlock>();
    REQUIRE(blocks.size() == 1);
    CHECK_FALSE(blocks[0].swarm);
    CHECK(blocks[0].chunk == ChunkIndex{11});
    CHECK(blocks[0].offset == 64 * KiB);
    bench.tell(first, RequestMessage{other.tag(), ChunkIndex{12}, 0, 1, false});
    CHECK(std::get<RejectMessage>(bench.sent().at(0)).reason == RejectReason::not_found);
    bench.tell(first, RequestMessage{other.tag(), ChunkIndex{1}, 0, 1, true});
    CHECK(std::get<RejectMessage>(bench.sent().at(0)).reason == RejectReason::no_proof);
    bench.exchange->blob_gone(bench.now, bench.key.digest);
    bench.tell(first, RequestMessage{other.tag(), ChunkIndex{1}, 0, 1, false});
    CHECK_FALSE(std::get<RejectMessage>(bench.sent().at(0)).chunk);
    bench.tell(first, open_message(other));
    CHECK(std::get<RejectMessage>(bench.sent().at(0)).reason == RejectReason::not_found);
    bench.exchange->check_invariants();
  }

  TEST_CASE("one load of the midstates answers all who asked, signed by this node") {
    Bench bench;
    bench.exchange->blob_available(bench.now, bench.key.digest, MiB);
    for (const auto& [session, node] :
         {std::pair(first, bench.ann), std::pair(second, bench.bob)}) {
      bench.exchange->session_opened(bench.now, session, node);
      bench.tell(session, open_message(bench.key));
    }
    (void)bench.sent();
    bench.tell(first, GetMidstatesMessage{bench.key.tag()});
    bench.tell(second, GetMidstatesMessage{bench.key.tag()});
    CHECK(bench.take<LoadMidstates>().size() == 1);
    bench.exchange->midstates_loaded(bench.now, bench.key.digest, std::vector<Midstate>(3));
    const auto sent = bench.sent();
    REQUIRE(sent.size() == 2);
    CHECK(std::get<MidstatesMessage>(sent[0]).part.size() == 3);
    CHECK(std::get<MidstatesMessage>(sent[0]).prover == bench.self.public_key());
    bench.tell(first, GetMidstatesMessage{bench.key.tag()});
    CHECK(bench.take<LoadMidstates>().size() == 1);
    bench.exchange->midstates_loaded(bench.now, bench.key.digest, std::nullopt);
    CHECK(std::get<RejectMessage>(bench.sent().at(0)).reason == RejectReason::no_list);
  }

  TEST_CASE("a session that asks for one list again and again is given it once") {
    Bench bench;
    bench.exchange->blob_available(bench.now, bench.key.digest, MiB);
    bench.exchange->session_opened(bench.now, first, bench.ann);
    std::vector<SwarmKey> keys;
    for (std::size_t i = 0; i <= limits::list_waiters_per_session_max; ++i) {
      keys.push_back({bench.key.digest, "https://r" + std::to_string(i) + ":443"});
      bench.tell(first, open_message(keys.back()));
    }
    (void)bench.sent();
    for (int i = 0; i < 100; ++i) bench.tell(first, GetMidstatesMessage{keys[0].tag()});
    for (std::size_t i = 1; i < limits::list_waiters_per_session_max; ++i) {
      bench.tell(first, GetMidstatesMessage{keys[i].tag()});
    }
    CHECK(bench.sent().empty());
    bench.tell(first, GetMidstatesMessage{keys.back().tag()});  // one origin more
    const auto refused = bench.sent();
    REQUIRE(refused.size() == 1);
    CHECK(std::get<RejectMessage>(refused[0]).reason == RejectReason::no_list);
    bench.exchange->midstates_loaded(bench.now, bench.key.digest, std::vector<Midstate>(3));
    CHECK(bench.sent().size() == limits::list_waiters_per_session_max);
  }

  TEST_CASE("a malformed message closes the session; two ban the sender") {
    Bench bench;
    bench.exchange->blob_available(bench.now, bench.key.digest, MiB);
    bench.exchange->session_opened(bench.now, first, bench.ann);
    bench.exchange->handle_control(bench.now, first, as_bytes("x"));
    CHECK(bench.take<CloseSession>().size() == 1);
    bench.exchange->session_closed(bench.now, first);
    bench.exchange->session_opened(bench.now, second, bench.ann);
    OpenMessage forged = open_message(bench.key);
    forged.origin += "0";
    bench.tell(second, forged);
    CHECK(bench.exchange->stats().bans == 1);
    bench.tell(second, open_message(bench.key));
    CHECK(std::get<RejectMessage>(bench.sent().at(0)).reason == RejectReason::refused);
  }

  TEST_CASE("a CREC that its signer did not sign verifies nothing") {
    for (const bool forged : {false, true}) {
      CAPTURE(forged);
      Bench bench;
      wanting(bench);
      OpenMessage open = open_message(bench.key);
      open.size = MiB;
      open.have.chunks = Bitfield(4);
      open.have.chunks.set(0);
      bench.tell(first, open);
      Crec crec =
          Crec::make(identity_of(3), {"waggle", bench.key.origin, bench.key.digest, MiB, {}},
                     std::array<std::byte, 32>{});
      if (forged) crec.signature.bytes[5] ^= std::byte{1};
      bench.tell(first, CrecMessage{bench.key.tag(), ChunkIndex{0}, MiB, crec.sha256, crec.signer,
                                    crec.signature});
      CHECK(verified_chunks(bench) == (forged ? 0 : 1));
    }
  }

  TEST_CASE("a midstate list that its prover did not sign verifies nothing") {
    for (const bool forged : {false, true}) {
      CAPTURE(forged);
      Bench bench;
      wanting(bench);
      OpenMessage open = open_message(bench.key);
      open.size = MiB;
      open.have.all = true;
      bench.tell(first, open);
      const std::vector<Midstate> list(3);
      auto signature =
          ListSignature::make(identity_of(2), "waggle", bench.key.digest, MiB, list).signature;
      if (forged) signature.bytes[5] ^= std::byte{1};
      bench.tell(first, MidstatesMessage{bench.key.tag(), MiB, 0, 3, list,
                                         identity_of(2).public_key(), signature});
      CHECK(verified_chunks(bench) == (forged ? 0 : 1));
    }
  }

  TEST_CASE("who is refused by a node does not refuse it in turn: a ban is each node's own") {
    Bench bench;
    wanting(bench);
    OpenMessage open = open_message(bench.key);
    open.size = MiB;
    open.have.all = true;
    bench.tell(first, open);
    bench.tell(first, RejectMessage{bench.key.tag(), std::nullopt, RejectReason::refused});
    CHECK(bench.exchange->stats().bans == 0);
    (void)bench.sent();
    bench.tell(first, open);
    const auto sent = bench.sent();
    REQUIRE_FALSE(sent.empty());
    CHECK(std::holds_alternative<StateMessage>(sent[0]));
  }

  TEST_CASE("the 33rd unsent block is answered with BUSY where sends are reported") {
    Bench bench(true);
    bench.exchange->blob_available(bench.now, bench.key.digest, 4 * MiB);
    bench.exchange->session_opened(bench.now, first, bench.ann);
    bench.tell(first, open_message(bench.key));
    (void)bench.sent();
    const RequestMessage request{bench.key.tag(), ChunkIndex{0}, 0, 64 * KiB, false};
    for (std::size_t i = 0; i < limits::requests_per_peer_max; ++i) bench.tell(first, request);
    CHECK(bench.take<SendBlock>().size() == limits::requests_per_peer_max);
    bench.tell(first, request);
    CHECK(std::holds_alternative<BusyMessage>(bench.sent().at(0)));
    bench.exchange->block_sent(bench.now, first);
    bench.tell(first, request);
    CHECK(bench.take<SendBlock>().size() == 1);
    bench.exchange->check_invariants();
  }

  TEST_CASE("at most 32 blocks are asked per session, and BUSY voids and delays them") {
    Bench bench;
    bench.view.holding = {bench.ann};
    bench.view.size = 800 * KiB;
    const auto swarm = bench.exchange->open(bench.now, bench.key);
    bench.exchange->add_reader(bench.now, *swarm, ReaderId{1}, 0);
    CHECK(bench.take<EnsureSession>().size() == 1);
    bench.exchange->blob_opened(bench.now, *swarm, std::vector<StoredChunk>{});
    bench.exchange->session_opened(bench.now, first, bench.ann);
    CHECK(std::holds_alternative<OpenMessage>(bench.sent().at(0)));
    bench.tell(first, StateMessage{bench.key.tag(), 800 * KiB, {.all = true, .chunks = {}}});
    auto sent = bench.sent();
    CHECK(sent.size() == 13);  // 800 KiB in blocks of 64 KiB
    const auto request = std::get<RequestMessage>(sent[12]);
    CHECK(request.length == 32 * KiB);
    CHECK_FALSE(bench.exchange->block_received(bench.now, first,
                                               {bench.key.tag(), ChunkIndex{1}, 0, 64 * KiB}));
    CHECK(bench.exchange->block_received(bench.now, first,
                                         {bench.key.tag(), ChunkIndex{0}, 0, 64 * KiB}));
    CHECK_FALSE(bench.exchange->block_received(bench.now, first,
                                               {bench.key.tag(), ChunkIndex{0}, 0, 64 * KiB}));
    bench.tell(first, BusyMessage{bench.key.tag(), 250});
    CHECK(bench.take<DropBuffer>().size() == 1);
    bench.advance(200ms);
    CHECK(bench.sent().empty());
    bench.advance(200ms);
    CHECK(bench.sent().size() == 13);
    bench.exchange->check_invariants();
  }

  TEST_CASE("when one of two sessions with a node closes, the swarm goes on over the other") {
    Bench bench;
    bench.view.holding = {bench.ann};
    bench.view.size = 800 * KiB;
    const auto swarm = bench.exchange->open(bench.now, bench.key);
    bench.exchange->add_reader(bench.now, *swarm, ReaderId{1}, 0);
    bench.exchange->blob_opened(bench.now, *swarm, std::vector<StoredChunk>{});
    bench.exchange->session_opened(bench.now, first, bench.ann);
    bench.exchange->session_opened(bench.now, second, bench.ann);
    bench.tell(first, StateMessage{bench.key.tag(), 800 * KiB, {.all = true, .chunks = {}}});
    (void)bench.sent();
    bench.exchange->session_closed(bench.now, first);
    bool opened = false;
    while (auto output = bench.exchange->poll_output()) {
      if (const auto* control = std::get_if<SendControl>(&*output)) {
        CHECK(control->session == second);
        opened = std::holds_alternative<OpenMessage>(*decode_session_message(control->message));
      }
    }
    CHECK(opened);
    bench.tell(second, StateMessage{bench.key.tag(), 800 * KiB, {.all = true, .chunks = {}}});
    CHECK(bench.sent().size() == 13);
    bench.exchange->check_invariants();
  }

  TEST_CASE("a node that cannot be dialled is left alone for a while, longer each time") {
    Bench bench;
    bench.view.holding = {bench.ann};
    bench.view.size = 800 * KiB;
    bench.view.members = {bench.self.node_id()};
    const auto swarm = bench.exchange->open(bench.now, bench.key);
    bench.exchange->add_reader(bench.now, *swarm, ReaderId{1}, 0);
    bench.exchange->blob_opened(bench.now, *swarm, std::vector<StoredChunk>{});
    CHECK(bench.take<EnsureSession>().size() == 1);
    bench.exchange->dial_failed(bench.now, bench.ann);
    bench.advance(900ms);
    CHECK(bench.take<EnsureSession>().empty());
    bench.advance(300ms);
    CHECK(bench.take<EnsureSession>().size() == 1);
    bench.exchange->dial_failed(bench.now, bench.ann);
    bench.advance(1500ms);
    CHECK(bench.take<EnsureSession>().empty());
    bench.advance(1s);
    CHECK(bench.take<EnsureSession>().size() == 1);
  }

  TEST_CASE("beyond 24 incoming peers a swarm refuses, and swarms_max refuses swarms") {
    Bench bench;
    const auto swarm = bench.exchange->open(bench.now, bench.key);
    REQUIRE(swarm);
    (void)bench.sent();
    for (std::uint64_t i = 0; i <= limits::swarm_peers_in_max; ++i) {
      const SessionId session{100 + i};
      bench.exchange->session_opened(bench.now, session, identity_of(100 + i).node_id());
      bench.tell(session, open_message(bench.key));
      const auto sent = bench.sent();
      REQUIRE(sent.size() == 1);
      CHECK(std::holds_alternative<StateMessage>(sent[0]) == (i < limits::swarm_peers_in_max));
    }
    bench.exchange->check_invariants();
    for (std::size_t i = 1; i < limits::swarms_max; ++i) {
      REQUIRE(bench.exchange->open(bench.now, {bench.key.digest, std::to_string(i)}));
    }
    CHECK_FALSE(bench.exchange->open(bench.now, {bench.key.digest, "one more"}));
    CHECK(bench.exchange->open(bench.now, bench.key) == swarm);
  }
}
