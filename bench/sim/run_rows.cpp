// A child process per row.
#include "sim/run_rows.hpp"

#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace waggle::bench {
namespace {

/// False when it broke.
bool measure(const NamedRow& row, const SimOptions& options, std::size_t nodes) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    restart_wall_clock();
    row.measure(options, nodes);
    std::fflush(nullptr);
    _exit(0);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

int run_rows(const char* program, std::span<const NamedRow> rows, int argc, char** argv,
             const OptionDefaults& defaults) {
  std::vector<std::string> known;
  for (const NamedRow& row : rows) known.emplace_back(row.name);
  const SimOptions options = sim_options(argc, argv, known, defaults);
  bool is_well = true;
  for (const std::size_t nodes : options.nodes) {
    for (const NamedRow& row : rows) {
      const auto& wanted = options.rows;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), row.name) == wanted.end())
        continue;
      if (measure(row, options, nodes)) continue;
      std::fprintf(stderr, "%s: row %s with %zu nodes ended early\n", program, row.name, nodes);
      is_well = false;
    }
  }
  return is_well ? 0 : 1;
}

}  // namespace waggle::bench
