// Sequence rules of one log.
#include "gossip/announcement_log.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;

namespace {

const IdKey key = IdKey::for_cluster("test");

LogRecord have(std::uint64_t id) { return {LogRecord::Kind::have, Id64{id}, nullptr}; }
LogRecord drop(std::uint64_t id) { return {LogRecord::Kind::drop, Id64{id}, nullptr}; }

}  // namespace

TEST_SUITE("gossip/announcement_log") {
  TEST_CASE("the set hash is the XOR over the ids held, whatever the way there") {
    AnnouncementLog log(key, 5);
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
    AnnouncementLog log(key, 1);
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
    AnnouncementLog log(key, 1);
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
    AnnouncementLog log(key, 2);
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
    AnnouncementLog log(key, 1);
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
}
