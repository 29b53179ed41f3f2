// Whom wrong bytes convict: the sender by its own word at once, nobody by another's.
#include "exchange_net.hpp"
#include "fixed_view.hpp"

#include "base/limits.hpp"
#include "transfer/proof.hpp"
#include "transfer/session_message.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::testing;
using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

namespace {

constexpr SessionId to_ann{1};
constexpr SessionId to_bob{2};
constexpr ChunkIndex head{0};

/// One exchange that reads a blob of eight chunks; Ann has chunk 0, Bob has all. It claims nothing:
/// only a rescue takes it upstream.
struct Bench {
  Bench() {
    view.members = {self.node_id()};
    view.size = 2 * MiB;
    ExchangeConfig config;
    config.extents_in_flight_max = 0;
    exchange = std::make_unique<Exchange>(config, self, view, now);
    swarm = *exchange->open(now, key);
    exchange->add_reader(now, swarm, ReaderId{1}, 0);
    exchange->blob_opened(now, swarm, std::vector<StoredChunk>{});
    list.resize(layout.chunk_count() - 1);
    for (std::size_t i = 0; i < list.size(); ++i) list[i].bytes[0] = std::byte(i + 1);
  }
  void ann_opens() {
    Bitfield map(layout.chunk_count());
    map.set(0);
    open(to_ann, ann, {.all = false, .chunks = map});
  }
  void ann_opens_with_all() { open(to_ann, ann, {.all = true, .chunks = {}}); }
  void bob_opens() { open(to_bob, bob, {.all = true, .chunks = {}}); }
  void open(SessionId session, const Identity& node, const HaveMap& have) {
    exchange->session_opened(now, session, node.node_id());
    tell(session, OpenMessage{key.tag(), key.digest, key.origin, layout.size(), have});
  }
  void tell(SessionId session, const SessionMessage& message) {
    exchange->handle_control(now, session, encode(message));
  }
  /// The list as `prover` signs it, from Bob.
  void bob_sends_list(const Identity& prover) {
    const auto signature = ListSignature::make(prover, "waggle", key.digest, layout.size(), list);
    tell(to_bob,
         MidstatesMessage{key.tag(), layout.size(), 0, static_cast<std::uint32_t>(list.size()),
                          list, signature.prover, signature.signature});
  }
  void send_chunk(SessionId session, ChunkIndex chunk = head) {
    for (std::uint32_t at = 0; at < layout.chunk_bytes(); at += limits::block_bytes) {
      (void)exchange->block_received(now, session, {key.tag(), chunk, at, limits::block_bytes});
    }
  }
  void answer(SessionId session, ChunkVerdict verdict, ChunkIndex chunk = head) {
    exchange->chunk_verified(now, swarm, chunk, session, verdict, std::nullopt);
  }
  std::vector<ExchangeOutput> drain() {
    std::vector<ExchangeOutput> outputs;
    while (auto output = exchange->poll_output()) outputs.push_back(std::move(*output));
    return outputs;
  }
  template <typename Output>
  std::size_t count() {
    const auto outputs = drain();
    return static_cast<std::size_t>(std::count_if(
        outputs.begin(), outputs.end(),
        [](const ExchangeOutput& output) { return std::holds_alternative<Output>(output); }));
  }
  /// Blocks asked of peers since the last drain.
  std::size_t requests() {
    std::size_t found = 0;
    for (const ExchangeOutput& output : drain()) {
      const auto* sent = std::get_if<SendControl>(&output);
      if (sent == nullptr) continue;
      const auto message = decode_session_message(sent->message);
      if (message && std::holds_alternative<RequestMessage>(*message)) ++found;
    }
    return found;
  }
  void sleep_until(Duration since_start) {
    const TimePoint end = TimePoint{} + since_start;
    while (const auto next = exchange->poll_timeout()) {
      if (*next > end) break;
      now = std::max(*next, now + 1us);
      exchange->handle_timeout(now);
    }
    now = end;
  }
  [[nodiscard]] std::vector<NodeId> banned() const { return exchange->banned(now); }

  TimePoint now{};
  Identity self = identity_of(1), ann = identity_of(2), bob = identity_of(3), eve = identity_of(4);
  SwarmKey key{sha256_of(as_bytes("content")), "https://r:443"};
  BlobLayout layout{2 * MiB};
  std::vector<Midstate> list;
  FixedView view;
  std::unique_ptr<Exchange> exchange;
  SwarmId swarm{};
};

CrecMessage crec_by(const Bench& bench, const Identity& signer) {
  const CrecSubject subject{"waggle", bench.key.origin, bench.key.digest, bench.layout.size(),
                            head};
  ChunkSha256 sha256{};
  sha256[0] = std::byte{7};
  const Crec crec = Crec::make(signer, subject, sha256);
  return {bench.key.tag(), head, bench.layout.size(), crec.sha256, crec.signer, crec.signature};
}

}  // namespace

TEST_SUITE("transfer/liars") {
  TEST_CASE("bytes that fail the CREC they came with ban their sender, not the CREC's signer") {
    Bench bench;
    bench.ann_opens();
    bench.tell(to_ann, crec_by(bench, bench.eve));
    bench.send_chunk(to_ann);
    CHECK(bench.count<VerifyChunk>() == 1);
    bench.answer(to_ann, ChunkVerdict::mismatch);
    CHECK(bench.banned() == std::vector{bench.ann.node_id()});
    bench.exchange->check_invariants();
  }

  TEST_CASE("wrong bytes are no progress: the reader is rescued as if they had not come") {
    Bench bench;
    bench.ann_opens();
    bench.sleep_until(900ms);
    bench.tell(to_ann, crec_by(bench, bench.ann));
    for (std::uint32_t at = 0; at + limits::block_bytes < bench.layout.chunk_bytes();
         at += limits::block_bytes) {
      bench.sleep_until(900ms + at / limits::block_bytes * 500ms);
      (void)bench.exchange->block_received(bench.now, to_ann,
                                           {bench.key.tag(), head, at, limits::block_bytes});
    }
    bench.sleep_until(2500ms);
    (void)bench.exchange->block_received(
        bench.now, to_ann, {bench.key.tag(), head, 3 * limits::block_bytes, limits::block_bytes});
    CHECK(bench.count<VerifyChunk>() == 1);
    bench.answer(to_ann, ChunkVerdict::mismatch);
    CHECK(bench.count<StartFetch>() == 0);
    bench.sleep_until(4s);
    CHECK(bench.count<StartFetch>() == 1);
  }

  TEST_CASE("bytes that fail a list which their sender signed ban it at once") {
    Bench bench;
    bench.bob_opens();
    bench.bob_sends_list(bench.bob);
    bench.send_chunk(to_bob);
    CHECK(bench.count<VerifyChunk>() == 1);
    bench.answer(to_bob, ChunkVerdict::mismatch);
    CHECK(bench.banned() == std::vector{bench.bob.node_id()});
  }

  TEST_CASE("bytes that fail another's list ban nobody, and their sender is left alone") {
    Bench bench;
    bench.bob_opens();
    bench.bob_sends_list(bench.eve);
    (void)bench.count<SendControl>();
    bench.send_chunk(to_bob);
    CHECK(bench.count<VerifyChunk>() == 1);
    bench.answer(to_bob, ChunkVerdict::mismatch);
    CHECK(bench.banned().empty());
    bench.sleep_until(500ms);
    bench.exchange->check_invariants();
  }

  TEST_CASE("who vouched for a chunk by the very list that it fails is banned at once") {
    for (const bool vouches : {true, false}) {
      CAPTURE(vouches);
      Bench bench;
      bench.bob_opens();
      bench.bob_sends_list(bench.eve);
      bench.tell(to_bob, BusyMessage{bench.key.tag(), 60'000});  // Ann is the one to ask
      bench.ann_opens();
      if (vouches) {
        bench.tell(to_ann, VouchMessage{bench.key.tag(), head, list_hash(bench.list)});
      }
      bench.send_chunk(to_ann);
      CHECK(bench.count<VerifyChunk>() == 1);
      bench.answer(to_ann, ChunkVerdict::mismatch);
      CHECK(bench.banned().size() == (vouches ? 1 : 0));
    }
  }

  TEST_CASE("the only holder's wrong bytes cost one chunk, the rest comes from upstream once") {
    for (const bool is_list_forged : {false, true}) {
      CAPTURE(is_list_forged);
      Net net({.nodes = 4});
      const Blob blob = net.make_blob(40 * MiB);
      net.give(0, blob);
      if (is_list_forged) {
        net.make_list_liar(0);
      } else {
        net.make_liar(0, 9);
      }
      for (std::size_t n = 1; n < 4; ++n) net.pull(n, blob);
      CHECK(net.run_until([&] { return net.all_complete(blob, 1); }, 5s));
      CHECK(net.origin().bytes_out <= blob.size + limits::extent_bytes);
      for (std::size_t n = 1; n < 4; ++n) {
        CHECK(net.exchange(n).banned(net.now()) == std::vector{net.identity(0).node_id()});
      }
    }
  }

  TEST_CASE("a digest whose liar is convicted is tainted; other words for it are worth as before") {
    Bench bench;
    bench.bob_opens();
    bench.bob_sends_list(bench.bob);
    bench.send_chunk(to_bob);
    bench.answer(to_bob, ChunkVerdict::ok);
    bench.send_chunk(to_bob, ChunkIndex{1});
    bench.answer(to_bob, ChunkVerdict::mismatch, ChunkIndex{1});
    CHECK(bench.banned() == std::vector{bench.bob.node_id()});
    CHECK(bench.exchange->is_tainted(bench.now, bench.key.digest));
    bench.exchange->remove_reader(bench.now, bench.swarm, ReaderId{1});
    bench.sleep_until(60s);
    const SwarmId again = *bench.exchange->open(bench.now, bench.key);
    REQUIRE(again != bench.swarm);
    bench.swarm = again;
    bench.exchange->add_reader(bench.now, again, ReaderId{2}, 0);
    bench.exchange->blob_opened(bench.now, again, std::vector<StoredChunk>{});
    bench.ann_opens();
    (void)bench.count<VerifyChunk>();
    bench.tell(to_ann, crec_by(bench, bench.ann));
    bench.send_chunk(to_ann);
    CHECK(bench.count<VerifyChunk>() == 1);
  }

  TEST_CASE("what passed under a list that was given up is worth nothing under another") {
    Bench bench;
    bench.ann_opens_with_all();
    bench.bob_opens();
    bench.bob_sends_list(bench.eve);
    bench.send_chunk(to_bob);
    bench.answer(to_bob, ChunkVerdict::ok);
    bench.send_chunk(to_bob, ChunkIndex{1});
    bench.answer(to_bob, ChunkVerdict::mismatch, ChunkIndex{1});
    for (const ChunkIndex asked_before : {ChunkIndex{2}, ChunkIndex{7}}) {
      bench.send_chunk(to_ann, asked_before);
      bench.answer(to_ann, ChunkVerdict::ok, asked_before);
    }
    // Two sources fail alike: the list is the liar.
    bench.send_chunk(to_ann, ChunkIndex{1});
    bench.answer(to_ann, ChunkVerdict::mismatch, ChunkIndex{1});
    CHECK(bench.banned().empty());
    CHECK_FALSE(bench.exchange->is_tainted(bench.now, bench.key.digest));
    bench.sleep_until(100ms);
    (void)bench.drain();
    bench.list[5].bytes[1] = std::byte{9};
    bench.bob_sends_list(bench.bob);
    CHECK(bench.exchange->is_tainted(bench.now, bench.key.digest));
    const auto outputs = bench.drain();
    CHECK(std::any_of(outputs.begin(), outputs.end(), [](const ExchangeOutput& output) {
      const auto* closed = std::get_if<CloseBlob>(&output);
      return closed != nullptr && closed->discard;
    }));
    // The swarm began anew, and its peers still have what they had.
    bench.exchange->blob_opened(bench.now, bench.swarm, std::vector<StoredChunk>{});
    bench.sleep_until(300ms);
    CHECK(bench.requests() > 0);
  }

  TEST_CASE("a refuted digest is tainted, and its next swarm takes nobody's word") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(5 * MiB);
    net.origin().variant = 3;
    net.pull(0, blob);
    CHECK(net.run_until([&] { return net.error(0, blob).has_value(); }, 20s));
    CHECK(net.exchange(0).is_tainted(net.now(), blob.key.digest));
    CHECK(net.exchange(0).tainted(net.now()).size() == 1);
    CHECK_FALSE(net.exchange(1).is_tainted(net.now(), blob.key.digest));
    // Node 1 takes wrong bytes and signs them; node 0 must not believe it.
    net.pull(1, blob);
    net.run_for(30ms);
    net.origin().variant = 0;
    net.pull(0, blob);
    CHECK(net.run_until([&] { return net.is_complete(0, blob); }, 20s));
    for (const auto& [chunk, source] : net.ready(0)) CHECK(source != ChunkSource::peer);
  }

  TEST_CASE("when upstream lied to several nobody is banned") {
    Net net({.nodes = 5});
    const Blob blob = net.make_blob(60 * MiB);
    net.origin().variant = 3;
    for (std::size_t n = 0; n < 5; ++n) net.pull(n, blob);
    CHECK(
        net.run_until([&] { return net.exchange(4).is_tainted(net.now(), blob.key.digest); }, 20s));
    net.origin().variant = 0;
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 30s));
    for (std::size_t n = 0; n < 5; ++n) CHECK(net.exchange(n).stats().bans == 0);
    CHECK(net.origin().bytes_out <= 2 * blob.size + 2 * limits::extent_bytes);
  }
}
