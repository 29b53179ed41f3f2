// Random runs by seed, for humans (./dev sim --seed=N) and for long nights (./dev soak). Each run
// is a process of its own: a broken invariant ends that one alone.
#include "sim/random_run.hpp"

#include <sys/wait.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {

using namespace waggle;

struct Options {
  std::uint64_t first = 1, last = 0;  ///< last 0: the one seed
  std::set<std::size_t> without;
  bool shrink = false;
  bool trace = false;
};

int usage() {
  std::fputs(
      "  --without=K  leaves line K of the plan out; may stand several times\n"
      "  --trace      prints every event: virtual nanoseconds, node, what, two numbers\n"
      "  --shrink     looks for a smaller plan that fails as well\n",
      stderr);
  return 2;
}

std::string replay_command(const sim::FaultPlan& plan, const std::set<std::size_t>& without) {
  std::string command = "./dev sim --seed=" + std::to_string(plan.seed);
  for (const std::size_t number : without) command += " --without=" + std::to_string(number);
  return command;
}

std::uint64_t play(const sim::FaultPlan& plan, const Options& options, bool& well) {
  sim::RandomRun run(plan);
  run.simulator().trace().print_all(options.trace);
  run.simulator().tell("plan:\n" + plan.describe() +
                       "replay: " + replay_command(plan, options.without));
  const auto failures = run.play();
  well = failures.empty();
  if (!well) {
    for (const std::string& line : failures) std::printf("not so: %s\n", line.c_str());
    std::printf("the last events:\n%s", run.simulator().trace().tail().c_str());
    std::printf("%sreplay: %s\n", plan.describe().c_str(),
                replay_command(plan, options.without).c_str());
  }
  return run.simulator().trace().hash();
}

/// In a process of its own. True when all is well.
bool plays_well(const sim::FaultPlan& plan, const Options& options, bool quiet) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    if (quiet) {
      if (std::freopen("/dev/null", "w", stdout) == nullptr) std::_Exit(1);
      if (std::freopen("/dev/null", "w", stderr) == nullptr) std::_Exit(1);
    }
    bool well = false;
    play(plan, options, well);
    std::fflush(nullptr);
    std::_Exit(well ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Leaves out one line after the other as long as what is left fails.
std::set<std::size_t> shrink(const sim::FaultPlan& plan, const Options& options) {
  std::set<std::size_t> without = options.without;
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (std::size_t number = 0; number < plan.line_count(); ++number) {
      if (without.contains(number)) continue;
      std::set<std::size_t> fewer = without;
      fewer.insert(number);
      if (plays_well(plan.without(fewer), options, true)) continue;
      without = fewer;
      smaller = true;
    }
  }
  return without;
}

int run_one(const Options& options) {
  const sim::FaultPlan whole = sim::FaultPlan::draw(options.first);
  const sim::FaultPlan plan = whole.without(options.without);
  std::printf("%s", plan.describe().c_str());
  std::fflush(stdout);
  if (options.shrink) {
    if (plays_well(plan, options, true)) {
      std::puts("all is well: nothing to shrink");
      return 0;
    }
    Options smaller = options;
    smaller.without = shrink(whole, options);
    std::puts("the smallest plan that fails:");
    plays_well(whole.without(smaller.without), smaller, false);
    return 1;
  }
  bool well = false;
  const std::uint64_t hash = play(plan, options, well);
  bool well_again = false;
  const bool same = well && play(plan, options, well_again) == hash && well_again;
  std::printf("trace %016llx, %s\n", static_cast<unsigned long long>(hash),
              same ? "the same in a second run; all is well" : "FAILED");
  return same ? 0 : 1;
}

int run_many(const Options& options) {
  std::uint64_t failed = 0;
  for (std::uint64_t seed = options.first; seed <= options.last; ++seed) {
    if (plays_well(sim::FaultPlan::draw(seed), options, false)) continue;
    ++failed;
    std::printf("seed %llu failed\n", static_cast<unsigned long long>(seed));
  }
  std::printf("%llu random runs (seeds %llu to %llu), %llu failed\n",
              static_cast<unsigned long long>(options.last) - options.first + 1,
              static_cast<unsigned long long>(options.first),
              static_cast<unsigned long long>(options.last),
              static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}

bool read_number(const char* text, std::uint64_t& number, char** end) {
  number = std::strtoull(text, end, 10);
  return *end != text;
}

bool parse(int count, char** arguments, Options& options) {
  for (int i = 1; i < count; ++i) {
    const char* argument = arguments[i];
    char* end = nullptr;
    std::uint64_t number = 0;
    if (std::strncmp(argument, "--seed=", 7) == 0) {
      if (!read_number(argument + 7, options.first, &end) || *end != 0) return false;
    } else if (std::strncmp(argument, "--without=", 10) == 0) {
      if (!read_number(argument + 10, number, &end) || *end != 0) return false;
      options.without.insert(number);
    } else if (std::strncmp(argument, "--seeds=", 8) == 0) {
      if (!read_number(argument + 8, options.first, &end) || *end != '-') return false;
      if (!read_number(end + 1, options.last, &end) || *end != 0) return false;
    } else if (std::strcmp(argument, "--shrink") == 0) {
      options.shrink = true;
    } else if (std::strcmp(argument, "--trace") == 0) {
      options.trace = true;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  if (!parse(count, arguments, options)) return usage();
  return options.last == 0 ? run_one(options) : run_many(options);
}
