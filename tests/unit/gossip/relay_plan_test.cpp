// Rows and ranks: everybody is served, by as many as agreed, and nobody has more to do than others.
#include "gossip/relay_plan.hpp"

#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

using namespace waggle;
using namespace waggle::gossip;

namespace {

const IdKey key = IdKey::for_cluster("test");

NodeId node(std::uint64_t number) {
  NodeId id;
  store_le(MutableByteView(id.bytes).first(8), mix_seed(number));
  store_le(MutableByteView(id.bytes).last(8), mix_seed(number + 1'000'000));
  return id;
}

/// The plan of each of `count` members that all know each other.
std::vector<RelayPlan> cluster(std::size_t count) {
  std::vector<RelayPlan> plans;
  for (std::size_t i = 0; i < count; ++i) {
    plans.emplace_back(key, node(i));
    for (std::size_t j = 0; j < count; ++j) plans.back().add(node(j));
  }
  return plans;
}

}  // namespace

TEST_SUITE("gossip/relay_plan") {
  TEST_CASE("R is the smallest power of two with 4 R^2 above the number of members") {
    CHECK(RelayPlan::rows_for(1) == 1);
    CHECK(RelayPlan::rows_for(100) == 8);
    CHECK(RelayPlan::rows_for(1000) == 16);
    CHECK(RelayPlan::rows_for(1023) == 16);
    CHECK(RelayPlan::rows_for(1024) == 32);
    CHECK(RelayPlan::rows_for(5000) == 64);
    CHECK(RelayPlan::rows_for(8192) == 64);
  }

  TEST_CASE("R follows the cluster only after it grew or shrank by half") {
    RelayPlan plan(key, node(0));
    std::uint64_t next = 1;
    const auto grow_to = [&](std::size_t size) {
      while (plan.member_count() + 1 < size) plan.add(node(next++));
    };
    const auto shrink_to = [&](std::size_t size) {
      while (plan.member_count() + 1 > size) plan.remove(node(--next));
    };
    grow_to(300);
    const std::uint32_t at_300 = plan.rows();
    CHECK(at_300 >= 8);
    CHECK(at_300 <= 16);
    grow_to(2000);
    CHECK(plan.rows() == 32);
    shrink_to(1400);
    CHECK(plan.rows() == 32);
    std::set<std::uint32_t> seen;
    for (int i = 0; i < 100; ++i) {
      grow_to(1430);
      seen.insert(plan.rows());
      shrink_to(1400);
      seen.insert(plan.rows());
    }
    CHECK(seen.size() == 1);
    shrink_to(200);
    CHECK(plan.rows() == 8);
    plan.check_invariants();
  }

  TEST_CASE("whoever announces, every member hears it as often as is wanted") {
    for (const std::size_t count : {2U, 5U, 41U, 100U, 300U}) {
      CAPTURE(count);
      std::vector<RelayPlan> plans = cluster(count);
      const std::uint32_t rows = plans[0].rows();
      for (std::size_t redundancy = 1; redundancy <= RelayPlan::redundancy_max; ++redundancy) {
        for (std::size_t origin = 0; origin < count; origin += 17) {
          REQUIRE(plans[origin].rows() == rows);
          std::map<NodeId, std::size_t> copies;
          std::set<NodeId> row{node(origin)};
          for (const NodeId& mate : plans[origin].row_mates()) {
            ++copies[mate];
            row.insert(mate);
          }
          for (std::size_t i = 0; i < count; ++i) {
            CHECK(plans[i].shares_row(node(origin), rows) == row.contains(node(i)));
            if (!row.contains(node(i))) continue;
            for (const NodeId& target : plans[i].targets(rows, redundancy)) {
              if (target != node(origin)) ++copies[target];
            }
          }
          CHECK(copies.size() == count - 1);
          for (const auto& [id, times] : copies) {
            CHECK(times == std::min(redundancy, row.size()));
          }
        }
      }
    }
  }

  TEST_CASE("at 1,000 members each tells about N/R and relays to about 2R") {
    RelayPlan plan(key, node(7));
    for (std::size_t i = 0; i < 1000; ++i) plan.add(node(i));
    CHECK(plan.member_count() == 999);
    const std::uint32_t rows = RelayPlan::rows_for(1000);
    CHECK(plan.row_mates().size() > 1000 / plan.rows() / 2);
    CHECK(plan.row_mates().size() < 2 * 1000 / plan.rows());
    CHECK(plan.targets(rows, 2).size() > rows);
    CHECK(plan.targets(rows, 2).size() < 4 * rows);
    const auto one = plan.targets(rows, 1);
    const std::set<NodeId> first(one.begin(), one.end());
    const auto two = plan.targets(rows, 2);
    CHECK(std::includes(two.begin(), two.end(), first.begin(), first.end()));
  }

  TEST_CASE("views that differ by a few members differ by a few copies") {
    std::vector<RelayPlan> plans = cluster(200);
    const std::uint32_t rows = plans[0].rows();
    for (std::size_t i = 0; i < 200; i += 2) plans[i].remove(node(199));
    std::map<NodeId, std::size_t> copies;
    std::size_t missed = 0;
    for (const NodeId& mate : plans[1].row_mates()) ++copies[mate];
    for (std::size_t i = 0; i < 199; ++i) {
      if (!plans[i].shares_row(node(1), rows)) continue;
      for (const NodeId& target : plans[i].targets(rows, 2)) ++copies[target];
    }
    for (std::size_t i = 0; i < 199; ++i) missed += i != 1 && !copies.contains(node(i)) ? 1 : 0;
    CHECK(missed == 0);
  }

  TEST_CASE("changes are seen by the next question, repeats change nothing") {
    RelayPlan plan(key, node(0));
    CHECK(plan.targets(1, 2).empty());
    for (std::size_t i = 1; i < 60; ++i) plan.add(node(i));
    const std::size_t before = plan.row_mates().size() + plan.targets(plan.rows(), 1).size();
    CHECK(before > 0);
    plan.add(node(5));
    plan.add(node(0));
    plan.remove(node(999));
    CHECK(plan.member_count() == 59);
    const NodeId mate = plan.row_mates().front();
    plan.remove(mate);
    const auto mates = plan.row_mates();
    CHECK(std::find(mates.begin(), mates.end(), mate) == mates.end());
    for (std::uint32_t rows = 1; rows <= 64; rows *= 2) (void)plan.targets(rows, 2);
    plan.check_invariants();
  }
}
