// What membership costs per member: CPU to learn one, CPU of a protocol period, bytes of heap.
// One JSON line per figure; `./dev bench membership [members...]`.
#include "base/prng.hpp"
#include "base/random_source.hpp"
#include "gossip/courier.hpp"
#include "gossip/membership.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <malloc.h>

namespace {

std::size_t heap_bytes = 0;  // what malloc really gave, and the 8 bytes it keeps beside

void* counted(std::size_t size) {
  void* block = std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  heap_bytes += malloc_usable_size(block) + sizeof(std::size_t);
  return block;
}

void uncounted(void* block) {
  if (block == nullptr) return;
  heap_bytes -= malloc_usable_size(block) + sizeof(std::size_t);
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* block) noexcept { uncounted(block); }
void operator delete[](void* block) noexcept { uncounted(block); }
void operator delete(void* block, std::size_t) noexcept { uncounted(block); }
void operator delete[](void* block, std::size_t) noexcept { uncounted(block); }

namespace {

using namespace waggle;
using namespace waggle::gossip;
using namespace std::chrono_literals;

constexpr std::size_t records_per_message = 8;

Member member_of(std::uint64_t n, Prng& prng) {
  Member member;
  for (std::byte& byte : member.public_key.bytes) byte = static_cast<std::byte>(prng.next());
  member.id = member.public_key.node_id();
  member.incarnation = 1'763'000'000'000;
  member.endpoints = {Endpoint::v4(10, 0, static_cast<std::uint8_t>(n / 256),
                                   static_cast<std::uint8_t>(n % 256), 7947)};
  member.name = "gpu-node-" + std::to_string(n) + ".rack.example";
  member.zone = "rack-" + std::to_string(n % 40);
  return member;
}

std::vector<Member> members_of(std::size_t count) {
  Prng prng(count);
  std::vector<Member> members;
  for (std::size_t n = 0; n < count; ++n) members.push_back(member_of(n, prng));
  return members;
}

double seconds_of(const auto& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

void print(const char* name, std::size_t members, const char* unit, double value) {
  std::printf(
      "{\"name\": \"membership/%s\", \"params\": {\"members\": %zu}, \"unit\": \"%s\", "
      "\"value\": %.3f}\n",
      name, members, unit, value);
}

/// One node that is told about `members` and whose probes are answered by the bench.
class Node {
 public:
  Node(const Member& self, TimePoint now)
      : random_(7), membership_({IdKey::for_cluster("bench"), 1308, 1}, self, now) {
    GossipConfig config;
    config.keys.emplace_back(SecretKey{});
    courier_ = std::make_unique<Courier>(config, membership_, random_);
  }

  void learn(TimePoint now, const std::vector<MemberRecords>& messages, const NodeId& from) {
    for (const MemberRecords& message : messages) {
      membership_.handle_records(now, from, message);
      drain();
    }
  }
  /// One protocol period: every timer that is due, each PING answered.
  void period(TimePoint& now) {
    const TimePoint end = now + 1s;
    for (;;) {
      const auto due = earliest(membership_.poll_timeout(), courier_->poll_timeout());
      if (!due || *due > end) break;
      now = std::max(now, *due);
      membership_.handle_timeout(now);
      courier_->handle_timeout(now);
      drain(&now);
    }
    now = end;
  }

 private:
  void drain(const TimePoint* now = nullptr) {
    while (membership_.poll_event()) {
    }
    while (auto outgoing = membership_.poll_outgoing()) {
      const auto* ping = std::get_if<Ping>(&outgoing->message);
      if (now == nullptr || ping == nullptr || !outgoing->to) continue;
      Ack ack;
      ack.seq = ping->seq;
      ack.table_hash = membership_.table().hash();
      membership_.handle_ack(*now, *outgoing->to, ack);
    }
  }

  SeededRandomSource random_;
  Membership membership_;
  std::unique_ptr<Courier> courier_;
};

std::vector<MemberRecords> messages_of(const std::vector<Member>& members, bool repair) {
  std::vector<MemberRecords> messages;
  for (std::size_t i = 1; i < members.size(); i += records_per_message) {
    messages.push_back({repair, {}});
    for (std::size_t j = i; j < std::min(i + records_per_message, members.size()); ++j) {
      messages.back().records.push_back({members[j], {}});
    }
  }
  return messages;
}

void run(std::size_t count) {
  const std::vector<Member> members = members_of(count);
  const double learnt = static_cast<double>(count - 1);
  const auto copies = messages_of(members, true);
  const auto news = messages_of(members, false);
  TimePoint now{};

  // The first copy of a table, as a joiner gets it.
  Node node(members[0], now);
  const std::size_t empty_bytes = heap_bytes;
  const double joined = seconds_of([&] { node.learn(now, copies, members[1].id); });
  print("join", count, "ms", joined * 1e3);
  print("learn_copy", count, "us per record", joined * 1e6 / learnt);
  print("heap", count, "bytes per member", static_cast<double>(heap_bytes - empty_bytes) / learnt);
  print("learn_again", count, "us per record",
        seconds_of([&] { node.learn(now, copies, members[1].id); }) * 1e6 / learnt);
  for (int i = 0; i < 60; ++i) node.period(now);
  constexpr int periods = 2000;
  print("period", count, "us",
        seconds_of([&] {
          for (int i = 0; i < periods; ++i) node.period(now);
        }) * 1e6 /
            periods);

  // The same records as news, which this node passes on.
  Node gossiper(members[0], now);
  print("learn_news", count, "us per record",
        seconds_of([&] { gossiper.learn(now, news, members[1].id); }) * 1e6 / learnt);
  print("period_spreading", count, "us",
        seconds_of([&] {
          for (int i = 0; i < 10; ++i) gossiper.period(now);
        }) * 1e6 /
            10);

  // Half of them die.
  std::vector<MemberRecords> deaths = news;
  for (std::size_t i = 0; i < deaths.size(); i += 2) {
    for (MemberUpdate& update : deaths[i].records) update.member.state = MemberState::faulty;
  }
  print("learn_death", count, "us per record",
        seconds_of([&] {
          for (std::size_t i = 0; i < deaths.size(); i += 2) {
            node.learn(now, {deaths[i]}, members[1].id);
          }
        }) * 1e6 /
            (learnt / 2));
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::size_t> counts;
  for (int i = 1; i < argc; ++i) counts.push_back(std::strtoul(argv[i], nullptr, 10));
  if (counts.empty()) counts = {100, 1000, 5000};
  for (const std::size_t count : counts) run(std::max<std::size_t>(3, count));
  return 0;
}
