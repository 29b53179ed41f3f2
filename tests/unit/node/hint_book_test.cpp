// When names are asked for, and what is made of their answers.
#include "node/hint_book.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace waggle;
using namespace waggle::node;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint start{};

Endpoint at(unsigned n, std::uint16_t port = 7947) {
  return Endpoint::v4(10, static_cast<std::uint8_t>(n >> 16U), static_cast<std::uint8_t>(n >> 8U),
                      static_cast<std::uint8_t>(n), port);
}

std::vector<Endpoint> many(unsigned count) {
  std::vector<Endpoint> all;
  for (unsigned n = 0; n < count; ++n) all.push_back(at(n));
  return all;
}

std::vector<JoinHint> hints(std::initializer_list<std::string_view> texts) {
  std::vector<JoinHint> parsed;
  for (const auto text : texts) parsed.push_back(std::get<JoinHint>(parse_join_hint(text)));
  return parsed;
}

struct Bench {
  HintBook book;
  TimePoint now = start;
  explicit Bench(std::initializer_list<std::string_view> texts, std::vector<Endpoint> own = {},
                 std::uint64_t seed = 1)
      : book(start, hints(texts), std::move(own), seed) {}

  /// Runs until the next query; how long that took.
  Duration until_query() {
    const TimePoint began = now;
    while (!book.poll_query()) {
      const auto due = book.poll_timeout();
      REQUIRE(due.has_value());
      now = std::max(now, *due);
      book.handle_timeout(now);
    }
    return now - began;
  }
  std::vector<Endpoint> list() {
    const auto said = book.poll_list();
    REQUIRE(said.has_value());
    return said->endpoints;
  }
  std::size_t notices() {
    std::size_t count = 0;
    while (book.poll_notice()) ++count;
    return count;
  }
};

bool is_about(Duration found, Duration wanted) {
  return found <= wanted && found >= wanted * 9 / 10;
}

}  // namespace

TEST_SUITE("node/hint_book") {
  TEST_CASE("static addresses are there at once, own ones and repetitions left out") {
    Bench bench({"10.0.0.1:7947", "10.0.0.2:7947", "10.0.0.2:7947", "10.0.0.3:1"}, {at(1)});
    CHECK(bench.list() == std::vector<Endpoint>{at(2), at(3, 1)});
    CHECK_FALSE(bench.book.poll_list().has_value());
    CHECK_FALSE(bench.book.poll_timeout().has_value());
    CHECK_FALSE(bench.book.has_names());
  }

  TEST_CASE("a name is asked for at once, and with company again every 30 s") {
    Bench bench({"dns:a.test:7947"});
    CHECK(bench.book.poll_list()->more_expected);
    CHECK(bench.until_query() == 0s);
    bench.book.set_alone(bench.now, false);
    for (int round = 0; round < 5; ++round) {
      bench.book.handle_answer(bench.now, 0, {at(1)});
      CHECK(bench.list() == std::vector<Endpoint>{at(1)});
      CHECK(is_about(bench.until_query(), 30s));
    }
    CHECK(bench.notices() == 1);  // that it resolves, once
  }

  TEST_CASE("a later answer replaces an earlier one") {
    Bench bench({"dns:a.test:7947"});
    bench.until_query();
    bench.book.handle_answer(bench.now, 0, {at(1), at(2)});
    CHECK(bench.list().size() == 2);
    bench.until_query();
    bench.book.handle_answer(bench.now, 0, {at(3)});
    CHECK(bench.list() == std::vector<Endpoint>{at(3)});
  }

  TEST_CASE("a failing name, and any name while alone, is asked for after 1, 2, 4 ... 30 s") {
    for (const bool fails : {true, false}) {
      Bench bench({"dns:a.test:7947"});
      bench.book.set_alone(start, !fails);
      bench.until_query();
      for (const Duration wait : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
        if (fails) {
          bench.book.handle_failure(bench.now, 0, "no such name");
        } else {
          bench.book.handle_answer(bench.now, 0, {at(1)});
        }
        CHECK(is_about(bench.until_query(), wait));
      }
      CHECK(bench.notices() == 1);  // one line, not seven
    }
  }

  TEST_CASE("a name that fails keeps its addresses and says so once; so does its return") {
    Bench bench({"dns:a.test:7947"});
    bench.until_query();
    bench.book.handle_answer(bench.now, 0, {at(1)});
    CHECK(bench.list() == std::vector<Endpoint>{at(1)});
    CHECK(bench.notices() == 1);
    for (int i = 0; i < 3; ++i) {
      bench.until_query();
      bench.book.handle_failure(bench.now, 0, "the server is gone");
    }
    const auto notice = bench.book.poll_notice();
    REQUIRE(notice.has_value());
    CHECK(notice->text == "dns:a.test:7947");
    CHECK(notice->problem == "the server is gone");
    CHECK(bench.notices() == 0);
    bench.until_query();
    bench.book.handle_answer(bench.now, 0, {at(1), at(2)});
    CHECK(bench.list().size() == 2);
    CHECK(bench.book.poll_notice()->addresses == 2);
  }

  TEST_CASE("who is alone again asks at once") {
    Bench bench({"dns:a.test:7947"});
    bench.until_query();
    bench.book.set_alone(bench.now, false);
    bench.book.handle_answer(bench.now, 0, {at(1)});
    bench.now += 3s;
    bench.book.set_alone(bench.now, true);
    CHECK(bench.until_query() == 0s);
  }

  TEST_CASE("of five thousand addresses 256 are taken, others each time, static ones always") {
    Bench bench({"10.9.9.9:7947", "dns:a.test:7947"});
    (void)bench.list();
    std::set<Endpoint> seen;
    for (int round = 0; round < 4; ++round) {
      bench.until_query();
      bench.book.handle_answer(bench.now, 0, many(5000));
      const auto list = bench.list();
      CHECK(list.size() == limits::join_hints_max);
      CHECK(list.front() == Endpoint::v4(10, 9, 9, 9, 7947));
      seen.insert(list.begin(), list.end());
    }
    CHECK(seen.size() > 3 * limits::join_hints_max);
  }

  TEST_CASE("own and useless addresses are no hints; a name that leads to this node is no wait") {
    Bench bench({"dns:a.test:7947"}, {at(1)});
    (void)bench.list();
    bench.until_query();
    bench.book.handle_answer(bench.now, 0, {at(1)});
    const auto alone = bench.book.poll_list();
    REQUIRE(alone.has_value());
    CHECK(alone->endpoints.empty());
    CHECK_FALSE(alone->more_expected);
    bench.until_query();
    bench.book.handle_answer(bench.now, 0,
                             {at(1), at(2), Endpoint::parse("[fe80::1]:7947").value(),
                              Endpoint::v4(0, 0, 0, 0, 7947), Endpoint::v4(239, 1, 1, 1, 7947)});
    CHECK(bench.list() == std::vector<Endpoint>{at(2)});
    bench.until_query();
    CHECK(bench.notices() == 1);
    bench.book.handle_answer(bench.now, 0, {Endpoint::parse("[fe80::1]:7947").value()});
    CHECK(bench.notices() == 1);  // as good as none
    CHECK_FALSE(bench.book.poll_list().has_value());
  }

  TEST_CASE("one name that never answers does not keep another's addresses away") {
    Bench bench({"dns:slow.test:7947", "dns:a.test:7947"});
    (void)bench.list();
    CHECK(bench.book.poll_query()->host == "slow.test");
    CHECK(bench.book.poll_query()->host == "a.test");
    bench.book.handle_answer(bench.now, 1, {at(5)});
    const auto said = bench.book.poll_list();
    REQUIRE(said.has_value());
    CHECK(said->endpoints == std::vector<Endpoint>{at(5)});
    CHECK(said->more_expected);
  }

  TEST_CASE("equal seeds give equal choices") {
    Bench a({"dns:a.test:7947"}, {}, 7);
    Bench b({"dns:a.test:7947"}, {}, 7);
    for (Bench* bench : {&a, &b}) {
      bench->until_query();
      bench->book.handle_answer(bench->now, 0, many(1000));
    }
    (void)a.book.poll_notice();
    CHECK(a.list() == b.list());
    CHECK(a.book.poll_timeout() == b.book.poll_timeout());
  }
}
