// Sequence rules of one log.
#include "gossip/announcement_log.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <string>

using namespace waggle;
using namespace waggle::gossip;

namespace {

const IdKey key = IdKey::for_cluster("test");

LogRecord have(std::uint64_t id) { return {LogRecord::Kind::have, Id64{id}, nullptr}; }
LogRecord drop(std::uint64_t id) { return {LogRecord::Kind::drop, Id64{id}, nullptr}; }

}  // namespace

TEST_SUITE("gossip/announcement_log") {
  TEST_CASE("the set hash is the XOR over the ids held, whatever the way there") {
    LogBudget budget;
    AnnouncementLog log(key, 5, budget);
    CHECK(log.first_kept() == 1);
    log.append(have(1), true);
    log.append(have(2), true);
    log.append(drop(1), true);
    CHECK(log.set_hash() == id_hash(key, Id64{2}));
    CHECK(log.id_count() == 1);
    CHECK(log.seq() == 3);
    log.append(have(2), false);  // already held
    CHECK(log.set_hash() == id_hash(key, Id64{2}));
    CHECK(log.seq() == 4);
  }

  TEST_CASE("records in order apply, early ones park within 64, others are gaps") {
    LogBudget budget;
    AnnouncementLog log(key, 1, budget);
    log.append(have(1), true);
    CHECK(log.order_of(1) == AnnouncementLog::Order::duplicate);
    CHECK(log.order_of(2) == AnnouncementLog::Order::next);
    CHECK(log.order_of(3) == AnnouncementLog::Order::early);
    CHECK(log.order_of(2 + limits::log_window_max) == AnnouncementLog::Order::early);
    CHECK(log.order_of(3 + limits::log_window_max) == AnnouncementLog::Order::gap);
    CHECK(log.order_of(UINT64_MAX) == AnnouncementLog::Order::gap);
    for (std::uint64_t seq = 3; seq <= 2 + limits::log_window_max; ++seq) {
      log.park(seq, Have{Id64{seq}});
      log.park(seq, Have{Id64{seq}});
    }
    CHECK(log.parked_count() == limits::log_window_max);
    CHECK_FALSE(log.take_parked());
    log.check_invariants();
    log.append(have(2), true);
    while (const auto record = log.take_parked()) {
      log.append(have(to_value(std::get<Have>(*record).id)), true);
    }
    CHECK(log.seq() == 2 + limits::log_window_max);
    CHECK(log.parked_count() == 0);
  }

  TEST_CASE("the newest 256 records are kept") {
    LogBudget budget;
    AnnouncementLog log(key, 1, budget);
    for (std::uint64_t id = 1; id <= 300; ++id) log.append(have(id), true);
    CHECK(log.first_kept() == 45);
    std::vector<std::size_t> defined;
    CHECK(log.records_from(44, defined).empty());
    CHECK(log.records_from(301, defined).empty());
    const auto records = log.records_from(298, defined);
    REQUIRE(records.size() == 3);
    CHECK(std::get<Have>(records[0]).id == Id64{298});
    CHECK(log.records_from(45, defined).size() == limits::log_records_per_origin_max);
    log.check_invariants();
  }

  TEST_CASE("a base is record 1 until it is the oldest beyond the limit") {
    LogBudget budget;
    AnnouncementLog log(key, 2, budget);
    log.open_with({1, 40, 77}, 3);
    CHECK(log.seq() == 1);
    CHECK(log.set_hash() == 77);
    CHECK(log.first_kept() == 1);
    for (std::uint64_t id = 1; id < limits::log_records_per_origin_max; ++id) {
      log.append(have(id), true);
    }
    std::vector<std::size_t> defined;
    const auto records = log.records_from(1, defined);
    CHECK(records.size() == limits::log_records_per_origin_max);
    CHECK(std::get<Base>(records[0]) == Base{1, 40, 77});
    log.append(have(9999), true);
    CHECK(log.first_kept() == 2);
    log.check_invariants();
  }

  TEST_CASE("an installed set replaces the records and drops what was parked before it") {
    LogBudget budget;
    AnnouncementLog log(key, 1, budget);
    log.append({LogRecord::Kind::defined_have, Id64{4}, nullptr}, true);
    std::vector<std::size_t> defined;
    CHECK(log.records_from(1, defined).size() == 1);
    CHECK(defined == std::vector<std::size_t>{0});
    log.park(9, Have{Id64{9}});
    log.park(12, Have{Id64{12}});
    log.install(11, 123, 7);
    CHECK(log.seq() == 11);
    CHECK(log.first_kept() == 12);
    CHECK(log.id_count() == 7);
    CHECK(std::get<Have>(*log.take_parked()).id == Id64{12});
    log.check_invariants();
  }

  TEST_CASE("beyond the budget the least recently written log loses its older records first") {
    constexpr std::size_t bytes_max = 4 * 256 * 9;  // four full logs
    LogBudget budget(bytes_max);
    std::deque<AnnouncementLog> logs;
    std::uint64_t id = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      logs.emplace_back(key, 1, budget);
      for (std::size_t n = 0; n < limits::log_records_per_origin_max; ++n) {
        logs.back().append(have(++id), true);
      }
    }
    CHECK(budget.bytes() <= bytes_max);
    CHECK(logs[0].first_kept() == 1);
    logs[0].append(have(++id), true);  // now log 1 is the least recently written
    logs.emplace_back(key, 1, budget);
    logs[4].append(have(++id), true);
    CHECK(budget.bytes() <= bytes_max);
    CHECK(logs[0].first_kept() == 2);
    CHECK(logs[1].first_kept() == 129);
    CHECK(logs[2].first_kept() == 1);
    std::vector<std::size_t> defined;
    CHECK(logs[1].records_from(129, defined).size() == 128);
    CHECK(logs[1].records_from(128, defined).empty());
    // Its sequence, set and count are what they were.
    CHECK(logs[1].seq() == limits::log_records_per_origin_max);
    CHECK(logs[1].id_count() == limits::log_records_per_origin_max);
    for (std::size_t n = 0; n < 255; ++n) logs[4].append(have(++id), true);
    CHECK(logs[4].first_kept() == 1);
    CHECK(logs[1].first_kept() == logs[1].seq() + 1);
    CHECK(logs[1].records_from(256, defined).empty());
    for (auto& log : logs) log.check_invariants();
    logs[1].append(have(++id), true);
    CHECK(logs[1].records_from(257, defined).size() == 1);
    logs.clear();
    CHECK(budget.bytes() == 0);
  }

  TEST_CASE("a log replaced, moved or installed over gives its records back to the budget") {
    LogBudget budget(2048);
    AnnouncementLog log(key, 1, budget);
    AnnouncementLog other(key, 1, budget);
    const auto name = std::make_shared<SignedName>();
    log.append({LogRecord::Kind::name, Id64{}, name}, false);
    log.append(have(1), true);
    other.append(have(2), true);
    CHECK(budget.bytes() > sizeof(SignedName));
    AnnouncementLog moved(std::move(log));
    std::vector<std::size_t> defined;
    CHECK(std::get<Named>(moved.records_from(1, defined).at(0)).name == name);
    moved.install(7, 1, 1);
    CHECK(name.use_count() == 1);
    const std::size_t of_other = budget.bytes();
    moved.append(have(3), true);
    moved = AnnouncementLog(key, 2, budget);
    CHECK(budget.bytes() == of_other);
    other = AnnouncementLog(key, 2, budget);
    CHECK(budget.bytes() == 0);
  }

  TEST_CASE("a NAME counts as what it takes, and one too large for the budget is not kept") {
    LogBudget budget(256);
    AnnouncementLog log(key, 1, budget);
    log.append(have(1), true);
    auto name = std::make_shared<SignedName>();
    name->record.media_type = std::string(100, 'x');
    log.append({LogRecord::Kind::name, Id64{}, name}, false);
    CHECK(log.first_kept() == 3);
    CHECK(log.seq() == 2);
    CHECK(budget.bytes() == 0);
    log.append(have(2), true);
    CHECK(log.first_kept() == 3);
    log.check_invariants();
  }

  TEST_CASE("early records of all logs share their room") {
    LogBudget budget(1000, 3);
    AnnouncementLog one(key, 1, budget);
    AnnouncementLog two(key, 1, budget);
    one.park(3, Have{Id64{3}});
    one.park(4, Have{Id64{4}});
    one.park(4, Have{Id64{4}});
    two.park(3, Have{Id64{3}});
    two.park(4, Have{Id64{4}});
    CHECK(one.parked_count() == 2);
    CHECK(two.parked_count() == 1);
    one.install(5, 1, 1);
    CHECK_FALSE(one.take_parked());
    CHECK(budget.parked() == 1);
    two.park(4, Have{Id64{4}});
    CHECK(two.parked_count() == 2);
    two = AnnouncementLog(key, 2, budget);
    CHECK(budget.parked() == 0);
  }

  TEST_CASE("an origin without records takes 150 bytes, one with a few 250") {
    CHECK(sizeof(AnnouncementLog) <= 64);
    CHECK(sizeof(AnnouncementLog) + sizeof(LogRecords) + 16 <= 150);
    LogBudget budget;
    AnnouncementLog log(key, 1, budget);
    for (std::uint64_t id = 1; id <= 8; ++id) log.append(have(id), true);
    CHECK(sizeof(AnnouncementLog) + sizeof(LogRecords) + budget.bytes() + 32 <= 250);
  }
}
