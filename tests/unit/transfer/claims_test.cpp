// Collective fetch on a small virtual network: each extent once, whatever dies.
#include "claims_network.hpp"

#include "transfer/claim_seeker.hpp"
#include "transfer/claim_table.hpp"
#include "transfer/claim_wire.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::test;

TEST_SUITE("transfer/claims") {
  TEST_CASE("without faults every extent is fetched exactly once, whoever starts when") {
    for (const std::size_t nodes : {1U, 2U, 3U, 5U, 16U}) {
      for (const Duration jitter : {Duration{0}, Duration{200ms}, Duration{2s}}) {
        CAPTURE(nodes);
        CAPTURE(jitter.count());
        ClaimsNetwork network({.nodes = nodes, .seed = nodes, .start_jitter = jitter});
        REQUIRE(network.finish(30s));
        CHECK(network.fetched_bytes() == 13 * limits::extent_bytes);
      }
    }
  }

  TEST_CASE("five wanters with equal rates share evenly") {
    ClaimsNetwork network({.nodes = 5, .seed = 4});
    REQUIRE(network.finish(30s));
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(network.fetched_bytes(i) >= 2 * limits::extent_bytes);
      CHECK(network.fetched_bytes(i) <= 3 * limits::extent_bytes);
    }
  }

  TEST_CASE("an unknown size: one node asks first, then everybody") {
    ClaimsNetwork network({.nodes = 5, .seed = 9, .size_known = false});
    REQUIRE(network.finish(30s));
    CHECK(network.fetched_bytes() == 13 * limits::extent_bytes);
    for (std::size_t i = 0; i < 5; ++i) CHECK(network.fetched_bytes(i) > 0);
  }

  TEST_CASE("a hundred nodes and 256 extents: once each, with a bounded number of messages") {
    ClaimsNetwork network(
        {.nodes = 100, .seed = 2, .size = 256 * limits::extent_bytes, .start_jitter = 200ms});
    REQUIRE(network.finish(60s));
    CHECK(network.fetched_bytes() == 256 * limits::extent_bytes);
    MESSAGE("messages: ", network.messages());
    CHECK(network.messages() < 25'000);
  }

  TEST_CASE(
      "who came at the same moment is known within half a second: all to who fetches, most to "
      "others") {
    ClaimsNetwork network({.nodes = 100, .seed = 3, .size = 256 * limits::extent_bytes});
    (void)network.run_until([] { return false; }, 500ms);
    std::size_t fetching = 0;
    for (std::size_t i = 0; i < 100; ++i) {
      CAPTURE(i);
      if (network.fetching(i)) {
        ++fetching;
        CHECK(network.known(i) == 99);
      }
      CHECK(network.known(i) >= 80);
    }
    CHECK(fetching >= 2);
  }

  TEST_CASE("lost messages and diverging views cost little") {
    std::uint64_t total = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      CAPTURE(seed);
      ClaimsNetwork network({.nodes = 16,
                             .seed = seed,
                             .size = 64 * limits::extent_bytes,
                             .loss = 0.05,
                             .divergence = 0.05});
      REQUIRE(network.finish(60s));
      CHECK(network.fetched_bytes() <= 70 * limits::extent_bytes);
      total += network.fetched_bytes();
    }
    CHECK(static_cast<double>(total) <= 1.02 * 20 * 64 * static_cast<double>(limits::extent_bytes));
  }

  TEST_CASE("a claimant that dies is replaced, at the cost of its extent") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      CAPTURE(seed);
      ClaimsNetwork network({.nodes = 5, .seed = seed, .extent_time = 400ms});
      REQUIRE(network.run_until([&] { return network.fetching(3); }, 5s));
      network.crash(3);
      REQUIRE(network.finish(30s));
      CHECK(network.fetched_bytes() == 13 * limits::extent_bytes);
    }
  }

  TEST_CASE("a claimant much slower than the others loses its extent when nothing else is left") {
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U}) {
      CAPTURE(seed);
      ClaimsNetwork network({.nodes = 5, .seed = seed});
      network.slow_down(seed, 60);  // 12 s an extent; the others need 0.2 s
      const TimePoint began = network.now();
      REQUIRE(network.finish(30s));
      MESSAGE("took ", to_seconds(network.now() - began));
      CHECK(network.now() - began <= 6s);
      CHECK(network.fetched_bytes() == 13 * limits::extent_bytes);
      CHECK(network.fetched_bytes(seed) == 0);
    }
    // Slow as all are, everybody keeps what it has.
    ClaimsNetwork even({.nodes = 5, .seed = 5, .extent_time = 4s});
    REQUIRE(even.finish(30s));
    CHECK(even.fetched_bytes() == 13 * limits::extent_bytes);
    for (std::size_t i = 0; i < 5; ++i) CHECK(even.fetched_bytes(i) > 0);
  }

  TEST_CASE("registrars that die one, two or all three: everybody goes on") {
    for (const std::size_t dead : {1U, 2U, 3U}) {
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(dead);
        CAPTURE(seed);
        ClaimsNetwork network({.nodes = 12, .seed = seed, .size = 40 * limits::extent_bytes});
        const auto ranks = network.registrars();
        network.run_until([] { return false; }, 300ms);
        for (std::size_t i = 0; i < dead; ++i) network.crash(ranks[i]);
        network.run_until([] { return false; }, 4s);
        for (std::size_t i = 0; i < dead; ++i) network.detect_death(ranks[i]);
        REQUIRE(network.finish(60s));
        CHECK(network.fetched_bytes() <= (40 + 6 * dead) * limits::extent_bytes);
      }
    }
  }

  TEST_CASE("an upstream error gives the extent to another") {
    ClaimsNetwork network({.nodes = 3, .seed = 6});
    REQUIRE(network.run_until([&] { return network.fetching(0); }, 5s));
    network.fail_next_fetch(0);
    REQUIRE(network.finish(30s));
    CHECK(network.fetched_bytes() == 13 * limits::extent_bytes);
    CHECK(network.takeovers() >= 1);
  }

  TEST_CASE(
      "a registrar that was stopped itself does not condemn the claims it could not hear of") {
    const NodeId self{.bytes = {std::byte{1}}};
    const NodeId claimant{.bytes = {std::byte{2}}};
    const NodeId rival{.bytes = {std::byte{3}}};
    const SwarmTag tag;
    const auto grants_after = [&](Duration silence, bool on_time) {
      Claims claims(
          {.self = self, .incarnation = 1, .id_key = IdKey::for_cluster("waggle"), .seed = 1});
      claims.set_members(TimePoint{}, std::vector<NodeId>{self, claimant, rival});
      std::size_t grants = 0;
      const auto send = [&](TimePoint now, const NodeId& from, const ClaimBody& body) {
        claims.handle_message(now, from, encode_claim({tag, body}));
      };
      TimePoint now{};
      send(now, claimant, ClaimMessage{1, 1, 0, 1, false});
      claims.handle_timeout(now += 5ms);
      send(now, claimant, ProgressMessage{1, std::nullopt, false, {{{ExtentIndex{0}, 1}, 1}}});
      send(now, rival, ClaimMessage{2, 1, 0, 1, false});
      while (claims.poll_event()) {
      }
      const TimePoint end = now + silence;
      while (on_time && claims.poll_timeout() && *claims.poll_timeout() <= end) {
        claims.handle_timeout(now = *claims.poll_timeout());
      }
      claims.handle_timeout(now = end);
      while (auto event = claims.poll_event()) {
        const auto* out = std::get_if<ClaimsSend>(&*event);
        if (out == nullptr || out->to != rival) continue;
        const auto packet = decode_claim(out->payload);
        const auto* grant = std::get_if<GrantMessage>(&packet->body);
        if (grant != nullptr) grants += grant->grants.size();
      }
      return grants;
    };
    CHECK(grants_after(700ms, true) == 0);
    // Three PROGRESS missed by a registrar that was awake all the time: free. (2 s of grace came
    // with the grant.)
    CHECK(grants_after(3s, true) == 1);
    CHECK(grants_after(3s, false) == 0);
  }

  TEST_CASE("who needs nothing any more takes its question back and misses nobody") {
    const auto registrars = [] {
      std::vector<NodeId> nodes;
      for (int i = 1; i <= 3; ++i) nodes.push_back({.bytes = {static_cast<std::byte>(i)}});
      return nodes;
    }();
    for (const bool was_told_to_wait : {false, true}) {
      CAPTURE(was_told_to_wait);
      ClaimSeeker seeker(SwarmTag{}, 1, 1, true);
      std::vector<ClaimMessage> asked;
      std::size_t unreachable = 0;
      const auto drain = [&] {
        while (auto output = seeker.poll_output()) {
          if (const auto* sent = std::get_if<ClaimSeeker::Send>(&*output)) {
            const auto* claim = std::get_if<ClaimMessage>(&sent->body);
            if (claim != nullptr) asked.push_back(*claim);
          } else if (std::holds_alternative<TrioUnreachable>(std::get<ClaimsEvent>(*output))) {
            ++unreachable;
          }
        }
      };
      TimePoint now{};
      seeker.set_registrars(now, registrars);
      seeker.want(now, {.demand = 1});
      drain();
      REQUIRE(asked.size() == 1);
      const GrantMessage wait{asked[0].request, {}};
      if (was_told_to_wait) seeker.handle(now, registrars[0], wait);
      seeker.want(now, {.demand = 0});
      if (!was_told_to_wait) seeker.handle(now, registrars[0], wait);  // it was under way
      drain();
      REQUIRE(asked.size() == 2);
      CHECK(asked[1].request == asked[0].request);
      CHECK(asked[1].count == 0);
      const TimePoint end = now + 10s;
      while (seeker.poll_timeout() && *seeker.poll_timeout() <= end) {
        seeker.handle_timeout(now = *seeker.poll_timeout());
        drain();
      }
      CHECK(asked.size() == 2);
      CHECK(unreachable == 0);
    }
  }

  TEST_CASE("a question taken back is not answered by a grant") {
    const NodeId first{.bytes = {std::byte{1}}};
    const NodeId second{.bytes = {std::byte{2}}};
    ClaimTable table(TimePoint{}, first);
    std::vector<ClaimTable::Granted> granted;
    CHECK(table.claim(TimePoint{}, first, {1, 1, 0, 1, false}, granted));
    CHECK(table.claim(TimePoint{}, second, {2, 1, 0, 1, false}, granted));
    CHECK_FALSE(table.claim(TimePoint{}, first, {7, 1, 0, 0, false}, granted));  // another question
    CHECK_FALSE(table.claim(TimePoint{}, second, {2, 1, 0, 0, false}, granted));
    granted = table.assign(TimePoint{} + 1s);
    REQUIRE(granted.size() == 1);
    CHECK(granted[0].to == first);
    table.node_gone(TimePoint{} + 1s, first);
    CHECK(table.assign(TimePoint{} + 1s).empty());
  }

  TEST_CASE("same seed, same messages; another seed, others") {
    const auto run = [](std::uint64_t seed) {
      ClaimsNetwork network({.nodes = 8, .seed = seed, .loss = 0.05});
      network.finish(30s);
      return network.trace();
    };
    CHECK(run(3) == run(3));
    CHECK(run(3) != run(4));
  }
}

TEST_SUITE("transfer/claim_wire") {
  TEST_CASE("every message survives, every truncation fails") {
    SwarmTag tag;
    tag.bytes.fill(std::byte{0xab});
    NodeId node;
    node.bytes.fill(std::byte{7});
    DoneWindow done(5, Bitfield(limits::claim_bitmap_bits));
    done.set(ExtentIndex{9});
    const std::vector<ClaimBody> bodies = {
        WantMessage{1, 2, 3, 4, done, {{ExtentIndex{5}, 6}}},
        ClaimMessage{1, 2, 3, 4, true},
        ConfirmMessage{1, 2, {{ExtentIndex{3}, 4}}},
        ProgressMessage{1, std::nullopt, true, {{{ExtentIndex{2}, 3}, 4}}},
        ReleaseMessage{1, {ExtentIndex{2}, ExtentIndex{3}}, ReleaseMessage::Reason::elsewhere},
        UnwantMessage{1, true},
        NewsMessage{1, 2, {hop_name(node)}, {node, node}},
        GrantMessage{1, {{ExtentIndex{2}, 3}}},
        VoteMessage{1, {{{ExtentIndex{2}, 3}, true}}},
        PermitAskMessage{1, 2, {tag, ExtentIndex{3}}, true},
        PermitAnswerMessage{1, {tag, ExtentIndex{3}}, true, {{7, 4s}}},
        PermitHoldMessage{
            1, 2, {{{tag, ExtentIndex{3}}, 4, PermitHoldMessage::State::slow}}, {{0, 5ms}}},
    };
    for (const auto& body : bodies) {
      const Bytes wire = encode_claim({tag, body});
      const auto back = decode_claim(wire);
      REQUIRE(back.has_value());
      CHECK(back->tag == tag);
      CHECK(back->body.index() == body.index());
      CHECK(encode_claim(*back) == wire);
      for (std::size_t size = 0; size < wire.size(); ++size) {
        CHECK_FALSE(decode_claim(ByteView(wire).first(size)).has_value());
      }
    }
  }

  TEST_CASE("golden bytes") {
    SwarmTag tag;
    tag.bytes.fill(std::byte{0x11});
    const std::string tag_hex = "c410" + std::string(32, '1');
    // [6 unwant, tag, incarnation 300, completed true]
    CHECK(to_hex(encode_claim({tag, UnwantMessage{300, true}})) == "9406" + tag_hex + "cd012cc3");
    // [8 grant, tag, request 1, [[2, 3]]]
    CHECK(to_hex(encode_claim({tag, GrantMessage{1, {{ExtentIndex{2}, 3}}}})) ==
          "9408" + tag_hex + "01919202" + "03");
    const PermitId permit{tag, ExtentIndex{2}};
    // [10 permit_ask, tag, request 1, incarnation 5, blob, extent 2, reader true]
    CHECK(to_hex(encode_claim({tag, PermitAskMessage{1, 5, permit, true}})) ==
          "970a" + tag_hex + "0105" + tag_hex + "02c3");
    // [11 permit_answer, tag, request 1, blob, extent 2, granted false, [[credential 9, 300 ms]]]
    CHECK(to_hex(encode_claim({tag, PermitAnswerMessage{1, permit, false, {{9, 300ms}}}})) ==
          "970b" + tag_hex + "01" + tag_hex + "02c2919209cd012c");
    // [12 permit_hold, tag, incarnation 5, serial 6, [[blob, extent 2, 300 bytes, nearly done]],
    // []]
    CHECK(to_hex(encode_claim(
              {tag,
               PermitHoldMessage{
                   5, 6, {{permit, 300, PermitHoldMessage::State::nearly_done}}, {}}})) ==
          "960c" + tag_hex + "05069194" + tag_hex + "02cd012c0190");
  }

  TEST_CASE("limits plus one are refused") {
    SwarmTag tag;
    NewsMessage crowd{1, 2, std::vector<HopName>(news_wanters_max + 1), {}};
    CHECK(decode_claim(encode_claim({tag, crowd})).error() == BaseError::limit_exceeded);
    GrantMessage many{1, std::vector<ExtentClaim>(claims_per_message_max + 1)};
    CHECK(decode_claim(encode_claim({tag, many})).error() == BaseError::limit_exceeded);
    GrantMessage far{1, {{ExtentIndex{1U << 20U}, 1}}};
    CHECK(decode_claim(encode_claim({tag, far})).error() == BaseError::limit_exceeded);
    PermitHoldMessage hold{1, 2, {}, std::vector<HostPause>(pauses_per_message_max + 1)};
    CHECK(decode_claim(encode_claim({tag, hold})).error() == BaseError::limit_exceeded);
    hold = {1, 2, std::vector<PermitHoldMessage::Item>(claims_per_message_max + 1), {}};
    CHECK(decode_claim(encode_claim({tag, hold})).error() == BaseError::limit_exceeded);
    hold = {1, 2, {}, {{0, limits::upstream_pause_max + 1ms}}};
    CHECK(decode_claim(encode_claim({tag, hold})).error() == BaseError::limit_exceeded);
    CHECK(decode_claim(*from_hex("9263c410" + std::string(32, '0'))).error() ==
          BaseError::unsupported);
  }

  TEST_CASE("the largest messages fit a datagram") {
    SwarmTag tag;
    NodeId node;
    node.bytes.fill(std::byte{0xff});
    DoneWindow done(60'000, Bitfield(limits::claim_bitmap_bits, true));
    const WantMessage want{
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX >> 25U,
        done,
        std::vector<ExtentClaim>(claims_per_message_max, {ExtentIndex{65'000}, UINT32_MAX})};
    CHECK(encode_claim({tag, want}).size() <= 1200);
    const NewsMessage news{UINT64_MAX, UINT64_MAX >> 25U,
                           std::vector<HopName>(news_wanters_max, hop_name(node)),
                           std::vector<NodeId>(news_holders_max, node)};
    CHECK(encode_claim({tag, news}).size() <= 1200);
    const PermitHoldMessage hold{
        UINT64_MAX, UINT64_MAX,
        std::vector<PermitHoldMessage::Item>(
            claims_per_message_max,
            {{tag, ExtentIndex{65'000}}, UINT64_MAX >> 25U, PermitHoldMessage::State::ended}),
        std::vector<HostPause>(pauses_per_message_max, {UINT64_MAX, limits::upstream_pause_max})};
    CHECK(encode_claim({tag, hold}).size() <= 1200);
  }
}
