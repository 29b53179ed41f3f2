// Cookies, boots and awaited PINGs.
#include "gossip/sessions.hpp"

#include "base/limits.hpp"
#include "samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint start{};
PacketHeader header_of(unsigned n, Boot boot, std::uint64_t counter = 1) {
  return {PacketType::ping, true, id_of(n).prefix(), boot, counter};
}

struct Bench {
  SeededRandomSource random{1};
  Sessions sessions{random};
};

}  // namespace

TEST_SUITE("gossip/sessions") {
  TEST_CASE("a cookie proves one boot of one sender for 10 to 20 s") {
    Bench bench;
    const std::uint64_t cookie = bench.sessions.cookie(start, header_of(1, 7));
    CHECK(bench.sessions.proves(start, header_of(1, 7), cookie));
    CHECK(bench.sessions.proves(start + 19s, header_of(1, 7), cookie));
    CHECK_FALSE(bench.sessions.proves(start + 20s, header_of(1, 7), cookie));
    CHECK_FALSE(bench.sessions.proves(start, header_of(1, 8), cookie));
    CHECK_FALSE(bench.sessions.proves(start, header_of(2, 7), cookie));
    CHECK_FALSE(bench.sessions.proves(start, header_of(1, 7), 0));
    CHECK(bench.sessions.size() == 0);
  }

  TEST_CASE("once another boot is installed, no earlier cookie brings an old one back") {
    Bench bench;
    Sessions& sessions = bench.sessions;
    const std::uint64_t first = sessions.cookie(start, header_of(1, 7));
    REQUIRE(sessions.install(start, id_of(1), header_of(1, 7), endpoint_of(1)));
    CHECK_FALSE(sessions.proves(start, header_of(1, 7), first));
    CHECK_FALSE(sessions.accept_counter(start, header_of(1, 7)));
    REQUIRE(sessions.install(start, id_of(1), header_of(1, 8), endpoint_of(1)));
    CHECK(sessions.standing(header_of(1, 7)) == Sessions::Standing::replaced);
    CHECK(sessions.standing(header_of(1, 8)) == Sessions::Standing::current);
    REQUIRE(sessions.install(start, id_of(1), header_of(1, 9), endpoint_of(1)));
    CHECK(sessions.standing(header_of(1, 7)) == Sessions::Standing::unknown);
    CHECK_FALSE(sessions.proves(start, header_of(1, 7), first));
    CHECK(sessions.size() == 1);
    sessions.check_invariants();
  }

  TEST_CASE(
      "a replaced boot that lives gets its place back once, when the other has fallen silent") {
    Bench bench;
    Sessions& sessions = bench.sessions;
    REQUIRE(sessions.install(start, id_of(1), header_of(1, 7, 40), endpoint_of(1)));
    REQUIRE(sessions.install(start + 1s, id_of(1), header_of(1, 8), endpoint_of(2)));
    REQUIRE(sessions.accept_counter(start + 10s, header_of(1, 8, 2)));
    CHECK_FALSE(sessions.revive(start + 39s, header_of(1, 7, 50), endpoint_of(1)));
    REQUIRE(sessions.revive(start + 40s, header_of(1, 7, 50), endpoint_of(1)));
    CHECK(sessions.standing(header_of(1, 7)) == Sessions::Standing::current);
    CHECK(sessions.path(id_of(1)) == endpoint_of(1));
    CHECK_FALSE(sessions.accept_counter(start + 40s, header_of(1, 7, 50)));
    CHECK_FALSE(sessions.accept_counter(start + 40s, header_of(1, 7, 49)));
    CHECK(sessions.accept_counter(start + 40s, header_of(1, 7, 51)));
    // Both in turns: that is no survivor, until much later.
    CHECK_FALSE(sessions.revive(start + 500s, header_of(1, 8, 9), endpoint_of(2)));
    CHECK(sessions.revive(start + 640s, header_of(1, 8, 9), endpoint_of(2)));
    sessions.check_invariants();
  }

  TEST_CASE(
      "an awaited PING is answered once, within 5 s, and the oldest goes first when there are too "
      "many") {
    Bench bench;
    bench.sessions.await(start, 1, id_of(1), false);
    CHECK(bench.sessions.take_awaited(start + 5s, 1)->target == id_of(1));
    CHECK_FALSE(bench.sessions.take_awaited(start + 5s, 1).has_value());
    bench.sessions.await(start, 2, std::nullopt, true);
    CHECK_FALSE(bench.sessions.take_awaited(start + 5001ms, 2).has_value());
    for (std::uint64_t seq = 10; seq <= 10 + limits::awaited_pings_max; ++seq) {
      bench.sessions.await(start, seq, std::nullopt, false);
    }
    bench.sessions.check_invariants();
    CHECK_FALSE(bench.sessions.take_awaited(start, 10).has_value());
    CHECK(bench.sessions.take_awaited(start, 11).has_value());
  }

  TEST_CASE("a session is mutual only when said so, and not after a new boot") {
    Bench bench;
    CHECK_FALSE(bench.sessions.destination(id_of(1)).has_value());
    bench.sessions.set_mutual(id_of(1), true);
    CHECK_FALSE(bench.sessions.is_mutual(id_of(1)));
    REQUIRE(bench.sessions.install(start, id_of(1), header_of(1, 7), endpoint_of(1)));
    CHECK_FALSE(bench.sessions.is_mutual(id_of(1)));
    bench.sessions.set_mutual(id_of(1), true);
    CHECK(bench.sessions.is_mutual(id_of(1)));
    CHECK(bench.sessions.destination(id_of(1))->boot == 7);
    REQUIRE(bench.sessions.install(start, id_of(1), header_of(1, 8), endpoint_of(2)));
    CHECK_FALSE(bench.sessions.is_mutual(id_of(1)));
    CHECK(bench.sessions.path(id_of(1)) == endpoint_of(2));
    bench.sessions.erase(id_of(1));
    CHECK(bench.sessions.size() == 0);
  }
}
