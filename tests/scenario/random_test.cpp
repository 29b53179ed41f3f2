// Workload and faults drawn from the seed: nothing wrong ever happens, and once everything is
// healed everybody gets everything. `./dev sim --seed=N` plays one, `./dev soak` thousands.
#include "sim/random_run.hpp"

#include <doctest/doctest.h>

using namespace waggle;

namespace {

std::uint64_t trace_of(std::uint64_t seed) {
  sim::RandomRun run(sim::FaultPlan::draw(seed));
  static_cast<void>(run.play());
  return run.simulator().trace().hash();
}

}  // namespace

TEST_SUITE("scenario/random") {
  TEST_CASE("whatever happens, nothing wrong is kept, and in the end everybody has everything") {
    for (const std::uint64_t seed : sim::seeds(200)) {
      const sim::FaultPlan plan = sim::FaultPlan::draw(seed);
      sim::RandomRun run(plan);
      run.simulator().tell("plan:\n" + plan.describe() +
                           "replay: ./dev sim --seed=" + std::to_string(seed));
      for (const std::string& failure : run.play()) {
        FAIL_CHECK(failure << "\n"
                           << plan.describe() << "the last events:\n"
                           << run.simulator().trace().tail()
                           << "replay: ./dev sim --seed=" << seed);
      }
    }
  }

  TEST_CASE("a seed gives the same plan and the same trace again, another seed another") {
    CHECK(sim::FaultPlan::draw(12).describe() == sim::FaultPlan::draw(12).describe());
    CHECK(trace_of(12) == trace_of(12));
    CHECK(trace_of(12) != trace_of(13));
  }

  TEST_CASE("a line that is left out changes no other line of the plan") {
    const sim::FaultPlan plan = sim::FaultPlan::draw(12);
    REQUIRE(plan.line_count() > 2);
    const sim::FaultPlan rest = plan.without({1});
    CHECK(rest.line_count() == plan.line_count() - 1);
    std::string expected = plan.describe();
    const auto begin = expected.find("\n   1  ") + 1;
    expected.erase(begin, expected.find('\n', begin) + 1 - begin);
    CHECK(rest.describe() == expected);
  }
}
