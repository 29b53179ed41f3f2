// Lookups of a whole Announcements object: who is named, who is not, and that nothing is allocated.
// A program of its own, because it counts every allocation.
#include "../identity_of.hpp"
#include "base/limits.hpp"
#include "gossip/announcements.hpp"

#include <doctest/doctest.h>
#include "log_samples.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <new>
#include <set>
#include <string>
#include <vector>

namespace {
std::size_t allocated = 0;

void* counted(std::size_t bytes) {
  ++allocated;
  if (void* const memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

using namespace waggle;
using namespace waggle::gossip;
using waggle::testing::identity_of;

namespace {

using namespace std::chrono_literals;

Digest digest_of(std::uint64_t n) { return sha256_of(as_bytes(std::to_string(n))); }

struct Lab {
  explicit Lab(std::size_t member_count) {
    for (std::size_t n = 0; n < member_count; ++n) {
      members.push_back(identity_of(n + 2));
      core.member_up(now, id(n), 1, members[n].public_key());
    }
    seqs.resize(member_count);
    drain();
  }
  ~Lab() { core.check_invariants(); }
  void drain() {
    while (core.poll_message()) {
    }
  }
  [[nodiscard]] NodeId id(std::size_t n) const { return members[n].node_id(); }
  void hold(std::size_t n, std::uint64_t blob) {
    const Records message =
        waggle::gossip::test::one_log(id(n), 1, ++seqs[n], {DefinedHave{{digest_of(blob), 10}}});
    core.handle_message(now, id(n), encode(Message(message)));
    drain();
  }
  std::vector<NodeId> lookup(std::uint64_t blob, std::size_t wanted) {
    std::vector<NodeId> out(wanted);
    total = core.lookup(now, digest_of(blob), out);
    out.resize(std::min(wanted, total));
    return out;
  }
  Identity us = identity_of(1);
  TimePoint now{100s};
  Announcements core{{IdKey::for_cluster("test"), us.node_id(), 1, 1200, 1}, us, now};
  std::vector<Identity> members;
  std::vector<std::uint64_t> seqs;
  std::size_t total = 0;
};

}  // namespace

TEST_SUITE("gossip/lookup") {
  TEST_CASE("names live holders, never itself, and says how many there are") {
    Lab lab(6);
    lab.core.announce(lab.now, digest_of(1), 10);
    for (std::size_t n = 0; n < 5; ++n) lab.hold(n, 1);
    for (int i = 0; i < 100; ++i) {
      const auto found = lab.lookup(1, 3);
      CHECK(lab.total == 5);
      CHECK(std::set(found.begin(), found.end()).size() == 3);
      for (const NodeId& holder : found) CHECK(holder != lab.us.node_id());
      for (const NodeId& holder : found) CHECK(holder != lab.id(5));
    }
    CHECK(lab.lookup(2, 3).empty());
    CHECK(lab.total == 0);
    lab.core.announce(lab.now, digest_of(3), 10);
    CHECK(lab.lookup(3, 3).empty());
  }

  TEST_CASE("a member that is down is not named from that moment, and again when it is back") {
    Lab lab(3);
    for (std::size_t n = 0; n < 3; ++n) lab.hold(n, 1);
    lab.core.member_down(lab.now, lab.id(1));
    for (int i = 0; i < 20; ++i) {
      const auto found = lab.lookup(1, 8);
      CHECK(found.size() == 2);
      CHECK(std::find(found.begin(), found.end(), lab.id(1)) == found.end());
    }
    lab.core.member_up(lab.now, lab.id(1), 1, lab.members[1].public_key());
    CHECK(lab.lookup(1, 8).size() == 3);
  }

  TEST_CASE(
      "a member that restarted is named once, by its old facts until the new ones are there") {
    Lab lab(2);
    lab.hold(0, 1);
    lab.hold(0, 2);
    lab.hold(1, 1);
    lab.core.member_up(lab.now, lab.id(0), 2, lab.members[0].public_key());
    CHECK(lab.lookup(1, 8).size() == 2);
    // Its new log begins with blob 1: the old facts stand beside the new one.
    const Records message =
        waggle::gossip::test::one_log(lab.id(0), 2, 1, {DefinedHave{{digest_of(1), 10}}});
    lab.core.handle_message(lab.now, lab.id(0), encode(Message(message)));
    for (int i = 0; i < 20; ++i) {
      const auto found = lab.lookup(1, 8);
      CHECK(lab.total == 2);
      CHECK(std::set(found.begin(), found.end()).size() == 2);
    }
    CHECK(lab.lookup(2, 8) == std::vector<NodeId>{lab.id(0)});
    std::vector<NodeId> all;
    lab.core.holders(digest_of(1), all);
    CHECK(all.size() == 2);
  }

  TEST_CASE("the less loaded of two holders comes first while its word is fresh") {
    Lab lab(2);
    lab.hold(0, 1);
    lab.hold(1, 1);
    lab.core.member_load(lab.now, lab.id(0), 250);
    lab.core.member_load(lab.now, lab.id(1), 3);
    for (int i = 0; i < 30; ++i) CHECK(lab.lookup(1, 1).front() == lab.id(1));
    lab.now += 20s;
    int first = 0;
    for (int i = 0; i < 200; ++i) first += lab.lookup(1, 1).front() == lab.id(0) ? 1 : 0;
    CHECK(first > 50);
    CHECK(first < 150);
  }

  TEST_CASE("allocates nothing: few holders, many, none") {
    Lab lab(300);
    for (std::size_t n = 0; n < 300; ++n) lab.hold(n, 1);
    for (std::size_t n = 0; n < 20; ++n) lab.hold(n, 2);
    const Digest popular = digest_of(1);
    const Digest rare = digest_of(2);
    const Digest missing = digest_of(3);
    std::array<NodeId, 64> out;
    std::size_t total = 0;
    const std::size_t before = allocated;
    for (int i = 0; i < 100; ++i) {
      total += lab.core.lookup(lab.now, popular, out);
      total += lab.core.lookup(lab.now, rare, out);
      total += lab.core.lookup(lab.now, missing, out);
    }
    CHECK(allocated == before);
    CHECK(total == 32'000);
  }
}
