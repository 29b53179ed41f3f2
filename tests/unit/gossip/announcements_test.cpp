// One Announcements object against hand-made messages: timing, hostile members, bounds.
#include "gossip/announcements.hpp"
#include "../identity_of.hpp"

#include "announcement_network.hpp"
#include "base/limits.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using waggle::testing::identity_of;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

/// The object under test with two members, `them` and `third`, that the test plays.
struct Lab {
  Identity us = identity_of(1);
  Identity them = identity_of(2);
  Identity third = identity_of(3);
  TimePoint now{};
  Announcements core{{cluster_key(), us.node_id(), 5, 1200, 1}, us, TimePoint{}};

  Lab() {
    core.member_up(now, them.node_id(), 1, them.public_key());
    core.member_up(now, third.node_id(), 1, third.public_key());
    sent();
  }
  ~Lab() { core.check_invariants(); }

  /// All that it has to say, however long its budget makes that take.
  std::vector<AnnouncementMessage> sent() {
    std::vector<AnnouncementMessage> out;
    while (auto message = core.poll_message()) out.push_back(std::move(*message));
    return out;
  }
  /// The messages of one type that the core has to send now.
  template <typename T>
  std::vector<T> sent_of() {
    std::vector<T> out;
    for (const auto& message : sent()) {
      auto decoded = decode_message(message.body);
      REQUIRE(decoded.has_value());
      if (auto* m = std::get_if<T>(&*decoded)) out.push_back(std::move(*m));
    }
    return out;
  }
  template <typename T>
  std::vector<T> bulk_of() {
    std::vector<T> out;
    while (auto bulk = core.poll_bulk()) {
      auto decoded = decode_bulk(bulk->frame);
      REQUIRE(decoded.has_value());
      if (auto* m = std::get_if<T>(&*decoded)) out.push_back(std::move(*m));
    }
    return out;
  }
  void say(const Identity& from, const Message& message) {
    core.handle_message(now, from.node_id(), encode(message));
    core.check_invariants();
  }
  void say_bulk(const Identity& from, const BulkMessage& message) {
    core.handle_bulk(now, from.node_id(), encode_bulk(message));
    core.check_invariants();
  }
  /// A record of `them`, by themselves.
  void record(std::uint64_t seq, Record record) {
    say(them, one_log(them.node_id(), 1, seq, {std::move(record)}));
  }
  std::size_t holder_count(std::uint64_t blob) {
    std::vector<NodeId> out;
    core.holders(digest_of(blob), out);
    return out.size();
  }
  void wait_until(TimePoint time) {
    now = time;
    core.handle_timeout(now);
  }
};

Definition defined(std::uint64_t blob) { return {digest_of(blob), blob + 1}; }
Id64 id_of(std::uint64_t blob) { return id64_of(cluster_key(), digest_of(blob)); }

Named signed_name(const Identity& author, std::uint64_t key64, std::uint64_t hlc_ms) {
  auto name = std::make_shared<SignedName>();
  name->record = {key64, digest_of(key64), 3, "text/plain"};
  name->author = author.node_id();
  name->hlc_ms = hlc_ms;
  name->signature = author.sign(name_signed_bytes(cluster_key(), *name));
  return {name};
}

}  // namespace

TEST_SUITE("gossip/announcements") {
  TEST_CASE(
      "the first record goes out after 20 ms, the next ones 100 ms later while there is little to "
      "say") {
    Lab lab;
    lab.core.announce(lab.now, digest_of(1), 2);
    CHECK(lab.sent().empty());
    lab.wait_until(TimePoint(20ms));
    auto records = lab.sent_of<Records>();
    REQUIRE(records.size() == 2);  // one to each member
    CHECK(records[0].logs.at(0).incarnation == 5);
    CHECK(std::get<DefinedHave>(records[0].logs.at(0).records.at(0)).definition == defined(1));
    lab.now = TimePoint(50ms);
    lab.core.announce(lab.now, digest_of(1), 2);  // a repeat
    lab.core.announce(lab.now, digest_of(2), 3);
    lab.core.withdraw(lab.now, digest_of(1));
    lab.wait_until(TimePoint(119ms));
    CHECK(lab.sent_of<Records>().empty());
    lab.wait_until(TimePoint(120ms));
    records = lab.sent_of<Records>();
    REQUIRE(records.size() == 2);
    CHECK(records[0].logs.at(0).first_seq == 2);
    REQUIRE(records[0].logs.at(0).records.size() == 2);
    CHECK(std::get<Drop>(records[0].logs.at(0).records[1]).id == id_of(1));
    lab.core.announce(TimePoint(9s), digest_of(3), 4);
    CHECK(lab.core.poll_timeout() <= TimePoint(9s + 20ms));
  }

  TEST_CASE("what somebody else defined is announced by id alone") {
    Lab lab;
    lab.record(1, DefinedHave{defined(1)});
    lab.core.announce(lab.now, digest_of(1), 2);
    lab.wait_until(TimePoint(20ms));
    const auto records = lab.sent_of<Records>();
    REQUIRE_FALSE(records.empty());
    CHECK(std::get<Have>(records[0].logs.at(0).records.at(0)).id == id_of(1));
  }

  TEST_CASE("a HAVE without a definition is usable at once and its sender is asked what it is") {
    Lab lab;
    lab.record(1, Have{id_of(4)});
    CHECK(lab.holder_count(4) == 1);
    CHECK(lab.core.content_size(digest_of(4)) == std::nullopt);
    const auto asked = lab.sent_of<DefinitionPull>();
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].ids == std::vector<Id64>{id_of(4)});
    lab.say(lab.third, Definitions{{defined(5), defined(4)}});  // one of them unasked
    CHECK(lab.core.content_size(digest_of(4)) == 5);
    CHECK(lab.core.content_size(digest_of(5)) == std::nullopt);
    CHECK(lab.core.digest_count() == 1);
    lab.say(lab.third, DefinitionPull{{id_of(4)}});
    CHECK(lab.sent_of<Definitions>().at(0).definitions.at(0) == defined(4));
  }

  TEST_CASE("an id that nobody explains is asked for again in repair rounds, until it is gone") {
    Lab lab;
    lab.record(1, Have{id_of(4)});
    lab.sent();
    lab.wait_until(TimePoint(3s));
    CHECK(lab.sent_of<DefinitionPull>().size() == 1);
    lab.record(2, Drop{id_of(4)});
    lab.wait_until(TimePoint(6s));
    CHECK(lab.sent_of<DefinitionPull>().empty());
  }

  TEST_CASE("strangers, wrong origins and other incarnations change nothing") {
    Lab lab;
    const Identity stranger = identity_of(9);
    lab.say(stranger, one_log(stranger.node_id(), 1, 1, {DefinedHave{defined(1)}}));
    lab.say_bulk(stranger, SetPull{{lab.them.node_id()}});
    CHECK(lab.core.stats().unknown_sender == 2);
    lab.say(lab.them, one_log(stranger.node_id(), 1, 1, {DefinedHave{defined(1)}}));
    lab.say(lab.them, one_log(lab.us.node_id(), 5, 1, {DefinedHave{defined(1)}}));
    lab.say(lab.them, one_log(lab.them.node_id(), 0, 1, {DefinedHave{defined(1)}}));
    lab.say(lab.them, one_log(lab.them.node_id(), 2, 1, {DefinedHave{defined(1)}}));
    CHECK(lab.core.stats().refused_records == 3);  // the own log may come back from its row
    lab.say(lab.them, some_state({lab.us.node_id(), 5, 100, 1, 1}));
    lab.say(lab.them, some_state({stranger.node_id(), 1, 100, 1, 1}));
    lab.core.handle_message(lab.now, lab.them.node_id(), as_bytes("garbage"));
    lab.core.handle_bulk(lab.now, lab.them.node_id(), as_bytes("garbage"));
    CHECK(lab.core.stats().malformed == 2);
    CHECK(lab.core.fact_count() == 0);
    CHECK(lab.sent().empty());
    CHECK(lab.bulk_of<SetPull>().empty());
  }

  TEST_CASE("a member whose key is not its id, or that jumps in incarnation, is refused") {
    Lab lab;
    const Identity fourth = identity_of(4);
    lab.core.member_up(lab.now, fourth.node_id(), 1, lab.them.public_key());
    CHECK(lab.core.stats().refused_members == 1);
    lab.record(1, DefinedHave{defined(1)});
    lab.core.member_up(lab.now, lab.them.node_id(), 2 + limits::incarnation_jump_max,
                       lab.them.public_key());
    CHECK(lab.core.stats().refused_members == 2);
    lab.core.member_up(lab.now, lab.them.node_id(), 0, lab.them.public_key());
    lab.record(2, DefinedHave{defined(2)});
    CHECK(lab.core.fact_count() == 2);
  }

  TEST_CASE("records out of order apply once all are there; the origin is asked for the hole") {
    Lab lab;
    lab.record(3, DefinedHave{defined(3)});
    lab.record(2, DefinedHave{defined(2)});
    CHECK(lab.core.fact_count() == 0);
    auto pulls = lab.sent_of<AePull>();
    REQUIRE_FALSE(pulls.empty());
    CHECK(pulls[0].ranges.at(0).from_seq == 1);
    lab.record(1, DefinedHave{defined(1)});
    CHECK(lab.core.fact_count() == 3);
    lab.record(1, Drop{id_of(1)});  // a duplicate with other content
    CHECK(lab.core.fact_count() == 3);
    lab.record(1000, DefinedHave{defined(9)});
    CHECK(lab.core.stats().gaps == 1);
    CHECK(lab.core.fact_count() == 3);
  }

  TEST_CASE("repeated HAVEs and DROPs of nothing leave set and hash consistent") {
    Lab lab;
    lab.record(1, DefinedHave{defined(1)});
    lab.record(2, Have{id_of(1)});
    lab.record(3, Drop{id_of(8)});
    lab.record(4, DefinedHave{defined(1)});
    CHECK(lab.core.fact_count() == 1);
    CHECK(lab.core.live_states().at(0).set_hash == id_hash(cluster_key(), id_of(1)));
    CHECK(lab.core.live_states().at(0).seq == 4);
  }

  TEST_CASE("an origin that floods ids is cut at its limit and its set is not passed on") {
    Lab lab;
    std::uint64_t seq = 1;
    const std::size_t batch = 64;
    for (std::size_t i = 0; i < limits::ids_per_origin_max + batch; i += batch) {
      LogSlice flood{NodeRef{lab.them.node_id()}, 1, seq, {}};
      for (std::size_t j = 0; j < batch; ++j) flood.records.emplace_back(Have{Id64{i + j + 1}});
      lab.core.handle_message(lab.now, lab.them.node_id(), encode(Records{0, {flood}}));
      seq += batch;
      lab.sent();
    }
    CHECK(lab.core.fact_count() == limits::ids_per_origin_max);
    CHECK(lab.core.stats().refused_facts == batch);
    lab.say_bulk(lab.third, SetPull{{lab.them.node_id()}});
    CHECK(lab.bulk_of<SetNone>().size() == 1);
    lab.core.announce(lab.now, digest_of(1), 2);  // own content still enters
    CHECK(lab.core.content_size(digest_of(1)) == 2);
  }

  TEST_CASE("after a refusal any further records of that origin keep the structures sound") {
    Lab lab;
    Prng prng(5);
    std::uint64_t seq = 1;
    for (std::size_t i = 0; i < limits::ids_per_origin_max + 64; i += 64) {
      LogSlice flood{NodeRef{lab.them.node_id()}, 1, seq, {}};
      for (std::size_t j = 0; j < 64; ++j) flood.records.emplace_back(Have{Id64{i + j + 1}});
      lab.core.handle_message(lab.now, lab.them.node_id(), encode(Records{0, {flood}}));
      seq += 64;
    }
    for (int round = 0; round < 2000; ++round) {
      LogSlice noise{NodeRef{lab.them.node_id()}, 1, seq, {}};
      for (std::size_t j = 0; j < 64; ++j) {
        const Id64 id{prng.below(limits::ids_per_origin_max)};
        noise.records.emplace_back(prng.chance(0.3) ? Record{Have{id}} : Record{Drop{id}});
      }
      lab.core.handle_message(lab.now, lab.them.node_id(), encode(Records{0, {noise}}));
      seq += 64;
      lab.sent();
    }
    CHECK(lab.core.fact_count() <= limits::ids_per_origin_max);
    const std::uint64_t hash = id_hash(cluster_key(), Id64{9});
    lab.now += 3s;  // whatever moves is left alone
    lab.say(lab.third, some_state({lab.them.node_id(), 1, seq + 300, hash, seq + 200}));
    lab.say_bulk(lab.third, SetData{lab.them.node_id(), 1, seq + 300, hash, 0, 1, {Id64{9}}, {}});
    CHECK(lab.core.fact_count() == 1);  // and a whole set puts it right
  }

  TEST_CASE("names need their author's signature") {
    Lab lab;
    lab.record(1, signed_name(lab.them, 7, 100));
    CHECK(lab.core.find_name(7)->digest == digest_of(7));
    lab.record(2, signed_name(lab.third, 7, 200));  // somebody else's in their log
    SignedName forged = *signed_name(lab.them, 8, 100).name;
    forged.record.size = 4;
    lab.record(3, Named{std::make_shared<SignedName>(forged)});
    CHECK(lab.core.stats().refused_names == 2);
    CHECK(lab.core.find_name(8) == std::nullopt);
    CHECK(lab.core.live_states().at(0).seq == 3);
    NameRecord long_type{9, digest_of(9), 1, std::string(limits::media_type_bytes_max + 1, 'x')};
    lab.core.announce_name(lab.now, long_type, 100);
    CHECK(lab.core.find_name(9) == std::nullopt);
  }

  TEST_CASE("sets are taken only when asked for, newer and true to their hash") {
    Lab lab;
    const std::vector<Id64> ids = [] {
      std::vector<Id64> sorted{id_of(1), id_of(2)};
      std::sort(sorted.begin(), sorted.end());
      return sorted;
    }();
    const std::uint64_t hash = id_hash(cluster_key(), ids[0]) ^ id_hash(cluster_key(), ids[1]);
    const NodeId origin = lab.them.node_id();
    lab.say_bulk(lab.third, SetData{origin, 1, 500, hash, 0, 1, ids, {}});
    CHECK(lab.core.fact_count() == 0);
    const AeStates far = some_state({origin, 1, 500, hash, 400});
    lab.say(lab.third, far);
    CHECK(lab.bulk_of<SetPull>().size() == 1);
    lab.say(lab.third, far);  // it is under way
    CHECK(lab.bulk_of<SetPull>().empty());
    lab.say_bulk(lab.third, SetData{origin, 1, 500, hash + 1, 0, 1, ids, {}});
    CHECK(lab.core.stats().refused_sets == 1);
    lab.say(lab.third, far);
    CHECK(lab.bulk_of<SetPull>().empty());  // blocked for 10 s
    lab.wait_until(TimePoint(11s));
    lab.say(lab.third, far);
    REQUIRE(lab.bulk_of<SetPull>().size() == 1);
    lab.say_bulk(lab.third,
                 SetData{origin, 1, 500, hash, 0, 2, ids, {signed_name(lab.them, 7, 1).name}});
    CHECK(lab.core.fact_count() == 0);
    lab.say_bulk(lab.third,
                 SetData{origin, 1, 500, hash, 1, 2, {}, {signed_name(lab.them, 8, 1).name}});
    CHECK(lab.core.fact_count() == 2);
    CHECK(lab.core.find_name(7).has_value());
    CHECK(lab.core.find_name(8).has_value());
    CHECK(lab.holder_count(1) == 1);
    const auto asked = lab.bulk_of<DefinitionPull>();
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].ids == ids);
    lab.say_bulk(lab.third, Definitions{{defined(1), defined(2)}});
    CHECK(lab.core.content_size(digest_of(2)) == 3);
    lab.say_bulk(lab.us, SetNone{origin});
  }

  TEST_CASE("a set replaces what the node held, and goes to others as it came") {
    Lab lab;
    lab.record(1, DefinedHave{defined(1)});
    lab.record(2, DefinedHave{defined(2)});
    const std::uint64_t hash = id_hash(cluster_key(), id_of(2));
    lab.now += 3s;
    lab.say(lab.them, some_state({lab.them.node_id(), 1, 300, hash, 250}));
    lab.say_bulk(lab.them, SetData{lab.them.node_id(), 1, 300, hash, 0, 1, {id_of(2)}, {}});
    CHECK(lab.holder_count(1) == 0);
    CHECK(lab.holder_count(2) == 1);
    lab.bulk_of<SetPull>();
    lab.say_bulk(lab.third, SetPull{{lab.them.node_id(), lab.third.node_id()}});
    std::vector<BulkMessage> answers;
    while (auto bulk = lab.core.poll_bulk()) answers.push_back(*decode_bulk(bulk->frame));
    REQUIRE(answers.size() == 2);
    const auto& data = std::get<SetData>(answers[1]);
    CHECK(data.seq == 300);
    CHECK(data.ids == std::vector<Id64>{id_of(2)});
    CHECK(std::get<SetNone>(answers[0]).origin == lab.third.node_id());
  }

  TEST_CASE("a BASE that does not fit the known facts makes the node pull the set") {
    Lab lab;
    lab.record(1, DefinedHave{defined(1)});
    const std::uint64_t hash = id_hash(cluster_key(), id_of(1));
    lab.core.member_up(lab.now, lab.them.node_id(), 2, lab.them.public_key());
    CHECK(lab.holder_count(1) == 1);
    lab.say(lab.them, one_log(lab.them.node_id(), 2, 1, {Base{1, 2, hash}}));
    CHECK(lab.bulk_of<SetPull>().size() == 1);
    CHECK(lab.holder_count(1) == 1);
    lab.say(lab.third, one_log(lab.them.node_id(), 2, 1, {Base{1, 1, hash}}));
    CHECK(lab.core.live_states().at(0).incarnation == 2);
    CHECK(lab.core.live_states().at(0).set_hash == hash);
    lab.wait_until(TimePoint(11s));
    CHECK(lab.holder_count(1) == 1);
  }

  TEST_CASE("a burst beyond the log is told as a vector, and the set is given 4 times a second") {
    Lab lab;
    for (std::uint64_t blob = 0; blob < 1000; ++blob) {
      lab.core.announce(lab.now, digest_of(blob), blob + 1);
    }
    lab.wait_until(TimePoint(20ms));
    const auto states = lab.sent_of<AeStates>();
    REQUIRE(states.size() == 2);
    CHECK(states[0].states.at(0).seq == 1000);
    for (int i = 0; i < 5; ++i) lab.say_bulk(lab.them, SetPull{{lab.us.node_id()}});
    CHECK(lab.core.stats().sets_served == limits::own_set_serves_max);
    CHECK(lab.bulk_of<SetData>().size() == limits::own_set_serves_max);
  }

  TEST_CASE("questions fill their own queue, not that of what this node has to say") {
    Lab lab;
    for (std::size_t i = 0; i < limits::announcement_replies_max + 7; ++i) {
      lab.core.handle_message(lab.now, lab.them.node_id(), encode(AeRoot{1, false}));
    }
    CHECK(lab.core.stats().dropped_messages == 7);
    lab.core.announce(lab.now, digest_of(1), 2);
    lab.wait_until(TimePoint(20ms));
    CHECK(lab.sent_of<Records>().size() == 2);
  }

  TEST_CASE("a bulk flood is bounded by bytes") {
    Lab lab;
    for (std::uint64_t blob = 0; blob < 20'000; ++blob) {
      lab.core.announce(lab.now, digest_of(blob), blob + 1);
    }
    DefinitionPull all;
    for (std::uint64_t blob = 0; blob < limits::definitions_per_frame_max; ++blob) {
      all.ids.push_back(id_of(blob));
    }
    std::sort(all.ids.begin(), all.ids.end());
    const Bytes frame = encode_bulk(all);
    for (int i = 0; i < 300; ++i) lab.core.handle_bulk(lab.now, lab.them.node_id(), frame);
    CHECK(lab.core.stats().dropped_messages > 0);
    std::size_t bytes = 0;
    while (const auto bulk = lab.core.poll_bulk()) bytes += bulk->frame.size();
    CHECK(bytes <= limits::announcement_queue_bulk_bytes_max);
    CHECK(bytes > limits::announcement_queue_bulk_bytes_max / 2);
  }

  TEST_CASE("own announcements: limits, a second incarnation, early timeouts") {
    Lab lab;
    lab.core.announce(lab.now, digest_of(1), limits::blob_bytes_max + 1);
    CHECK(lab.core.stats().refused_facts == 1);
    lab.core.withdraw(lab.now, digest_of(1));
    lab.core.set_incarnation(lab.now, 6);  // nothing said yet: nothing to open with
    CHECK(lab.core.live_states().empty());
    lab.core.announce(lab.now, digest_of(1), 2);
    lab.core.set_incarnation(lab.now, 6);
    lab.core.set_incarnation(lab.now, 9);
    CHECK(lab.sent_of<Records>().size() == 2);  // what was pending goes first
    lab.core.handle_timeout(lab.now);
    CHECK(lab.sent_of<Records>().empty());
    lab.wait_until(TimePoint(20ms));
    const auto records = lab.sent_of<Records>();
    REQUIRE(records.size() == 2);
    CHECK(std::get<Base>(records[0].logs.at(0).records.at(0)) ==
          Base{6, 1, id_hash(cluster_key(), id_of(1))});
  }

  TEST_CASE("alone there is nothing to wait for") {
    const Identity us = identity_of(1);
    Announcements core({cluster_key(), us.node_id(), 1, 1200, 1}, us, TimePoint{});
    CHECK(core.poll_timeout() == std::nullopt);
    core.announce(TimePoint{}, digest_of(1), 2);
    core.handle_timeout(TimePoint(20ms));
    CHECK_FALSE(core.poll_message());
    CHECK(core.poll_timeout() == std::nullopt);
    CHECK_FALSE(core.matched_root());
  }
}
