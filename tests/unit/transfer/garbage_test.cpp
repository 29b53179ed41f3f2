// Mutations of valid messages from a peer that holds the key: nothing asserts, nothing grows
// without bound, and honest work goes on.
#include "../mutate.hpp"
#include "fixed_view.hpp"

#include "base/limits.hpp"
#include "base/prng.hpp"
#include "transfer/claim_wire.hpp"
#include "transfer/claims.hpp"
#include "transfer/error.hpp"
#include "transfer/exchange.hpp"
#include "transfer/frame.hpp"
#include "transfer/handshake.hpp"
#include "transfer/session_crypt.hpp"
#include "transfer/session_message.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

using namespace waggle;
using waggle::testing::mutate;
using namespace waggle::transfer;
using namespace waggle::transfer::testing;
using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int mutation_count_default = 5'000;
#else
constexpr int mutation_count_default = 30'000;
#endif
const char* const wanted_count = std::getenv("WAGGLE_MUTATIONS");  // 100000 in a soak
const int mutation_count =
    wanted_count == nullptr ? mutation_count_default : std::atoi(wanted_count);

const SwarmKey wanted{sha256_of(as_bytes("wanted")), "https://r:443"};
const SwarmKey complete{sha256_of(as_bytes("complete")), "https://r:443"};

/// Every kind of message about a blob.
std::vector<SessionMessage> messages_about(const SwarmKey& key, std::uint64_t size) {
  const SwarmTag tag = key.tag();
  const BlobLayout layout(size);
  HaveMap some{.all = false, .chunks = Bitfield(layout.chunk_count())};
  some.chunks.set(1);
  const Identity signer = identity_of(2);
  CrecMessage crec{.tag = tag, .chunk = ChunkIndex{1}, .size = size};
  crec.signer = signer.public_key();
  MidstatesMessage list{.tag = tag, .size = size, .first = 0, .total = layout.chunk_count() - 1};
  list.part.resize(list.total);
  list.prover = signer.public_key();
  return {OpenMessage{tag, key.digest, key.origin, size, some},
          OpenMessage{tag, key.digest, key.origin, size, {.all = true, .chunks = {}}},
          StateMessage{tag, size, some},
          HaveMessage{tag, {ChunkIndex{0}, ChunkIndex{2}}},
          RequestMessage{tag, ChunkIndex{1}, 0, 64 * KiB, false},
          RequestMessage{tag, ChunkIndex{0}, 0, 16, true},
          CancelMessage{tag, ChunkIndex{1}},
          RejectMessage{tag, ChunkIndex{1}, RejectReason::no_proof},
          RejectMessage{tag, std::nullopt, RejectReason::overloaded},
          BusyMessage{tag, 100},
          crec,
          GetMidstatesMessage{tag},
          list,
          CloseMessage{tag}};
}

/// Fresh sessions of ever new nodes, as each ban asks for one.
struct Attack {
  Attack() {
    view.members = {self.node_id()};
    view.size = 20 * MiB;
    ExchangeConfig config;
    config.reports_sent_blocks = true;
    exchange = std::make_unique<Exchange>(config, self, view, now);
    exchange->blob_available(now, complete.digest, 20 * MiB);
    next_peer();
  }
  void next_peer() {
    if (session) exchange->session_closed(now, *session);
    NodeId peer;
    store_le(MutableByteView(peer.bytes), ++peers);
    view.holding = {peer};
    session = SessionId{peers};
    exchange->session_opened(now, *session, peer);
    swarm = exchange->open(now, wanted, 20 * MiB);
  }
  /// Bytes that the driver would have to send; lists are loaded, sends are reported.
  std::size_t drain() {
    std::size_t bytes = 0;
    bool banned = false;
    while (auto output = exchange->poll_output()) {
      if (const auto* control = std::get_if<SendControl>(&*output)) {
        bytes += control->message.size();
      } else if (const auto* block = std::get_if<SendBlock>(&*output)) {
        exchange->block_sent(now, block->session);
      } else if (const auto* load = std::get_if<LoadMidstates>(&*output)) {
        exchange->midstates_loaded(now, load->digest, std::vector<Midstate>(79));
      } else if (std::holds_alternative<CloseSession>(*output)) {
        banned = true;
      }
    }
    if (banned) next_peer();
    return bytes;
  }

  TimePoint now{};
  Identity self = identity_of(1);
  FixedView view;
  std::unique_ptr<Exchange> exchange;
  std::uint64_t peers = 0;
  std::optional<SessionId> session;
  std::optional<SwarmId> swarm;
};

Bytes claim_sample(std::size_t kind, const SwarmTag& tag) {
  const std::vector<ExtentClaim> claims = {{ExtentIndex{0}, 1}, {ExtentIndex{7}, 2}};
  WantMessage want;
  want.request = 3;
  want.incarnation = 1;
  want.size = 200 * MiB;
  want.claims = claims;
  const std::vector<ClaimBody> bodies = {
      want,
      ClaimMessage{4, 1, 0, 2, false},
      ConfirmMessage{5, 1, claims},
      ProgressMessage{1, 200 * MiB, false, {{claims[0], 1000}}},
      ReleaseMessage{1, {ExtentIndex{0}}, ReleaseMessage::Reason::elsewhere},
      UnwantMessage{1, true},
      NewsMessage{3, 200 * MiB, {hop_name(identity_of(5).node_id())}, {identity_of(6).node_id()}},
      GrantMessage{4, claims},
      VoteMessage{5, {{claims[0], true}}}};
  return encode_claim({tag, bodies[kind % bodies.size()]});
}

}  // namespace

TEST_SUITE("transfer/garbage") {
  TEST_CASE("mutations of every session message trip nothing, and each is worth a bounded answer") {
    Attack attack;
    std::vector<Bytes> samples;
    for (const SwarmKey& key : {wanted, complete}) {
      for (const auto& message : messages_about(key, 20 * MiB)) samples.push_back(encode(message));
    }
    Prng prng(5);
    std::size_t most = 0;
    for (int i = 0; i < mutation_count; ++i) {
      const Bytes& sample = samples[static_cast<std::size_t>(prng.below(samples.size()))];
      attack.exchange->handle_control(attack.now, *attack.session, mutate(sample, prng));
      most = std::max(most, attack.drain());
      if (i % 500 == 0) {
        attack.exchange->check_invariants();
        attack.now += 100ms;
        attack.exchange->handle_timeout(attack.now);
        (void)attack.drain();
      }
    }
    CHECK(most <= 16 * KiB);    // the list of 79 midstates is the largest
    CHECK(attack.peers > 100);  // malformed messages end sessions
    attack.exchange->check_invariants();
    // An honest peer is served as ever.
    attack.next_peer();
    attack.exchange->handle_control(attack.now, *attack.session,
                                    encode(messages_about(complete, 20 * MiB)[1]));
    CHECK(attack.drain() > 0);
  }

  TEST_CASE(
      "mutations of every claim message trip nothing and keep the books within their bounds") {
    ClaimsConfig config;
    config.self = identity_of(1).node_id();
    config.id_key = IdKey::for_cluster("waggle");
    Claims claims(config);
    const std::vector<NodeId> members = {config.self, identity_of(2).node_id()};
    TimePoint now{};
    claims.set_members(now, members);
    claims.want(now, wanted, {});
    Prng prng(6);
    for (int i = 0; i < mutation_count; ++i) {
      const auto kind = static_cast<std::size_t>(prng.below(9));
      const SwarmTag tag = prng.below(2) == 0 ? wanted.tag() : complete.tag();
      NodeId from = members[1];
      from.bytes[15] = static_cast<std::byte>(prng.below(4));
      claims.handle_message(now, from, mutate(claim_sample(kind, tag), prng));
      while (claims.poll_event()) {
      }
      if (i % 500 == 0) {
        claims.check_invariants();
        now += 50ms;
        claims.handle_timeout(now);
        while (claims.poll_event()) {
        }
      }
    }
    claims.check_invariants();
  }

  TEST_CASE("a registrar keeps registrar_entries_max entries: the least recently used book goes") {
    ClaimsConfig config;
    config.self = identity_of(1).node_id();
    config.id_key = IdKey::for_cluster("waggle");
    Claims claims(config);
    const NodeId from = identity_of(2).node_id();
    claims.set_members(TimePoint{}, std::vector<NodeId>{config.self, from});
    // Each message fills 16 extents of one book, two entries each.
    const std::size_t books = 128;
    const std::size_t messages = limits::registrar_entries_max / 32 * 5 / 4;
    for (std::size_t i = 0; i < messages; ++i) {
      SwarmTag tag;
      store_le(MutableByteView(tag.bytes), std::uint64_t{i % books});
      ConfirmMessage confirm{i, 1, {}};
      for (std::uint32_t j = 0; j < claims_per_message_max; ++j) {
        const auto extent = static_cast<std::uint32_t>(i / books * claims_per_message_max + j);
        confirm.claims.push_back({ExtentIndex{extent}, 1});
      }
      claims.handle_message(TimePoint{}, from, encode_claim({tag, confirm}));
      while (claims.poll_event()) {
      }
      if (i % 512 == 0) claims.check_invariants();
    }
    claims.check_invariants();
  }

  TEST_CASE(
      "a registrar keeps registrar_blobs_max books and registrar_wanters_max wanters of one") {
    ClaimsConfig config;
    config.self = identity_of(1).node_id();
    config.id_key = IdKey::for_cluster("waggle");
    Claims claims(config);
    NodeId from = identity_of(2).node_id();
    claims.set_members(TimePoint{}, std::vector<NodeId>{config.self, from});
    const auto want = [&](const SwarmTag& tag, std::uint64_t request) {
      WantMessage message;
      message.request = request;
      message.incarnation = 1;
      message.size = 16 * MiB;
      claims.handle_message(TimePoint{}, from, encode_claim({tag, message}));
      std::size_t answers = 0;
      while (const auto event = claims.poll_event()) {
        answers += std::holds_alternative<ClaimsSend>(*event) ? 1 : 0;
      }
      return answers;
    };
    for (std::uint64_t i = 0; i < limits::registrar_blobs_max + 1; ++i) {
      SwarmTag tag;
      store_le(MutableByteView(tag.bytes), i);
      CHECK(want(tag, i) == 1);
    }
    claims.check_invariants();
    // Further wanters are answered, not listed.
    for (std::uint64_t i = 0; i < limits::registrar_wanters_max + 1; ++i) {
      store_le(MutableByteView(from.bytes), i);
      CHECK(want(wanted.tag(), i) == 1);
    }
    claims.check_invariants();
  }

  TEST_CASE("garbage on a session's stream ends in an error, never in a record that opens") {
    SessionSecrets secrets;
    SessionSealer sealer(secrets);
    Bytes stream;
    for (int i = 0; i < 4; ++i) sealer.seal_control(Bytes(100, std::byte{1}), stream);
    Prng prng(7);
    for (int i = 0; i < mutation_count / 10; ++i) {
      const Bytes spoilt = mutate(stream, prng);
      if (spoilt == Bytes(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                               spoilt.size(), stream.size())))) {
        continue;  // untouched, or only cut
      }
      FrameReader reader(record_bytes_max);
      SessionOpener opener(secrets);
      ControlJoiner joiner;
      const MutableByteView space = reader.prepare();
      std::copy(spoilt.begin(), spoilt.end(), space.begin());
      reader.commit(spoilt.size());
      int opened = 0;
      for (;;) {
        const auto record = reader.next();
        if (!record || !record->has_value()) break;
        if ((*record)->kind == RecordKind::payload) {
          CHECK_FALSE(opener.open_payload(**record).has_value());
          break;
        }
        const auto text = opener.open_control(**record);
        if (!text) break;
        CHECK(joiner.add(*text).value() == Bytes(100, std::byte{1}));
        ++opened;
      }
      CHECK(opened < 4);
    }
  }

  TEST_CASE("garbage in any message of a handshake ends it, on either side") {
    SeededRandomSource random(9);
    const KeyRing keys = {ClusterKey::generate(random)};
    const auto alice = HandshakeConfig::make("waggle", keys, identity_of(1), 0);
    const auto bob = HandshakeConfig::make("waggle", keys, identity_of(2), 0);
    Prng prng(8);
    for (int i = 0; i < mutation_count / 100; ++i) {
      Handshake from = Handshake::initiator(alice, random);
      Handshake to = Handshake::responder(bob, random);
      const std::uint64_t spoilt = prng.below(3);
      Bytes flight = from.start().value();
      bool failed = false;
      for (std::uint64_t turn = 0; turn < 3 && !failed; ++turn) {
        Handshake& reader = turn % 2 == 0 ? to : from;
        if (turn == spoilt) {
          flight[static_cast<std::size_t>(prng.below(flight.size()))] ^=
              static_cast<std::byte>(1U << prng.below(8));
        }
        Bytes answer;
        while (!flight.empty() && !failed) {
          const std::size_t size = reader.wanted();
          if (size == 0 || size > flight.size()) {
            failed = true;  // waits for bytes that never come: its deadline ends it
            break;
          }
          auto received = reader.receive(ByteView(flight).first(size));
          failed = !received.has_value();
          if (received) answer = *received;
          flight.erase(flight.begin(), flight.begin() + static_cast<std::ptrdiff_t>(size));
        }
        flight = answer;
      }
      CHECK(failed);
    }
  }
}
