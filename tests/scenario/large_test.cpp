// A large cluster's gossip: a hundred nodes in every test run, a thousand in ./dev soak
// (WAGGLE_SIM_LARGE). Real cores on sim::GossipWorld, invariants checked all the time.
#include "sim/announcement_watch.hpp"
#include "sim/gossip_checks.hpp"

#include "base/digest.hpp"
#include "base/limits.hpp"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t hard_budget_bytes = 256 * limits::KiB;

std::size_t large() {
  const char* count = std::getenv("WAGGLE_SIM_LARGE");
  return count == nullptr ? 100 : std::strtoull(count, nullptr, 10);
}

gossip::Content content(const std::string& name) {
  return {sha256_of(as_bytes(name)), 1000 + name.size()};
}

/// A cluster at rest, with some blobs of its own, and its checks.
struct Cluster {
  sim::GossipWorld world;
  sim::GossipChecks checks;

  explicit Cluster(std::uint64_t seed,
                   const sim::CheckLimits& limits = {60s, hard_budget_bytes, {}})
      : world({.node_count = large(), .seed = seed, .link = {.loss = 0.01, .duplicate = 0.01}}),
        checks(world, limits) {
    world.warm_start();
    for (sim::NodeIndex i = 0; i < 5; ++i)
      world.announce(i, content("at rest " + std::to_string(i)));
    REQUIRE(world.run_until(sim::agree, 30s));
  }
  [[nodiscard]] sim::NodeIndex size() const { return static_cast<sim::NodeIndex>(world.size()); }
  /// I1 and I3 after ten to twenty seconds of quiet (loss goes on, and a late refutation may come),
  /// and nothing else was broken on the way.
  void check_settled() {
    world.run_for(10s);
    CHECK(world.run_until(sim::agree, 10s));
    checks.check_settled();
    for (const std::string& failure : checks.failures()) FAIL_CHECK(failure);
  }
};

gossip::Member record_of(const sim::GossipWorld& world, sim::NodeIndex node,
                         std::uint64_t incarnation, gossip::MemberState state) {
  gossip::Member member;
  member.id = world.id_of(node);
  member.incarnation = incarnation;
  member.state = state;
  return member;
}

}  // namespace

TEST_SUITE("scenario/large") {
  TEST_CASE("everybody starts within a short time: all know all soon after the last") {
    sim::GossipWorld world({.node_count = large(), .seed = 1, .link = {.loss = 0.01}});
    sim::GossipChecks checks(world, {});  // whom everybody asks sends more than the budget
    const Duration between = from_seconds(std::min(60.0, 0.05 * static_cast<double>(large()))) /
                             static_cast<Duration::rep>(large());
    for (sim::NodeIndex i = 0; i < large(); ++i) {
      world.start(i);
      world.run_for(between);
    }
    CHECK(world.run_until(sim::agree, 15s));
    CHECK(checks.false_deaths() == 0);
    CHECK(checks.failures().empty());
  }

  TEST_CASE("a tenth vanishes at once: all others agree, and no survivor was taken for dead") {
    Cluster cluster(2);
    for (sim::NodeIndex i = 0; i < cluster.size(); i += 10) cluster.world.crash(i);
    CHECK(cluster.world.run_until(sim::agree_on_members, 30s));
    CHECK(cluster.checks.false_deaths() == 0);
    std::vector<NodeId> holders;
    cluster.world.at(1).holders(content("at rest 0").digest, holders);
    CHECK(holders.empty());
    cluster.check_settled();
  }

  TEST_CASE(
      "cut in two halves for a minute and healed: one cluster again, with both sides' facts") {
    Cluster cluster(3, {90s, hard_budget_bytes, {}});
    std::vector<bool> side(cluster.world.size());
    for (std::size_t i = 0; i < side.size(); ++i) side[i] = i % 2 == 0;
    cluster.world.partition(side);
    cluster.world.run_for(40s);
    for (const sim::NodeIndex node : {6U, 7U})
      cluster.world.announce(node, content("apart " + std::to_string(node)));
    cluster.world.run_for(20s);
    CHECK(cluster.world.at(6).live().size() == (cluster.size() + 1) / 2);
    cluster.world.heal();
    CHECK(cluster.world.run_until(sim::agree, 90s));
    cluster.check_settled();
  }

  TEST_CASE("a fifth stands still for five seconds: nobody is taken for dead") {
    Cluster cluster(4);
    for (sim::NodeIndex i = 0; i < cluster.size(); i += 5) cluster.world.pause(i, 5s);
    cluster.world.run_for(40s);
    CHECK(cluster.checks.false_deaths() == 0);
    cluster.check_settled();
  }

  TEST_CASE("clocks that jump ahead lose nobody") {
    Cluster cluster(5);
    for (sim::NodeIndex i = 3; i < cluster.size(); i += 20)
      cluster.world.clock_jump(i, i % 40 < 20 ? Duration(3s) : Duration(10'000h));
    cluster.world.run_for(40s);
    CHECK(cluster.checks.false_deaths() == 0);
    cluster.check_settled();
  }

  TEST_CASE("one node floods true records: they arrive, and nobody else's come late") {
    const sim::NodeIndex flooder = 11;
    Cluster cluster(6, {60s, hard_budget_bytes, {flooder}});
    sim::AnnouncementWatch watch(cluster.world, 10ms);
    // Forty times what a storm asks of a node in thirty seconds, in ten.
    for (std::size_t i = 0; i < 2000; ++i) {
      cluster.world.announce(flooder, content("flood " + std::to_string(i)));
      if (i % 20 != 0) continue;
      cluster.world.run_for(100ms);
      if (i % 200 == 0)
        watch.announce(static_cast<sim::NodeIndex>(20 + i / 200),
                       content("calm " + std::to_string(i)));
    }
    CHECK(cluster.world.run_until([&](sim::GossipWorld&) { return watch.open_count() == 0; }, 20s));
    for (const auto& followed : watch.followed()) {
      REQUIRE(followed.most_at);
      CHECK(*followed.most_at - followed.begun <= 5s);
    }
    CHECK(cluster.checks.false_deaths() == 0);
    cluster.check_settled();
  }

  TEST_CASE("who misses more than any log keeps pulls the whole set") {
    const sim::NodeIndex busy = 8;
    Cluster cluster(7, {60s, hard_budget_bytes, {busy}});
    std::vector<bool> side(cluster.world.size());
    for (sim::NodeIndex i = 30; i < 35; ++i) side[i] = true;
    cluster.world.partition(side);
    for (std::size_t i = 0; i < 2 * limits::log_records_per_origin_max; ++i) {
      cluster.world.announce(busy, content("missed " + std::to_string(i)));
      if (i % 8 == 0) cluster.world.run_for(50ms);
    }
    cluster.world.reset_traffic();
    cluster.world.heal();
    CHECK(cluster.world.run_until(sim::agree, 60s));
    std::uint64_t frames = 0;
    for (sim::NodeIndex i = 0; i < cluster.size(); ++i)
      frames += cluster.world.traffic(i).bulk_frames;
    CHECK(frames >= 10);  // a question and an answer for each of the five
    cluster.check_settled();
  }

  TEST_CASE("who joins full members takes their index from one of them") {
    constexpr sim::NodeIndex joiner = 59;
    constexpr std::size_t each = limits::log_records_per_origin_max + 20;
    sim::GossipWorld world({.node_count = joiner + 1, .seed = 10, .link = {.loss = 0.01}});
    world.warm_start();
    world.crash(joiner);
    const auto blob_of = [](sim::NodeIndex i, std::size_t n) {  // half of them everybody's
      return content(std::to_string(n < each / 2 ? joiner : i) + ":" + std::to_string(n));
    };
    for (sim::NodeIndex i = 0; i < joiner; ++i) {
      for (std::size_t n = 0; n < each; ++n) world.announce(i, blob_of(i, n));
    }
    REQUIRE(world.run_until(sim::agree, 120s));
    world.reset_traffic();
    const TimePoint start = world.now();
    world.start(joiner);
    const auto knows_all = [](sim::GossipWorld& w) {
      return w.at(joiner).index_root() == w.at(0).index_root();
    };
    CHECK(world.run_until(knows_all, 5s, 10ms));
    const Duration took = world.now() - start;
    for (sim::NodeIndex i = 0; i < joiner; ++i) {
      std::vector<NodeId> holders;
      world.at(joiner).holders(blob_of(i, each - 1).digest, holders);
      CHECK(holders == std::vector<NodeId>{world.id_of(i)});
      CHECK(world.at(joiner).content_size(blob_of(i, each - 1).digest) ==
            blob_of(i, each - 1).size);
    }
    world.at(joiner).check_invariants();
    const auto& asked = world.traffic(joiner);
    MESSAGE("60 nodes: ", asked.bulk_frames, " questions, all known after ", to_seconds(took),
            " s");
    CHECK(asked.bulk_frames <= 8);  // 59 sets and what their ids stand for would take sixty
    CHECK(world.run_until(sim::agree, 15s));
  }

  TEST_CASE("a seed gives the same trace twice") {
    std::vector<std::uint64_t> hashes;
    for (int run = 0; run < 2; ++run) {
      sim::GossipWorld world(
          {.node_count = 40, .seed = 8, .link = {.loss = 0.05, .duplicate = 0.05}});
      world.warm_start();
      world.pause(3, 2s);
      world.announce(4, content("trace"));
      world.crash(5);
      world.run_for(20s);
      hashes.push_back(world.trace_hash());
    }
    CHECK(hashes[0] == hashes[1]);
  }

  TEST_CASE("every check says no to what breaks it") {
    using gossip::MemberState;
    sim::GossipWorld world({.node_count = 6, .seed = 9});
    world.warm_start();
    const auto said = [](const sim::GossipChecks& checks, const std::string& invariant) {
      for (const std::string& failure : checks.failures()) {
        if (failure.find(invariant) != std::string::npos) return true;
      }
      return false;
    };
    sim::GossipChecks checks(world, {2s, 1, {}});
    world.run_for(10s);
    CHECK(said(checks, "I10"));  // a byte per second is too little for anybody
    CHECK_FALSE(said(checks, "I4"));
    checks.member_changed(0, 1, record_of(world, 1, 7, MemberState::faulty));
    CHECK_FALSE(said(checks, "I5"));
    world.run_for(5s);
    CHECK(said(checks, "I5"));
    checks.member_changed(0, 1, record_of(world, 1, 7, MemberState::alive));
    CHECK(said(checks, "came back"));
    checks.member_changed(0, 1, record_of(world, 1, 6, MemberState::alive));
    CHECK(said(checks, "fell"));
    // A fact that the checks were never told of by its origin but by another.
    world.announce(2, content("true"));
    world.run_for(5s);
    sim::GossipChecks others(world, {});
    others.announced(3, content("true"));
    world.run_for(10s);
    CHECK(said(others, "I2"));
    others.check_settled();
    CHECK(said(others, "I3"));
    world.crash(4);
    others.check_settled();
    CHECK(said(others, "I1"));
  }
}
