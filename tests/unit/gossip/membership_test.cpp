// Lifeguard and SWIM rule by rule, on one node whose messages the test reads.
#include "gossip/membership.hpp"

#include "base/limits.hpp"
#include "samples.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;
using namespace std::chrono_literals;

namespace {

/// Node 0, which knows members 1..live. The test answers its PINGs, or not.
struct Bench {
  explicit Bench(unsigned live) {
    for (unsigned n = 1; n <= live; ++n) tell(member_of(n));
    run_for(2s);  // the news of them is told
    said.clear();
  }

  void tell(const Member& member, unsigned accuser = 0, bool repair = false) {
    const NodeId by = accuser == 0 ? NodeId{} : id_of(accuser);
    membership.handle_records(now, id_of(1), {repair, {{member, by}}});
    drain();
  }
  void drain() {
    while (auto event = membership.poll_event()) events.push_back(*event);
    while (auto outgoing = membership.poll_outgoing()) {
      const auto* ping = std::get_if<Ping>(&outgoing->message);
      if (ping != nullptr && outgoing->to && !silent.contains(*outgoing->to)) {
        Ack ack;
        ack.seq = ping->seq;
        ack.table_hash = membership.table().hash();
        answers.emplace_back(*outgoing->to, ack);
      }
      said.push_back(std::move(*outgoing));
    }
    for (const auto& [from, ack] : std::exchange(answers, {})) {
      membership.handle_ack(now, from, ack);
      drain();
    }
    membership.check_invariants();
  }
  void run_for(Duration duration) {
    const TimePoint end = now + duration;
    while (membership.poll_timeout() && *membership.poll_timeout() <= end) {
      now = std::max(now, *membership.poll_timeout());
      membership.handle_timeout(now);
      drain();
    }
    now = end;
  }
  /// Runs on until something is said that fits; the test fails when nothing is.
  template <typename Fits>
  Outgoing await(Fits fits, Duration limit = 10s) {
    for (const TimePoint end = now + limit; now < end; run_for(10ms)) {
      const auto it = std::find_if(said.begin(), said.end(), fits);
      if (it != said.end()) return *it;
    }
    FAIL("nothing of the kind was said");
    return {};
  }
  template <typename Message>
  std::vector<Outgoing> said_to(const NodeId& id) const {
    std::vector<Outgoing> out;
    for (const Outgoing& outgoing : said) {
      if (outgoing.to == id && std::holds_alternative<Message>(outgoing.message)) {
        out.push_back(outgoing);
      }
    }
    return out;
  }
  [[nodiscard]] MemberState state(unsigned n) const {
    return membership.table().find(id_of(n))->state;
  }

  TimePoint now{};
  Membership membership{
      {IdKey::for_cluster("waggle"), 1308, 5}, member_of(0, MemberState::alive, 3), now};
  std::set<NodeId> silent;
  std::vector<Outgoing> said;
  std::vector<MembershipEvent> events;
  std::vector<std::pair<NodeId, Ack>> answers;
};

bool names(const std::vector<MemberUpdate>& news, unsigned n, MemberState state) {
  return std::any_of(news.begin(), news.end(), [&](const MemberUpdate& update) {
    return update.member.id == id_of(n) && update.member.state == state;
  });
}

}  // namespace

TEST_SUITE("gossip/membership") {
  TEST_CASE("a copy from a third party never revives the faulty, its own higher incarnation does") {
    for (const bool repair : {false, true}) {
      Bench bench(4);
      bench.tell(member_of(2, MemberState::faulty, 5));
      for (const MemberState copy : {MemberState::alive, MemberState::suspect}) {
        bench.tell(member_of(2, copy, 5), 0, repair);
        bench.tell(member_of(2, copy, 4), 0, repair);
        CHECK(bench.state(2) == MemberState::faulty);
      }
      bench.membership.handle_self_record(bench.now, member_of(2, MemberState::alive, 5));
      CHECK(bench.state(2) == MemberState::faulty);
      bench.membership.handle_self_record(bench.now, member_of(2, MemberState::alive, 6));
      bench.drain();
      CHECK(bench.state(2) == MemberState::alive);
    }
  }

  TEST_CASE("a death in a copy of a table is only a suspicion, as news it is a death") {
    Bench bench(4);
    bench.tell(member_of(2, MemberState::faulty), 0, true);
    CHECK(bench.state(2) == MemberState::suspect);
    bench.tell(member_of(3, MemberState::faulty), 0, false);
    CHECK(bench.state(3) == MemberState::faulty);
  }

  TEST_CASE("buddy rule: PING and ACK to a suspect carry the suspicion, to the faulty its death") {
    for (const MemberState held : {MemberState::suspect, MemberState::faulty}) {
      Bench bench(4);
      bench.tell(member_of(2, held), held == MemberState::suspect ? 3 : 0);
      bench.run_for(3s);
      CHECK(names(bench.membership.make_ping(id_of(2)).news, 2, held));
      CHECK(bench.membership.make_ping(id_of(3)).news.empty());
      bench.said.clear();
      bench.membership.handle_ping(bench.now, id_of(2), endpoint_of(2), {});
      bench.drain();
      const auto acks = bench.said_to<Ack>(id_of(2));
      REQUIRE(acks.size() == 1);
      CHECK(names(std::get<Ack>(acks.front().message).news, 2, held));
    }
  }

  TEST_CASE("a silent target: three helpers and TCP are asked at once, and a TCP answer saves it") {
    for (const bool tcp_answers : {true, false}) {
      Bench bench(5);
      for (unsigned n = 1; n <= 5; ++n) bench.silent.insert(id_of(n));
      const auto ping = bench.await(
          [](const Outgoing& outgoing) { return std::holds_alternative<Ping>(outgoing.message); });
      const NodeId target = *ping.to;
      const std::uint64_t seq = std::get<Ping>(ping.message).seq;
      bench.said.clear();
      bench.events.clear();
      bench.run_for(310ms);
      std::size_t helpers = 0;
      for (const Outgoing& outgoing : bench.said) {
        const auto* request = std::get_if<PingReq>(&outgoing.message);
        if (request == nullptr) continue;
        ++helpers;
        CHECK(request->target == target);
        CHECK(request->seq == seq);
        CHECK(*outgoing.to != target);
      }
      CHECK(helpers == 3);
      const auto* fallback = std::get_if<FallbackPing>(&bench.events.back());
      REQUIRE(fallback != nullptr);
      CHECK(fallback->to == target);
      if (tcp_answers) bench.membership.handle_fallback_ack(fallback->seq, target);
      bench.run_for(1s);
      CHECK((bench.membership.table().find(target)->state == MemberState::alive) == tcp_answers);
    }
  }

  TEST_CASE("a helper passes the answer on, or says NACK after 300 ms, at once for the unknown") {
    Bench bench(3);
    bench.silent.insert(id_of(2));
    bench.said.clear();
    bench.membership.handle_ping_req(bench.now, id_of(1), {70, id_of(3)});
    bench.drain();
    const auto acks = bench.said_to<Ack>(id_of(1));
    REQUIRE(acks.size() == 1);
    CHECK(std::get<Ack>(acks.front().message).seq == 70);
    CHECK(std::get<Ack>(acks.front().message).target == id_of(3));
    bench.membership.handle_ping_req(bench.now, id_of(1), {71, id_of(2)});
    bench.run_for(299ms);
    CHECK(bench.said_to<Nack>(id_of(1)).empty());
    bench.run_for(1ms);
    REQUIRE(bench.said_to<Nack>(id_of(1)).size() == 1);
    CHECK(std::get<Nack>(bench.said_to<Nack>(id_of(1)).front().message).seq == 71);
    bench.membership.handle_ping_req(bench.now, id_of(1), {72, id_of(40)});
    bench.drain();
    CHECK(bench.said_to<Nack>(id_of(1)).size() == 2);
  }

  TEST_CASE("a suspicion lasts 24 s alone, and 4 s once two others have confirmed it") {
    for (unsigned confirmations = 0; confirmations <= 2; ++confirmations) {
      CAPTURE(confirmations);
      Bench bench(9);
      bench.tell(member_of(2, MemberState::suspect), 3);
      const TimePoint began = bench.now;
      bench.tell(member_of(2, MemberState::suspect), 3);  // a repeat confirms nothing
      for (unsigned n = 0; n < confirmations; ++n) {
        bench.tell(member_of(2, MemberState::suspect), 4 + n);
      }
      while (bench.state(2) == MemberState::suspect) bench.run_for(100ms);
      CHECK(bench.state(2) == MemberState::faulty);
      const double expected[] = {24, 24 - 20 * 0.631, 4};
      CHECK(to_seconds(bench.now - began) ==
            doctest::Approx(expected[confirmations]).epsilon(0.03));
    }
  }

  TEST_CASE("a node that hears it is suspected refutes with a higher incarnation, and slows down") {
    Bench bench(4);
    bench.tell(member_of(0, MemberState::suspect, 3), 2);
    CHECK(bench.membership.table().self().incarnation == 4);
    bench.tell(member_of(0, MemberState::faulty, 9));
    CHECK(bench.membership.table().self().incarnation == 10);
    bench.said.clear();
    bench.run_for(12s);
    std::size_t probes = 0;
    for (const Outgoing& outgoing : bench.said) {
      probes += std::holds_alternative<Ping>(outgoing.message) ? 1 : 0;
    }
    CHECK(probes <= 11);  // periods of 3 s, then 2 s, then 1 s
  }

  TEST_CASE("who was declared faulty is told so in the first minute") {
    Bench bench(9);
    bench.silent.insert(id_of(2));
    bench.tell(member_of(2, MemberState::faulty));
    bench.said.clear();
    bench.run_for(3s);
    const auto pings = bench.said_to<Ping>(id_of(2));
    REQUIRE_FALSE(pings.empty());
    CHECK(names(std::get<Ping>(pings.front().message).news, 2, MemberState::faulty));
    // Later news are not their business.
    bench.run_for(90s);
    bench.tell(member_of(3, MemberState::alive, 2));
    bench.said.clear();
    bench.run_for(3s);
    CHECK(bench.said_to<Ping>(id_of(2)).size() <= 1);  // the rejoin probe may be due
  }

  TEST_CASE("the faulty and a hint are pinged for ever, at least every 31 s") {
    Bench bench(4);
    const Endpoint hint = endpoint_of(77);
    bench.membership.set_hints(bench.now, {endpoint_of(0), endpoint_of(1), hint});
    bench.silent.insert(id_of(2));
    bench.tell(member_of(2, MemberState::faulty));
    bench.run_for(60s);
    for (int round = 0; round < 1000; ++round) {
      bench.said.clear();
      bench.run_for(31s);
      CHECK_FALSE(bench.said_to<Ping>(id_of(2)).empty());
      // Endpoint 1 is that of a live member: the other hint comes first.
      CHECK(std::any_of(bench.said.begin(), bench.said.end(), [&](const Outgoing& outgoing) {
        return !outgoing.to && outgoing.address == hint;
      }));
    }
  }

  TEST_CASE("who left by itself is not pinged again") {
    Bench bench(4);
    bench.tell(member_of(2, MemberState::left));
    bench.said.clear();
    bench.run_for(300s);
    CHECK(bench.said_to<Ping>(id_of(2)).empty());
  }

  TEST_CASE("tombstones of the unknown are taken over while joining, later they die out") {
    Bench bench(4);
    bench.tell(member_of(20, MemberState::faulty), 0, true);
    CHECK(bench.membership.table().find(id_of(20)) != nullptr);
    bench.run_for(60s);
    for (const bool repair : {false, true}) {
      bench.tell(member_of(21, MemberState::faulty), 0, repair);
      bench.tell(member_of(22, MemberState::left), 0, repair);
    }
    CHECK(bench.membership.table().find(id_of(21)) == nullptr);
    CHECK(bench.membership.table().find(id_of(22)) == nullptr);
  }

  TEST_CASE("whoever leaves a large cluster tells some directly, and these tell the rest") {
    Bench bench(limits::leave_told_max + 60);
    bench.said.clear();
    bench.membership.leave(bench.now);
    bench.drain();
    std::set<NodeId> told;
    for (const Outgoing& outgoing : bench.said) told.insert(*outgoing.to);
    CHECK(told.size() == limits::leave_told_max);
    bench.said.clear();
    bench.run_for(3s);
    CHECK_FALSE(bench.said.empty());
  }

  TEST_CASE("an answer late by a pause of the process condemns nobody") {
    Bench bench(9);
    bench.silent = {id_of(1), id_of(2), id_of(3), id_of(4), id_of(5),
                    id_of(6), id_of(7), id_of(8), id_of(9)};
    bench.tell(member_of(2, MemberState::suspect), 3);
    bench.await(
        [](const Outgoing& outgoing) { return std::holds_alternative<Ping>(outgoing.message); });
    bench.now += 40s;  // longer than the suspicion; the process stood still
    bench.membership.handle_timeout(bench.now);
    bench.drain();
    CHECK(bench.state(2) == MemberState::suspect);
    CHECK(bench.membership.table().count(MemberState::suspect) == 1);
    CHECK(bench.membership.table().count(MemberState::faulty) == 0);
  }
}
