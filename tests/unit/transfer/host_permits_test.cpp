// Permits of one registry host: order, number, ends; pauses; a trio that is silent.
#include "transfer/host_permits.hpp"

#include "base/limits.hpp"
#include "transfer/host_book.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace waggle;
using namespace waggle::transfer;
using namespace std::chrono_literals;

namespace {

using State = PermitHoldMessage::State;

constexpr TimePoint start{100s};
const std::string host_name = "https://registry.test:443";

NodeId node(int number) { return {.bytes = {static_cast<std::byte>(number)}}; }
SwarmTag blob(int number) { return {.bytes = {static_cast<std::byte>(number)}}; }
PermitId permit(int of, std::uint32_t extent) { return {blob(of), ExtentIndex{extent}}; }

/// What `from` asks; granted answers as "node extent".
std::vector<std::pair<NodeId, PermitId>> granted(const std::vector<HostBook::Answer>& answers) {
  std::vector<std::pair<NodeId, PermitId>> list;
  for (const auto& answer : answers) {
    if (answer.message.granted) list.emplace_back(answer.to, answer.message.permit);
  }
  return list;
}

struct Book {
  explicit Book(std::uint32_t limit) : core(start, limit) {}

  std::size_t ask(int from, const PermitId& id, bool reader = true, TimePoint now = start) {
    return granted(core.ask(now, node(from), {1, 1, id, reader})).size();
  }
  void hold(TimePoint now, int from, std::vector<PermitHoldMessage::Item> items,
            std::vector<HostPause> pauses = {}) {
    is_news = core.hold(now, node(from), {1, ++serial, std::move(items), std::move(pauses)});
    core.check_invariants();
  }

  HostBook core;
  std::uint64_t serial = 0;
  bool is_news = false;
};

/// Cores that hear each other after half a millisecond, unless somebody is cut off.
class Cluster {
 public:
  explicit Cluster(int count, std::uint32_t limit = 64) {
    std::vector<NodeId> all;
    for (int i = 1; i <= count; ++i) all.push_back(node(i));
    for (const NodeId& id : all) {
      nodes_[id] = std::make_unique<HostPermits>(HostPermitsConfig{
          id, 1, IdKey::for_cluster("waggle"), load_le<std::uint64_t>(id.bytes), limit});
      nodes_[id]->set_members(now_, all);
    }
    trio_ = nodes_.at(node(1))->registrars(host_name);
  }

  HostPermits& of(const NodeId& id) { return *nodes_.at(id); }
  [[nodiscard]] const std::vector<NodeId>& trio() const { return trio_; }
  [[nodiscard]] NodeId outsider() const {
    for (const auto& [id, core] : nodes_) {
      if (std::find(trio_.begin(), trio_.end(), id) == trio_.end()) return id;
    }
    return {};
  }
  void cut_off(const NodeId& id) { cut_.insert(id); }
  void heal() { cut_.clear(); }
  void ask(const NodeId& id, const PermitId& which) {
    of(id).ask(now_, host_name, which, true);
    drain(id);
  }
  void run_for(Duration duration) {
    const TimePoint end = now_ + duration;
    for (;;) {
      TimePoint next = end;
      if (!wire_.empty()) next = std::min(next, wire_.begin()->first);
      for (const auto& [id, core] : nodes_) {
        if (const auto due = core->poll_timeout()) next = std::min(next, std::max(now_, *due));
      }
      now_ = next;
      if (now_ >= end) return;
      while (!wire_.empty() && wire_.begin()->first <= now_) {
        const auto [from, send] = wire_.begin()->second;
        wire_.erase(wire_.begin());
        of(send.to).handle(now_, from, send.host, send.body);
        drain(send.to);
      }
      for (const auto& [id, core] : nodes_) {
        if (const auto due = core->poll_timeout(); due && *due <= now_) core->handle_timeout(now_);
        drain(id);
      }
    }
  }
  void drain(const NodeId& id) {
    while (auto output = of(id).poll_output()) {
      if (const auto* send = std::get_if<HostPermits::Send>(&*output)) {
        ++messages;
        if (send->to != id && (cut_.contains(id) || cut_.contains(send->to))) continue;
        wire_.emplace(now_ + (send->to == id ? 1us : 500us), std::pair(id, *send));
      } else if (const auto* given = std::get_if<HostPermits::Granted>(&*output)) {
        got[id].insert(given->permit);
        granted_at[given->permit] = now_;
      } else if (const auto* told = std::get_if<HostPermits::Paused>(&*output)) {
        paused[id].push_back(told->pause);
      }
    }
    of(id).check_invariants();
  }
  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] bool is_silent() const {
    return wire_.empty() && std::all_of(nodes_.begin(), nodes_.end(), [](const auto& entry) {
             return !entry.second->poll_timeout();
           });
  }

  std::map<NodeId, std::set<PermitId>> got;
  std::map<PermitId, TimePoint> granted_at;
  std::map<NodeId, std::vector<HostPause>> paused;
  std::size_t messages = 0;

 private:
  TimePoint now_ = start;
  std::map<NodeId, std::unique_ptr<HostPermits>> nodes_;
  std::multimap<TimePoint, std::pair<NodeId, HostPermits::Send>> wire_;
  std::set<NodeId> cut_;
  std::vector<NodeId> trio_;
};

}  // namespace

TEST_SUITE("transfer/host_permits") {
  TEST_CASE("never more than the limit, whoever asks for what") {
    Book book(5);
    std::size_t count = 0;
    for (int i = 0; i < 12; ++i) count += book.ask(i, permit(i % 7, static_cast<std::uint32_t>(i)));
    CHECK(count == 5);
    CHECK(book.core.permit_count(start) == 5);
    CHECK(book.core.asker_count() == 7);
  }

  TEST_CASE("each blob with a reader has one; beyond that two are under way, more as rates rise") {
    Book book(64);
    for (int i = 1; i <= 3; ++i) CHECK(book.ask(i, permit(i, 0)) == 1);
    CHECK(book.ask(5, permit(1, 2)) == 0);         // more than two are under way
    CHECK(book.ask(6, permit(4, 0)) == 1);         // another blob
    CHECK(book.ask(7, permit(5, 0), false) == 0);  // nobody reads it
    std::vector<PermitHoldMessage::Item> items;
    // The rate rises: one more a second, the lowest extent that a reader waits for.
    TimePoint now = start;
    std::uint64_t bytes = 0;
    for (int second = 0; second < 3; ++second) {
      now += 1s;
      bytes += (1U + static_cast<unsigned>(second)) * 10 * limits::MiB;
      (void)book.ask(5, permit(1, 2), true, now);
      (void)book.ask(7, permit(5, 0), false, now);
      for (const auto& [from, id] : {std::pair{1, permit(1, 0)}, std::pair{2, permit(2, 0)},
                                     std::pair{3, permit(3, 0)}, std::pair{6, permit(4, 0)}})
        book.hold(now, from, {{id, bytes, State::flowing}});
      (void)book.core.assign(now + 1ms);
    }
    CHECK(book.core.permit_count(now + 1ms) >= 5);
    CHECK(book.core.pace() >= 5);
  }

  TEST_CASE("a blob that is alone at its host is paced by its own registrar") {
    Book book(64);
    for (std::uint32_t i = 0; i < 20; ++i)
      CHECK(book.ask(1 + static_cast<int>(i), permit(1, i)) == 1);
    CHECK(book.ask(30, permit(2, 0)) == 1);
    CHECK(book.ask(31, permit(2, 1)) == 0);
  }

  TEST_CASE(
      "the lowest extent with a waiting reader goes first, and a permit that is nearly done lets "
      "it begin") {
    Book book(4);
    for (int i = 1; i <= 4; ++i) REQUIRE(book.ask(i, permit(i, 0)) == 1);
    CHECK(book.ask(5, permit(1, 3)) == 0);
    CHECK(book.ask(6, permit(2, 1), false) == 0);
    CHECK(book.ask(7, permit(3, 2)) == 0);
    book.hold(start + 1ms, 1, {{permit(1, 0), 100, State::nearly_done}});
    CHECK(granted(book.core.assign(start + 1ms)).empty());  // the limit counts it
    book.hold(start + 2ms, 2, {{permit(2, 0), 100, State::ended}});
    // Blob 1 has nothing under way but what is nearly done.
    auto next = granted(book.core.assign(start + 2ms));
    REQUIRE(next.size() == 1);
    CHECK(next[0].second == permit(1, 3));
    book.hold(start + 3ms, 3, {});  // not told of before: still on its way to the holder
    CHECK(granted(book.core.assign(start + 3ms)).empty());
    book.hold(start + 4ms, 3, {{permit(3, 0), 7, State::ended}});
    next = granted(book.core.assign(start + 4ms));
    REQUIRE(next.size() == 1);
    CHECK(next[0].second == permit(3, 2));
    book.hold(start + 5ms, 4, {{permit(4, 0), 7, State::flowing}});
    book.hold(start + 6ms, 4, {});  // listed before, not any more
    next = granted(book.core.assign(start + 6ms));
    REQUIRE(next.size() == 1);
    CHECK(next[0].second == permit(2, 1));
  }

  TEST_CASE("a lease lasts 10 s from its last new byte, and 2 s where its holder says nothing") {
    Book book(1);
    REQUIRE(book.ask(1, permit(1, 0)) == 1);
    CHECK(book.ask(2, permit(1, 1), true, start + 1s) == 0);
    CHECK(book.ask(1, permit(1, 0), true, start + 1s) == 1);  // its answer was lost
    CHECK(book.core.next_deadline() == start + 2s);
    REQUIRE(granted(book.core.assign(start + 2s)).size() == 1);
    book.hold(start + 3s, 2, {{permit(1, 1), 10, State::flowing}});
    // Listed again and again, without a byte: an older list that comes late renews nothing either.
    for (int i = 4; i < 13; ++i)
      book.hold(start + std::chrono::seconds(i), 2, {{permit(1, 1), 10, State::flowing}});
    CHECK(book.ask(3, permit(1, 2), true, start + 12900ms) == 0);
    CHECK(granted(book.core.assign(start + 13s)).size() == 1);
    book.hold(start + 14s, 2, {{permit(1, 1), 10, State::flowing}});
    CHECK(book.core.permit_count(start + 14s) == 1);
  }

  TEST_CASE("three lists missed, and a permit is free") {
    Book book(1);
    REQUIRE(book.ask(1, permit(1, 0)) == 1);
    book.hold(start + 1s, 1, {{permit(1, 0), 10, State::flowing}});
    CHECK(book.ask(2, permit(1, 1), true, start + 4s) == 0);
    CHECK(book.core.next_deadline() == start + 4500ms);
    CHECK(granted(book.core.assign(start + 4500ms)).size() == 1);
  }

  TEST_CASE("the dead and a new life give back what they had") {
    Book book(2);
    REQUIRE(book.ask(1, permit(1, 0)) == 1);
    REQUIRE(book.ask(2, permit(2, 0)) == 1);
    CHECK(book.ask(3, permit(3, 0)) == 0);
    book.core.node_gone(node(1));
    CHECK(granted(book.core.assign(start)).size() == 1);
    CHECK(book.ask(4, permit(4, 0)) == 0);
    CHECK(granted(book.core.ask(start, node(2), {9, 2, permit(5, 0), true})).size() == 1);
    // A message of the earlier life changes nothing.
    CHECK(granted(book.core.ask(start, node(2), {9, 1, permit(5, 0), true})).empty());
  }

  TEST_CASE("after a pause one request is tried; when bytes flow the others follow") {
    Book book(64);
    REQUIRE(book.ask(1, permit(1, 0)) == 1);
    book.hold(start, 1, {{permit(1, 0), 0, State::ended}}, {{7, 2s}});
    CHECK(book.is_news);
    book.hold(start + 500ms, 1, {}, {{7, 1500ms}});
    CHECK_FALSE(book.is_news);
    const auto answers = book.core.ask(start + 1s, node(2), {1, 1, permit(1, 0), true});
    REQUIRE(answers.size() == 1);
    REQUIRE(answers[0].message.pauses.size() == 1);
    CHECK(answers[0].message.pauses[0] == HostPause{7, 1s});
    book.hold(start + 1s, 2, {{permit(1, 0), 0, State::ended}});
    const TimePoint after = start + 2100ms;
    CHECK(book.ask(3, permit(1, 0), true, after) == 1);
    CHECK(book.ask(4, permit(2, 0), true, after) == 0);
    CHECK(book.ask(5, permit(3, 0), true, after) == 0);
    book.hold(after + 10ms, 3, {{permit(1, 0), 0, State::ended}});  // refused again
    CHECK(granted(book.core.assign(after + 10ms)).size() == 1);
    book.hold(after + 20ms, 4, {{permit(2, 0), 4096, State::flowing}});
    CHECK(granted(book.core.assign(after + 20ms)).size() == 1);
    CHECK(book.ask(6, permit(6, 0), true, after + 20ms) == 1);
  }

  TEST_CASE("a permit takes one round trip; what ends is free at once, and then nobody speaks") {
    Cluster cluster(8, 1);
    const NodeId a = cluster.outsider();
    const NodeId b = cluster.trio()[1];
    cluster.ask(a, permit(1, 0));
    cluster.run_for(1100us);
    CHECK(cluster.got[a].contains(permit(1, 0)));
    cluster.ask(b, permit(2, 0));
    cluster.run_for(4s);
    CHECK(cluster.got[b].empty());
    cluster.of(a).progress(cluster.now(), permit(1, 0), 10, 100, 10);
    cluster.of(a).end(cluster.now(), permit(1, 0));
    cluster.drain(a);
    cluster.run_for(2ms);
    CHECK(cluster.got[b].contains(permit(2, 0)));
    cluster.of(b).end_all(cluster.now(), blob(2));
    cluster.drain(b);
    cluster.run_for(10s);
    CHECK(cluster.is_silent());
  }

  TEST_CASE("a silent rank 0 is passed over, and rank 1 knows what is under way") {
    Cluster cluster(8, 2);
    const NodeId a = cluster.outsider();
    cluster.ask(a, permit(1, 0));
    cluster.ask(a, permit(2, 0));
    cluster.run_for(2ms);
    REQUIRE(cluster.got[a].size() == 2);
    for (int i = 1; i <= 2; ++i) cluster.of(a).progress(cluster.now(), permit(i, 0), 10, 100, 10);
    cluster.drain(a);
    cluster.run_for(2ms);
    cluster.cut_off(cluster.trio()[0]);
    const NodeId b = cluster.trio()[2];
    const TimePoint asked = cluster.now();
    cluster.ask(b, permit(3, 0));
    cluster.run_for(500ms);
    CHECK(cluster.got[b].empty());
    cluster.of(a).end(cluster.now(), permit(1, 0));
    cluster.drain(a);
    cluster.run_for(2ms);
    CHECK(cluster.got[b].contains(permit(3, 0)));
    // And where there is room it takes no longer than the two questions.
    cluster.of(a).end(cluster.now(), permit(2, 0));
    cluster.drain(a);
    cluster.run_for(2ms);
    const TimePoint again = cluster.now();
    cluster.ask(a, permit(4, 0));
    cluster.run_for(300ms);
    CHECK(cluster.granted_at.at(permit(4, 0)) - again <= 152ms);
    CHECK(asked < again);
  }

  TEST_CASE("with the whole trio silent a node takes its share of the limit, one at least") {
    for (const std::uint32_t limit : {4U, 16U}) {
      CAPTURE(limit);
      Cluster cluster(8, limit);
      for (const NodeId& id : cluster.trio()) cluster.cut_off(id);
      const NodeId a = cluster.outsider();
      for (std::uint32_t i = 0; i < 4; ++i) cluster.ask(a, permit(1, i));
      cluster.run_for(600ms);
      CHECK(cluster.got[a].size() == std::max(1U, limit / 8));
      CHECK(cluster.got[a].contains(permit(1, 0)));
      CHECK(cluster.granted_at.at(permit(1, 0)) - start <= 460ms);
      cluster.of(a).end(cluster.now(), permit(1, 0));
      cluster.drain(a);
      CHECK(cluster.got[a].contains(permit(1, 1)));
      cluster.heal();
      cluster.run_for(6s);
      CHECK(cluster.got[a].size() == 4);
    }
  }

  TEST_CASE("a pause reaches who holds a permit at once, and who asks later with the answer") {
    Cluster cluster(8);
    const NodeId a = cluster.outsider();
    const NodeId b = cluster.trio()[1];
    const NodeId c = cluster.trio()[2];
    cluster.ask(a, permit(1, 0));
    cluster.ask(b, permit(2, 0));
    cluster.run_for(2ms);
    cluster.of(a).paused(cluster.now(), host_name, 7, 20s);
    cluster.drain(a);
    cluster.run_for(2ms);
    REQUIRE(cluster.paused[b].size() == 1);
    CHECK(cluster.paused[b][0].credential == 7);
    CHECK(cluster.paused[b][0].remaining > 19s);
    CHECK(cluster.paused[a].empty());
    CHECK(cluster.paused[c].empty());
    cluster.of(a).end(cluster.now(), permit(1, 0));
    cluster.drain(a);
    // Also when rank 0 is another by then: who was told itself repeats it.
    cluster.cut_off(cluster.trio()[0]);
    cluster.run_for(3s);
    cluster.ask(c, permit(3, 0));
    cluster.run_for(200ms);
    REQUIRE(cluster.paused[c].size() == 1);
    CHECK(cluster.paused[c][0].remaining < 17s);
    CHECK(cluster.paused[b].size() == 1);  // a later end would be news, this is none
    cluster.of(b).end_all(cluster.now(), blob(2));
    cluster.of(c).end_all(cluster.now(), blob(3));
    cluster.run_for(30s);
    CHECK(cluster.is_silent());
  }

  TEST_CASE("a pause also reaches who asked within the last minute and holds nothing now") {
    Cluster cluster(8);
    const NodeId a = cluster.outsider();
    const NodeId b = cluster.trio()[1];
    cluster.ask(b, permit(2, 0));
    cluster.run_for(2ms);
    cluster.of(b).end(cluster.now(), permit(2, 0));
    cluster.drain(b);
    cluster.run_for(30s);
    cluster.of(a).paused(cluster.now(), host_name, 7, 20s);
    cluster.drain(a);
    cluster.run_for(2ms);
    CHECK(cluster.paused[b].size() == 1);
    cluster.run_for(100s);
    cluster.of(a).paused(cluster.now(), host_name, 7, 20s);
    cluster.drain(a);
    cluster.run_for(2ms);
    CHECK(cluster.paused[b].size() == 1);
  }

  TEST_CASE("a grant that nobody needs any more goes back") {
    Cluster cluster(8, 1);
    const NodeId a = cluster.outsider();
    const NodeId b = cluster.trio()[1];
    cluster.ask(a, permit(1, 0));
    cluster.of(a).end(cluster.now(), permit(1, 0));
    cluster.drain(a);
    cluster.run_for(3ms);
    cluster.ask(b, permit(2, 0));
    cluster.run_for(2ms);
    CHECK(cluster.got[b].contains(permit(2, 0)));
  }

  TEST_CASE("books and their entries are bounded") {
    Book book(2);
    for (int i = 0; i < 5000; ++i) {
      NodeId from;
      from.bytes[0] = static_cast<std::byte>(i);
      from.bytes[1] = static_cast<std::byte>(i / 256);
      (void)book.core.ask(start, from, {1, 1, permit(1, 0), true});
    }
    book.core.check_invariants();
    CHECK(book.core.asker_count() + book.core.permit_count(start) == limits::host_entries_max);
    HostPermits core({node(1), 1, IdKey::for_cluster("waggle"), 1, 4});
    for (std::size_t i = 0; i < limits::host_books_max + 5; ++i) {
      SwarmTag host;
      host.bytes[0] = static_cast<std::byte>(i);
      host.bytes[1] = static_cast<std::byte>(i / 256);
      core.handle(start, node(2), host, PermitAskMessage{1, 1, permit(1, 0), true});
    }
    core.check_invariants();
  }
}
