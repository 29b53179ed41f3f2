// Scores, bans and the table of sessions.
#include "transfer/peer_scores.hpp"
#include "base/limits.hpp"
#include "transfer/session_table.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::transfer;
using namespace std::chrono_literals;

namespace {

NodeId node(unsigned n) {
  NodeId id;
  id.bytes[0] = static_cast<std::byte>(n & 0xffU);
  id.bytes[1] = static_cast<std::byte>(n >> 8U);
  return id;
}

}  // namespace

TEST_SUITE("transfer/peer_scores") {
  TEST_CASE("100 points ban for 10 minutes, the next time for 20") {
    PeerScores scores;
    const TimePoint start{};
    CHECK_FALSE(scores.add(start, node(1), 99));
    CHECK(scores.add(start, node(1), 1));
    CHECK(scores.is_banned(start + 599s, node(1)));
    CHECK_FALSE(scores.is_banned(start + 600s, node(1)));
    CHECK(scores.add(start + 600s, node(1), PeerScores::wrong_bytes));
    CHECK(scores.is_banned(start + 1799s, node(1)));
    CHECK_FALSE(scores.is_banned(start + 1800s, node(1)));
    CHECK(scores.bans() == 2);
    CHECK_FALSE(scores.is_banned(start, node(2)));
  }

  TEST_CASE("points decay by 10 a minute") {
    PeerScores scores;
    CHECK_FALSE(scores.add(TimePoint{}, node(1), 95));
    CHECK_FALSE(scores.add(TimePoint{} + 5min, node(1), 50));
    CHECK(scores.add(TimePoint{} + 5min, node(1), 6));
  }

  TEST_CASE("the table is bounded: the least scored goes first, the banned stay") {
    PeerScores scores;
    CHECK(scores.add(TimePoint{}, node(0), 100));
    for (unsigned i = 1; i <= limits::members_max; ++i) (void)scores.add(TimePoint{}, node(i), 1);
    CHECK(scores.is_banned(TimePoint{} + 1s, node(0)));
  }
}

TEST_SUITE("transfer/session_table") {
  TEST_CASE("the newest of two sessions with a node is used, then the other") {
    SessionTable table;
    table.add(TimePoint{}, SessionId{1}, node(1));
    table.add(TimePoint{}, SessionId{5}, node(1));
    table.add(TimePoint{}, SessionId{3}, node(2));
    table.check_invariants();
    CHECK(table.newest(node(1)) == SessionId{5});
    table.remove(SessionId{5});
    CHECK(table.newest(node(1)) == SessionId{1});
    table.remove(SessionId{1});
    table.remove(SessionId{1});
    CHECK_FALSE(table.newest(node(1)));
    CHECK(table.find(SessionId{1}) == nullptr);
    CHECK(table.find(SessionId{3})->peer == node(2));
    table.check_invariants();
  }
}
