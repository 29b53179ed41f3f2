// sim_gossip: the rows of DESIGN.md section 11 for gossip, from the real cores in virtual time.
//   ./dev bench sim          N = 100
//   ./dev soak bench-sim     N = 100, 1,000 and 5,000
#include "sim/gossip_rows.hpp"
#include "sim/run_rows.hpp"

int main(int argc, char** argv) {
  using namespace waggle::bench;
  constexpr NamedRow all_rows[] = {
      {"idle", idle_row},       {"announcement", announcement_row},
      {"failure", failure_row}, {"join", join_row},
      {"storm", storm_row},     {"false_deaths", false_death_row},
  };
  return run_rows("sim_gossip", all_rows, argc, argv);
}
