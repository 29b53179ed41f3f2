// The protocol period: order of targets, verdicts, local health.
#include "gossip/prober.hpp"

#include "samples.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;
using namespace std::chrono_literals;

namespace {

using Kind = Prober::StepKind;

struct Bench {
  TimePoint now{};
  Prober prober{TimePoint{}, 7};
  /// The next step, whenever it is due.
  Prober::Step next() {
    for (;;) {
      if (const auto step = prober.next_step(now)) return *step;
      now = *prober.poll_timeout();
    }
  }
  /// Who is pinged next; it answers.
  NodeId ping() {
    const auto step = next();
    REQUIRE(step.kind == Kind::ping);
    CHECK(prober.handle_ack(step.seq, step.target));
    return step.target;
  }
};

}  // namespace

TEST_SUITE("gossip/prober") {
  TEST_CASE("every target is pinged once per round, one per period") {
    Bench bench;
    for (unsigned n = 1; n <= 5; ++n) bench.prober.add(id_of(n));
    for (int round = 0; round < 3; ++round) {
      std::map<NodeId, int> pings;
      for (int i = 0; i < 5; ++i) {
        const TimePoint before = bench.now;
        const auto step = bench.next();
        REQUIRE(step.kind == Kind::ping);
        if (round + i > 0) CHECK(bench.now - before == 1s);
        ++pings[step.target];
        CHECK(bench.prober.handle_ack(step.seq, step.target));
      }
      CHECK(pings.size() == 5);
    }
  }

  TEST_CASE("a hurried target is probed next, and nobody loses its turn for it") {
    for (unsigned hurried = 1; hurried <= 8; ++hurried) {
      for (int before = 0; before < 8; ++before) {
        Bench bench;
        for (unsigned n = 1; n <= 8; ++n) bench.prober.add(id_of(n));
        std::map<NodeId, int> pings;
        for (int i = 0; i < before; ++i) ++pings[bench.ping()];
        const bool had_its_turn = pings.contains(id_of(hurried));
        bench.prober.hurry(id_of(hurried));
        const NodeId next = bench.ping();
        CHECK(next == id_of(hurried));
        ++pings[next];
        while (pings.size() < 8) ++pings[bench.ping()];
        CHECK(pings[id_of(hurried)] == (had_its_turn ? 2 : 1));
        for (const auto& [id, count] : pings) {
          if (id != id_of(hurried)) CHECK(count == 1);
        }
        bench.prober.hurry(id_of(99));
        CHECK(bench.prober.target_count() == 8);
      }
    }
  }

  TEST_CASE("a newcomer is probed before the round ends, and nobody is left out for it") {
    for (int before = 0; before < 8; ++before) {
      Bench bench;
      for (unsigned n = 1; n <= 8; ++n) bench.prober.add(id_of(n));
      std::map<NodeId, int> pings;
      for (int i = 0; i < before; ++i) ++pings[bench.ping()];
      bench.prober.add(id_of(9));
      while (pings.size() < 9) {
        REQUIRE(bench.prober.target_count() == 9);
        ++pings[bench.ping()];
        for (const auto& [id, count] : pings) CHECK(count == 1);
      }
    }
  }

  TEST_CASE("who is removed in mid-round costs nobody else a probe") {
    for (unsigned gone = 1; gone <= 8; ++gone) {
      Bench bench;
      for (unsigned n = 1; n <= 8; ++n) bench.prober.add(id_of(n));
      std::map<NodeId, int> pings;
      for (int i = 0; i < 4; ++i) ++pings[bench.next().target], bench.prober.abandon();
      bench.prober.remove(id_of(gone));
      bench.prober.remove(id_of(gone));
      const std::size_t left = 8 - pings.size() - (pings.contains(id_of(gone)) ? 0 : 1);
      for (std::size_t i = 0; i < left; ++i) ++pings[bench.next().target], bench.prober.abandon();
      pings.erase(id_of(gone));
      CHECK(pings.size() == 7);
      for (const auto& [id, count] : pings) CHECK(count == 1);
    }
  }

  TEST_CASE("a silent target costs helpers after 300 ms and fails at the period's end") {
    Bench bench;
    bench.prober.add(id_of(1));
    const auto ping = bench.next();
    const TimePoint sent = bench.now;
    const auto ask = bench.next();
    CHECK(ask.kind == Kind::ask_helpers);
    CHECK(ask.seq == ping.seq);
    CHECK(bench.now - sent == 300ms);
    const auto failed = bench.next();
    CHECK(failed.kind == Kind::failed);
    CHECK(bench.now - sent == 1s);
    CHECK(bench.next().kind == Kind::ping);
  }

  TEST_CASE("an answer through a helper counts, one from another node or probe does not") {
    Bench bench;
    bench.prober.add(id_of(1));
    const auto ping = bench.next();
    CHECK_FALSE(bench.prober.handle_ack(ping.seq + 1, id_of(1)));
    CHECK_FALSE(bench.prober.handle_ack(ping.seq, id_of(2)));
    CHECK(bench.next().kind == Kind::ask_helpers);
    CHECK(bench.prober.handle_ack(ping.seq, id_of(1)));
    CHECK_FALSE(bench.prober.handle_ack(ping.seq, id_of(1)));
    CHECK(bench.next().kind == Kind::ping);
  }

  TEST_CASE("health: silence of helpers worsens it, their NACKs excuse it, answers mend it") {
    Bench bench;
    bench.prober.add(id_of(1));
    const auto silent = bench.next();
    bench.next();
    bench.prober.set_helpers(3);
    bench.next();
    CHECK(bench.prober.score() == 3);
    const auto excused = bench.next();
    const TimePoint sent = bench.now;
    bench.next();
    bench.prober.set_helpers(2);
    bench.prober.handle_nack(silent.seq);
    bench.prober.handle_nack(excused.seq);
    bench.prober.handle_nack(excused.seq);
    CHECK(bench.next().kind == Kind::failed);
    CHECK(bench.now - sent == 4s);  // the period is stretched by the score
    CHECK(bench.prober.score() == 3);
    for (unsigned score = 3; score > 0; --score) {
      const auto step = bench.next();
      CHECK(bench.prober.handle_ack(step.seq, step.target));
      CHECK(bench.prober.score() == score - 1);
    }
    for (int i = 0; i < 20; ++i) bench.prober.note_refuted();
    CHECK(bench.prober.score() == Prober::score_max);
  }

  TEST_CASE("a removed target gets no verdict, an abandoned probe neither") {
    Bench bench;
    bench.prober.add(id_of(1));
    bench.next();
    bench.prober.remove(id_of(1));
    CHECK_FALSE(bench.prober.next_step(bench.now + 10s).has_value());
    bench.now += 10s;
    bench.prober.add(id_of(2));
    bench.next();
    bench.prober.abandon();
    CHECK(bench.next().kind == Kind::ping);
    bench.prober.stop();
    CHECK_FALSE(bench.prober.poll_timeout().has_value());
  }
}
