// How old announcements are: ages on the wire, what each hop adds, and what counts.
#include "../identity_of.hpp"
#include "announcement_network.hpp"
#include "gossip/announcements.hpp"
#include "log_samples.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using waggle::testing::identity_of;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

using namespace std::chrono_literals;

/// The object under test since 100 s, with two members that the test plays.
struct Lab {
  Identity us = identity_of(1);
  Identity them = identity_of(2);
  Identity third = identity_of(3);
  TimePoint now{100s};
  Announcements core{{cluster_key(), us.node_id(), 5, 1200, 1}, us, now};

  Lab() {
    core.member_up(now, them.node_id(), 1, them.public_key());
    core.member_up(now, third.node_id(), 1, third.public_key());
    now += 50s;
    core.handle_timeout(now);
    (void)slices();
  }
  ~Lab() { core.check_invariants(); }

  void say(const Identity& from, std::uint64_t seq, std::optional<Duration> age) {
    Records message = one_log(them.node_id(), 1, seq, {Have{Id64{seq}}});
    message.logs[0].age = age;
    core.handle_message(now, from.node_id(), encode(message));
  }
  /// All pieces of logs that it has to send now.
  std::vector<LogSlice> slices() {
    std::vector<LogSlice> out;
    while (auto message = core.poll_message()) {
      auto decoded = decode_message(message->body);
      REQUIRE(decoded.has_value());
      if (auto* m = std::get_if<Records>(&*decoded)) {
        out.insert(out.end(), m->logs.begin(), m->logs.end());
      }
    }
    return out;
  }
  /// Counts so far, and their sum.
  [[nodiscard]] std::pair<std::uint64_t, Duration> lag() const {
    return {core.lag().count(), core.lag().sum};
  }
};

using Lag = std::pair<std::uint64_t, Duration>;

}  // namespace

TEST_SUITE("gossip/announcement_lag") {
  TEST_CASE("ages are rounded to the nearest that a byte can say, 61 s at most") {
    for (std::uint8_t code = 0; code < age_codes; ++code) {
      CHECK(age_code(age_of(code)) == code);
      if (code == 0) continue;
      CHECK(age_of(code) > age_of(code - 1));
      const Duration between = (age_of(code) + age_of(code - 1)) / 2;
      CHECK(age_code(between + 2ms) == code);
      CHECK(age_code(between - 2ms - 1ns) == code - 1);
    }
    CHECK(age_of(0) == 0ms);
    CHECK(age_of(15) == 60ms);
    CHECK(age_of(16) == 64ms);
    CHECK(age_of(17) == 72ms);
    CHECK(age_of(age_codes - 1) == 61'440ms);
    CHECK(age_code(1h) == age_codes - 1);
    CHECK(age_code(-1s) == 0);
  }

  TEST_CASE("an age stands before the records, once") {
    LogSlice slice{NodeRef::short_of(NodeId{}), 1, 1, {Have{Id64{1}}}, 80ms};
    Bytes bytes;
    append_packed(bytes, slice);
    CHECK(to_hex(bytes) ==
          "00000000000100"
          "01"
          "b2"
          "00"
          "0100000000000000");
    PackedReader in(bytes);
    CHECK(read_slice(in).age == 80ms);
    CHECK((in.ok() && in.empty()));
    const auto refused = [](const char* hex) {
      const Bytes packed = *from_hex(hex);
      PackedReader reader(packed);
      (void)read_slice(reader);
      return !reader.ok();
    };
    CHECK(
        refused("00000000000100"
                "01"
                "b2"
                "b2"
                "00"
                "0100000000000000"));
    CHECK(
        refused("01000000000100"
                "01"
                "00"
                "0100000000000000"
                "b2"
                "20"
                "0100000000000000"));
    CHECK(
        refused("00000000000100"
                "01"
                "b2"));
    // Of a slice that is cut the first piece has the age.
    slice.records.assign(200, Have{Id64{1}});
    std::vector<std::optional<Duration>> ages;
    for (const Bytes& body : pack_records(0, {&slice, 1}, 1200)) {
      const auto message = decode_message(body);
      REQUIRE(message.has_value());
      for (const LogSlice& part : std::get<Records>(*message).logs) ages.push_back(part.age);
    }
    REQUIRE(ages.size() > 1);
    CHECK(ages[0] == 80ms);
    for (std::size_t i = 1; i < ages.size(); ++i) CHECK(ages[i] == std::nullopt);
  }

  TEST_CASE("own records leave with the age of the first of them") {
    Lab lab;
    lab.core.announce(lab.now, sha256_of(as_bytes("a")), 1);
    lab.now += 8ms;
    lab.core.announce(lab.now, sha256_of(as_bytes("b")), 1);
    lab.now += 12ms;
    lab.core.handle_timeout(lab.now);
    const auto sent = lab.slices();
    REQUIRE(sent.size() == 2);  // to each member
    CHECK(sent[0].records.size() == 2);
    CHECK(sent[0].age == 20ms);
    CHECK(sent[1].age == 20ms);
  }

  TEST_CASE("a record counts when it is applied first, with the age that came with it") {
    Lab lab;
    lab.say(lab.them, 1, 40ms);
    CHECK(lab.lag() == Lag(1, 40ms));
    lab.say(lab.third, 1, 80ms);  // the second copy
    lab.say(lab.them, 2, std::nullopt);
    CHECK(lab.lag() == Lag(1, 40ms));
    lab.say(lab.third, 3, 200ms);
    CHECK(lab.lag() == Lag(2, 240ms + 8ms));  // the wire says 208 ms
    CHECK(lab.core.lag().counts[2] == 1);
    CHECK(lab.core.lag().counts[5] == 1);
  }

  TEST_CASE("what waits for a lost record counts with the time that it waited") {
    Lab lab;
    lab.say(lab.them, 1, 40ms);
    lab.say(lab.them, 3, 40ms);
    lab.now += 500ms;
    lab.say(lab.them, 4, 40ms);  // behind it: the first one that waits counts
    CHECK(lab.lag() == Lag(1, 40ms));
    lab.now += 500ms;
    lab.say(lab.third, 2, std::nullopt);
    CHECK(lab.lag() == Lag(2, 40ms + 1040ms));
  }

  TEST_CASE("what is older than the acquaintance with its origin does not count") {
    Lab lab;
    lab.say(lab.them, 1, 48s);
    CHECK(lab.lag() == Lag(1, 49'152ms));
    lab.core.member_down(lab.now, lab.them.node_id());
    lab.now += 5s;
    lab.core.member_up(lab.now, lab.them.node_id(), 1, lab.them.public_key());
    lab.now += 1s;
    lab.say(lab.them, 2, 3s);
    CHECK(lab.lag() == Lag(1, 49'152ms));
    lab.say(lab.them, 3, 512ms);
    CHECK(lab.lag() == Lag(2, 49'664ms));
  }

  TEST_CASE("who asks for a record later is told how old it is by then") {
    Lab lab;
    lab.say(lab.them, 1, std::nullopt);
    lab.say(lab.them, 2, 40ms);
    lab.now += 984ms;
    const auto pulled = [&](std::uint64_t from_seq) {
      const AePull pull{{range(lab.them.node_id(), 1, from_seq)}};
      lab.core.handle_message(lab.now, lab.third.node_id(), encode(pull));
      const auto sent = lab.slices();
      REQUIRE(sent.size() == 1);
      return sent[0].age;
    };
    CHECK(pulled(2) == 1024ms);
    CHECK(pulled(1) == std::nullopt);  // of the first one nothing is known
  }

  TEST_CASE("while much is sent, one batch of eight says its age") {
    Lab lab;
    for (std::uint64_t n = 4; n < 9; ++n) {
      const Identity more = identity_of(n);
      lab.core.member_up(lab.now, more.node_id(), 1, more.public_key());
    }
    constexpr std::uint64_t each = 250;
    std::size_t batches = 0;
    std::size_t aged = 0;
    for (std::uint64_t second = 0; second < 200; ++second) {
      for (std::uint64_t i = 0; i < each; ++i) {
        lab.core.announce(lab.now, sha256_of(as_bytes(std::to_string(second * each + i))), 1);
      }
      lab.now += 1s;
      lab.core.handle_timeout(lab.now);
      for (const LogSlice& slice : lab.slices()) {
        if (slice.first_seq % each != 1) continue;
        ++batches;
        aged += slice.age ? 1 : 0;
      }
    }
    CHECK(batches == 7 * 200);
    CHECK(aged > 7 * 10);  // 25 of 200 expected, standard deviation 5
    CHECK(aged < 7 * 45);
  }

  TEST_CASE("by relay the second hop adds what the relay kept it, and all count once") {
    AnnouncementNetwork net(100, 1);
    net.check_every_ = 997;
    net.run_for(3s);
    constexpr std::size_t announced = 11;
    for (std::size_t i = 0; i < announced; ++i) {
      net.announce(i * 9, i);
      CHECK(net.run_until(200ms, [&] { return net.all_know(i * 9, i); }));
      net.run_for(2s);
    }
    std::uint64_t counted = 0;
    std::uint64_t first_hop = 0;
    for (std::size_t i = 0; i < net.size(); ++i) {
      const LatencyHistogram& lag = net.at(i).lag();
      counted += lag.count();
      first_hop += lag.counts[1];                           // 20 ms
      CHECK(lag.counts[1] + lag.counts[3] == lag.count());  // and 70 ms
    }
    CHECK(counted == announced * 99);
    CHECK(first_hop > 0);
    CHECK(first_hop < counted / 2);
  }
}
