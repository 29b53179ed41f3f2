// One line of JSON per measured figure: what, with which parameters, how much, and the goal beside
// it. bench/README.md says what the rows mean.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace waggle::bench {

/// What a run was asked for; all of it stands in each row that it changes.
struct SimOptions {
  std::vector<std::size_t> nodes{100};
  std::vector<std::string> rows;  ///< empty: all
  std::uint64_t seed = 1;
  bool is_long = false;         ///< WAGGLE_SIM_LONG: more repeats, hours instead of minutes
  std::optional<double> hours;  ///< of virtual time in the row of false deaths
};

/// What a program takes for granted.
struct OptionDefaults {
  std::string prefix = "WAGGLE_SIM_";  ///< of its environment variables
  std::vector<std::size_t> nodes{100};
};

/// From WAGGLE_SIM_NODES ("100,1000"), WAGGLE_SIM_ROWS, WAGGLE_SIM_SEED, WAGGLE_SIM_LONG and
/// WAGGLE_SIM_HOURS, then from --nodes=, --rows=, --seed=, --long and --hours=. Ends the program
/// with status 2 on anything else.
[[nodiscard]] SimOptions sim_options(int argc, char** argv, const std::vector<std::string>& known,
                                     const OptionDefaults& defaults = {});

struct Row {
  std::string name;  ///< "sim/..."
  nlohmann::ordered_json params;
  double value = 0;
  std::string unit;
  std::optional<double>
      at_most;  ///< the goal of DESIGN.md section 11, or a bound named in the README
  nlohmann::ordered_json spread;  ///< more figures of the same runs
};

/// Prints it, with the date and commit when WAGGLE_BENCH_DATE and WAGGLE_BENCH_COMMIT say them.
void print(const Row& row);

/// The share `q` of the values is at most this; 0 of none. Sorts them.
[[nodiscard]] double quantile(std::vector<double>& values, double q);
/// p50, p99, max and count, rounded to `digits`.
[[nodiscard]] nlohmann::ordered_json spread_of(std::vector<double>& values, int digits = 3);
[[nodiscard]] double rounded(double value, int digits = 3);

/// Resident memory of this process [bytes].
[[nodiscard]] std::size_t resident_bytes();
/// Wall clock since the program began, or since restart_wall_clock() [s].
[[nodiscard]] double wall_seconds();
void restart_wall_clock();

}  // namespace waggle::bench
