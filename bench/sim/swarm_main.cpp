// sim_swarm [--nodes=8,32] [--rows=flash,pull] [--seed=N] [--long]: a blob to N nodes in virtual
// time, real exchanges on model links, one JSON line per row.
#include "sim/run_rows.hpp"
#include "sim/swarm_rows.hpp"

int main(int argc, char** argv) {
  using namespace waggle::bench;
  constexpr NamedRow all_rows[] = {
      {"flash", flash_row},     {"pull", pull_row}, {"spread", spread_row},
      {"killed", killed_row},   {"slow", slow_row}, {"warm", warm_row},
      {"limited", limited_row}, {"fast", fast_row}, {"model", model_row},
  };
  return run_rows("sim_swarm", all_rows, argc, argv, {.prefix = "WAGGLE_SWARM_", .nodes = {8, 32}});
}
