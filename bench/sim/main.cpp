// sim_gossip: the rows of DESIGN.md section 11 for gossip, from the real cores in virtual time.
//   ./dev bench sim          N = 100
//   ./dev soak bench-sim     N = 100, 1,000 and 5,000
#include "sim/gossip_rows.hpp"

#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace waggle;

struct NamedRow {
  const char* name;
  void (*measure)(const bench::SimOptions&, std::size_t);
};
constexpr NamedRow all_rows[] = {
    {"idle", bench::idle_row},       {"announcement", bench::announcement_row},
    {"failure", bench::failure_row}, {"join", bench::join_row},
    {"storm", bench::storm_row},     {"false_deaths", bench::false_death_row},
};

/// In a process of its own, so that memory is that row's alone. False when it broke.
bool measure(const NamedRow& row, const bench::SimOptions& options, std::size_t nodes) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    bench::restart_wall_clock();
    row.measure(options, nodes);
    std::fflush(nullptr);
    _exit(0);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> known;
  for (const NamedRow& row : all_rows) known.emplace_back(row.name);
  const bench::SimOptions options = bench::sim_options(argc, argv, known);
  bool is_well = true;
  for (const std::size_t nodes : options.nodes) {
    for (const NamedRow& row : all_rows) {
      const auto& wanted = options.rows;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), row.name) == wanted.end())
        continue;
      if (measure(row, options, nodes)) continue;
      std::fprintf(stderr, "sim_gossip: row %s with %zu nodes ended early\n", row.name, nodes);
      is_well = false;
    }
  }
  return is_well ? 0 : 1;
}
