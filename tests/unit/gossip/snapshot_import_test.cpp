// One import against hand-made parts, and one giver against hand-made questions: pace, limits,
// hostile members.
#include "gossip/snapshot_import.hpp"

#include "../identity_of.hpp"
#include "announcement_network.hpp"
#include "base/limits.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <vector>

using namespace waggle;
using waggle::testing::identity_of;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

using Verdict = SnapshotImport::Verdict;

NodeId node(unsigned n) {
  NodeId id;
  id.bytes[0] = static_cast<std::byte>(n);
  return id;
}
Id64 id_at(std::uint64_t n) { return Id64{n}; }

/// A part of bare ids, each held by the rows named (bit i: row i).
SnapshotPart part_of(SnapshotCursor from, std::uint64_t next, std::vector<SnapshotOrigin> table,
                     const std::vector<std::pair<std::uint64_t, std::uint64_t>>& entries) {
  SnapshotPart part{from, next, snapshot_table_hash(cluster_key(), table), table.size(), table,
                    {},   {}};
  SnapshotPacker packer(table.size(), limits::snapshot_part_bytes_max);
  for (const auto& [id, holders] : entries) {
    REQUIRE(packer.append({std::nullopt, id_at(id), {&holders, 1}}));
  }
  part.entries = packer.take();
  return part;
}

std::vector<SnapshotOrigin> table_of(std::initializer_list<unsigned> nodes, std::uint64_t seq = 1) {
  std::vector<SnapshotOrigin> table;
  for (const unsigned n : nodes) table.push_back({NodeRef{node(n)}, 1, seq, 77});
  return table;
}

/// A node with members that the test plays; the first `full` of them have sets to pull.
struct Joiner {
  Identity us = identity_of(1);
  std::vector<Identity> others;
  Announcements core{{cluster_key(), us.node_id(), 5, 1200, 1}, us, TimePoint{}};

  Joiner(std::size_t known, std::size_t unknown) {
    SeededRandomSource random(7);
    for (std::size_t i = 0; i < known + unknown; ++i) others.push_back(Identity::generate(random));
    for (std::size_t i = 0; i < known; ++i) {
      core.member_up(TimePoint{}, others[i].node_id(), 1, others[i].public_key());
    }
    drain();
  }
  void drain() {
    while (core.poll_message()) {
    }
  }
  /// What it asks for when member 0 tells states of [first, last).
  std::vector<BulkMessage> told(TimePoint now, std::size_t first, std::size_t last) {
    AeStates states;
    for (std::size_t i = first; i < last; ++i) {
      states.states.push_back({NodeRef{others[i].node_id()}, 1, 300, 7, 0});
    }
    std::sort(states.states.begin(), states.states.end());
    core.handle_message(now, others[0].node_id(), encode(states));
    drain();
    std::vector<BulkMessage> asked;
    while (const auto bulk = core.poll_bulk()) asked.push_back(*decode_bulk(bulk->frame));
    core.check_invariants();
    return asked;
  }
};

/// An import from node 1 with its index; node n has slot 10 + n and is wanted.
struct Lab {
  TimePoint now{};
  ContentIndex index{1, 1000};
  SnapshotImport import{now, node(1)};
  std::vector<Id64> undefined;

  std::vector<std::optional<SnapshotImport::Match>> matches(const SnapshotPart& part) {
    std::vector<std::optional<SnapshotImport::Match>> rows;
    for (const auto& row : part.origins) {
      const auto n = std::to_integer<unsigned>(row.origin.id.bytes[0]);
      rows.push_back(SnapshotImport::Match{row.origin.id, static_cast<NodeSlot>(10 + n), true});
    }
    return rows;
  }
  Verdict take(const SnapshotPart& part, const NodeId& from = node(1)) {
    const Verdict verdict = import.check(from, part, cluster_key());
    if (verdict != Verdict::taken) return verdict;
    if (!import.take_table(part, matches(part))) return Verdict::poor;
    return import.apply(part, cluster_key(), index, 2, undefined);
  }
  Verdict ask_and_take(const SnapshotPart& part) {
    now += 1s;
    REQUIRE(import.poll_question(now).has_value());
    return take(part);
  }
};

}  // namespace

TEST_SUITE("gossip/snapshot_import") {
  TEST_CASE("parts add up to columns, and cursors run through ids and then names") {
    Lab lab;
    const auto table = table_of({1, 2, 3});
    const auto first = lab.import.poll_question(lab.now);
    REQUIRE(first.has_value());
    CHECK(first->from == SnapshotCursor{false, 0});
    CHECK(first->table_hash == 0);
    CHECK_FALSE(lab.import.poll_question(lab.now + 1s).has_value());  // one at a time
    CHECK(lab.take(part_of({false, 0}, 100, table, {{5, 0b101}, {99, 0b001}})) == Verdict::taken);
    CHECK(lab.undefined == std::vector<Id64>{Id64{5}, Id64{99}});
    CHECK(lab.index.fact_count() == 3);
    CHECK(lab.index.holds(Id64{5}, 13));
    CHECK_FALSE(lab.index.holds(Id64{5}, 12));
    lab.now += 1s;
    const auto second = lab.import.poll_question(lab.now);
    CHECK(second->from == SnapshotCursor{false, 100});
    CHECK(second->table_hash == snapshot_table_hash(cluster_key(), table));
    CHECK(lab.take(part_of({false, 100}, 0, table_of({1, 2, 3}, 4), {{100, 0b111}})) ==
          Verdict::taken);
    CHECK(lab.import.cursor() == SnapshotCursor{true, 0});
    CHECK(lab.ask_and_take(part_of({true, 0}, 50, table, {})) == Verdict::taken);
    CHECK(lab.ask_and_take(part_of({true, 50}, 0, table, {})) == Verdict::ended);
    REQUIRE(lab.import.columns().size() == 3);
    const auto& column = lab.import.columns()[0];
    CHECK(column.origin == node(1));
    CHECK(column.seq == 1);
    CHECK(column.last_seq == 4);
    CHECK(column.id_count == 3);
    CHECK(column.facts_hash == (id_hash(cluster_key(), Id64{5}) ^ id_hash(cluster_key(), Id64{99}) ^
                                id_hash(cluster_key(), Id64{100})));
    lab.index.check_invariants();
  }

  TEST_CASE("parts that nobody asked for are refused") {
    Lab lab;
    const auto part = part_of({false, 0}, 0, table_of({1}), {{5, 1}});
    CHECK(lab.take(part) == Verdict::unasked);  // not asked yet
    REQUIRE(lab.import.poll_question(lab.now).has_value());
    CHECK(lab.take(part, node(2)) == Verdict::unasked);
    CHECK(lab.take(part_of({false, 1}, 0, table_of({1}), {{5, 1}})) == Verdict::unasked);
    CHECK(lab.take(part_of({true, 0}, 0, table_of({1}), {})) == Verdict::unasked);
    CHECK(lab.take(part) == Verdict::taken);
    CHECK(lab.take(part) == Verdict::unasked);  // once
    CHECK(lab.index.fact_count() == 1);
  }

  TEST_CASE("parts that contradict themselves change nothing") {
    Lab lab;
    const auto table = table_of({1, 2, 3});
    REQUIRE(lab.import.poll_question(lab.now).has_value());
    auto part = part_of({false, 0}, 100, table, {{5, 1}});
    part.table_hash += 1;
    CHECK(lab.take(part) == Verdict::bad);
    part = part_of({false, 0}, 100, table, {{5, 1}});
    part.origins.clear();  // the table of another part, before there was one
    CHECK(lab.take(part) == Verdict::bad);
    CHECK(lab.take(part_of({false, 0}, 100, table, {{100, 1}})) == Verdict::bad);
    CHECK(lab.take(part_of({false, 0}, 100, table, {{6, 1}, {5, 1}})) == Verdict::bad);
    CHECK(lab.take(part_of({false, 0}, 100, table, {{5, 0b011}, {5, 0b110}})) == Verdict::bad);
    CHECK(lab.take(part_of({false, 0}, 0, {}, {})) == Verdict::poor);
    CHECK(lab.index.fact_count() == 0);
    CHECK(lab.import.is_open());
    CHECK(lab.take(part_of({false, 0}, 100, table, {{5, 0b011}, {5, 0b100}})) == Verdict::taken);
    part = part_of({false, 100}, 0, table, {{100, 1}});
    part.origins.clear();
    part.origin_count = 2;  // not as many as the table had
    lab.now += 1s;
    REQUIRE(lab.import.poll_question(lab.now).has_value());
    part.entries.clear();
    CHECK(lab.take(part) == Verdict::bad);
    CHECK(lab.take(part_of({false, 100}, 0, table, {{99, 1}})) == Verdict::bad);
    CHECK(lab.index.fact_count() == 3);
  }

  TEST_CASE("an origin missing from a later table leaves, and a member that lacks many is poor") {
    Lab lab;
    CHECK(lab.ask_and_take(part_of({false, 0}, 100, table_of({1, 2, 3, 4}), {{5, 0b1111}})) ==
          Verdict::taken);
    lab.now += 1s;
    REQUIRE(lab.import.poll_question(lab.now).has_value());
    CHECK(lab.take(part_of({false, 100}, 0, table_of({1, 2}), {{100, 0b11}})) == Verdict::poor);
    CHECK(lab.index.fact_count() == 4);
    // Node 9 was not there at the start: its column is not complete.
    CHECK(lab.take(part_of({false, 100}, 0, table_of({1, 2, 4, 9}), {{100, 0b1111}})) ==
          Verdict::taken);
    CHECK(lab.import.has(node(3)));
    CHECK_FALSE(lab.import.has(node(9)));
    CHECK(lab.import.take_left() == std::vector<NodeSlot>{13});
    CHECK_FALSE(lab.import.has(node(3)));
    CHECK(lab.import.columns().size() == 3);
    CHECK_FALSE(lab.index.holds(Id64{100}, 19));
    // Rows still mean the same columns.
    CHECK(lab.import.leave(node(1)));
    CHECK_FALSE(lab.import.leave(node(1)));
    CHECK(lab.import.take_left() == std::vector<NodeSlot>{11});
    CHECK(lab.ask_and_take(part_of({true, 0}, 0, table_of({1, 2, 4, 9}), {})) == Verdict::ended);
    CHECK(lab.import.columns().size() == 2);
    CHECK(lab.import.columns()[1].origin == node(4));
    CHECK(lab.import.columns()[1].id_count == 2);
  }

  TEST_CASE("an origin with more ids than one may have leaves") {
    Lab lab;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> entries;
    std::uint64_t at = 0;
    for (int round = 0; round < 3; ++round) {
      entries.clear();
      const std::uint64_t from = at;
      for (std::size_t i = 0; i < limits::ids_per_origin_max / 2; ++i)
        entries.emplace_back(at++, 2);
      CHECK(lab.import.was_overfull() == false);
      const Verdict verdict =
          lab.ask_and_take(part_of({false, from}, at, table_of({1, 2}), entries));
      CHECK(verdict == Verdict::taken);
    }
    CHECK(lab.import.was_overfull());
    CHECK(lab.import.take_left() == std::vector<NodeSlot>{12});
  }

  TEST_CASE("an index without room leaves columns that are refused") {
    Lab lab;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> entries;
    for (std::uint64_t i = 0; i < 1000; ++i) entries.emplace_back(i, 1);
    entries.emplace_back(1000, 2);
    CHECK(lab.ask_and_take(part_of({false, 0}, 0, table_of({1, 2, 3}), entries)) == Verdict::taken);
    CHECK(lab.index.id_count() == 1000);
    CHECK_FALSE(lab.import.columns()[0].refused);
    CHECK(lab.import.columns()[1].refused);
    CHECK(lab.import.columns()[1].id_count == 1);
    lab.index.check_invariants();
  }

  TEST_CASE("a second of parts is 32 MiB") {
    Lab lab;
    std::vector<SnapshotOrigin> table;
    for (std::uint32_t row = 0; row < limits::members_max; ++row) {
      table.push_back({NodeRef{NodeRef::lowest(row << 16U)}, 1, 1, 77});
    }
    const std::vector<std::optional<SnapshotImport::Match>> nobody(table.size());
    SnapshotBits holders;
    holders.fill(0x5555555555555555);
    std::size_t bytes = 0;
    std::uint64_t next = 0;
    while (lab.now < TimePoint(1s)) {
      if (!lab.import.poll_question(lab.now)) {
        lab.now = lab.import.next_deadline();
        continue;
      }
      SnapshotPacker packer(table.size(), limits::snapshot_part_bytes_max);
      const std::uint64_t from = next;
      while (packer.append({std::nullopt, Id64{next}, holders})) ++next;
      SnapshotPart part = part_of({false, from}, next, table, {});
      part.entries = packer.take();
      bytes += part.entries.size();
      REQUIRE(lab.import.check(node(1), part, cluster_key()) == Verdict::taken);
      REQUIRE(lab.import.take_table(part, nobody));
      (void)lab.import.apply(part, cluster_key(), lab.index, 1, lab.undefined);
    }
    CHECK(bytes <= limits::snapshot_bytes_per_second + limits::snapshot_part_bytes_max);
    CHECK(bytes * 10 > 6 * limits::snapshot_bytes_per_second);  // tables take the rest
  }

  TEST_CASE("eight members that gave nothing, or a minute, are enough") {
    SnapshotImport import(TimePoint{}, node(1));
    TimePoint now{};
    for (std::size_t i = 0; i < limits::snapshot_tries_max; ++i) {
      CHECK_FALSE(import.has_failed(now));
      now = import.next_deadline();
      REQUIRE(import.poll_question(now).has_value());
      CHECK_FALSE(import.is_silent(now + 4999ms));
      CHECK(import.is_silent(now + 5s));
      import.move_to(now, node(2));
      CHECK(import.server() == node(2));
    }
    CHECK(import.has_failed(now));
    CHECK(now == TimePoint(limits::snapshot_retry_interval * 6));
    CHECK_FALSE(SnapshotImport(now, node(1)).has_failed(now + 59s));
    CHECK(SnapshotImport(now, node(1)).has_failed(now + 60s));
  }

  TEST_CASE("no import begins before the members are known, for 10 s at most") {
    Joiner joiner(30, 10);
    CHECK(joiner.told(TimePoint(1s), 0, 40).empty());
    CHECK(joiner.told(TimePoint(2s), 0, 12).size() == 1);  // few are pulled as before
    Joiner other(30, 10);
    const auto asked = other.told(TimePoint(1s), 0, 31);
    REQUIRE(asked.size() == 1);
    CHECK(std::get<SnapshotPull>(asked[0]).from == SnapshotCursor{false, 0});
    CHECK(other.told(TimePoint(1s), 0, 31).empty());  // one import at a time, and no sets beside it
    Joiner late(30, 10);
    const auto after = late.told(TimePoint(11s), 0, 40);
    REQUIRE(after.size() == 1);
    CHECK(std::holds_alternative<SnapshotPull>(after[0]));
  }

  TEST_CASE("a table that names an origin twice, or the asker, imports each other one once") {
    Joiner joiner(20, 0);
    const auto asked = joiner.told(TimePoint(1s), 0, 20);
    REQUIRE(std::holds_alternative<SnapshotPull>(asked.at(0)));
    const NodeId twice = joiner.others[3].node_id();
    const NodeId& own = joiner.us.node_id();
    std::vector<SnapshotOrigin> table;
    for (const NodeRef& ref : {NodeRef::short_of(twice), NodeRef{twice}, NodeRef{own}}) {
      table.push_back({ref, ref.id == own ? std::uint16_t{5} : std::uint16_t{1}, 300,
                       id_hash(cluster_key(), Id64{5})});
    }
    std::sort(table.begin(), table.end());
    const NodeId& giver = joiner.others[0].node_id();
    joiner.core.handle_bulk(TimePoint(1s), giver,
                            encode_bulk(part_of({false, 0}, 0, table, {{5, 0b111}})));
    joiner.core.check_invariants();
    CHECK(joiner.core.fact_count() == 1);
    joiner.core.handle_timeout(TimePoint(2s));
    joiner.core.handle_bulk(TimePoint(2s), giver, encode_bulk(part_of({true, 0}, 0, table, {})));
    joiner.core.check_invariants();
    CHECK(joiner.core.stats().snapshots_taken == 1);
    REQUIRE(joiner.core.live_states().size() == 1);
    CHECK(joiner.core.live_states()[0].origin == twice);
    CHECK(joiner.core.live_states()[0].seq == 300);
  }

  TEST_CASE("sets of few among many members are pulled one by one") {
    constexpr std::size_t missing = limits::set_pulls_max + 1;
    for (const std::size_t known : {missing * 8 - 1, missing * 8}) {
      Joiner joiner(known, 0);
      for (std::size_t i = missing; i < known; ++i) {
        const NodeId& id = joiner.others[i].node_id();
        joiner.core.handle_message(TimePoint{}, id, encode(one_log(id, 1, 1, {Have{Id64{i}}})));
      }
      const auto asked = joiner.told(TimePoint(20s), 0, missing);
      REQUIRE(asked.size() == 1);
      CHECK(std::holds_alternative<SnapshotPull>(asked[0]) == (known < missing * 8));
    }
  }

  TEST_CASE("members of the first protocol version are asked for sets") {
    Joiner joiner(30, 0);
    joiner.core.set_version(1);
    const auto asked = joiner.told(TimePoint(1s), 0, 30);
    REQUIRE(asked.size() == 1);
    CHECK(std::get<SetPull>(asked[0]).origins.size() == limits::set_pulls_max);
  }

  TEST_CASE("64 parts a second are given, further askers are told to go elsewhere") {
    const Identity us = identity_of(1);
    const Identity them = identity_of(2);
    Announcements core({cluster_key(), us.node_id(), 5, 1200, 1}, us, TimePoint{});
    core.member_up(TimePoint{}, them.node_id(), 1, them.public_key());
    core.announce(TimePoint{}, digest_of(1), 2);
    std::size_t given = 0;
    std::size_t refused = 0;
    for (int i = 0; i < 100; ++i) {
      core.handle_bulk(TimePoint{}, them.node_id(), encode_bulk(SnapshotPull{{false, 0}, 0}));
      while (const auto bulk = core.poll_bulk()) {
        const auto message = decode_bulk(bulk->frame);
        given += std::holds_alternative<SnapshotPart>(*message) ? 1 : 0;
        refused += std::holds_alternative<SnapshotNone>(*message) ? 1 : 0;
      }
    }
    CHECK(given == limits::snapshot_parts_served_per_second);
    CHECK(refused == 100 - given);
    core.handle_bulk(TimePoint(500ms), them.node_id(), encode_bulk(SnapshotPull{{true, 0}, 0}));
    CHECK(std::get<SnapshotPart>(*decode_bulk(core.poll_bulk()->frame)).origins.size() == 1);
    // A part that this node did not ask for.
    core.handle_bulk(TimePoint(1s), them.node_id(),
                     encode_bulk(part_of({false, 0}, 0, table_of({1}), {{5, 1}})));
    CHECK(core.stats().refused_parts == 1);
    CHECK(core.fact_count() == 1);
    core.check_invariants();
  }
}
