// Options, quantiles and printing.
#include "sim/row.hpp"

#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace waggle::bench {
namespace {

auto row_began = std::chrono::steady_clock::now();

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

[[noreturn]] void usage(const std::string& wrong, const std::vector<std::string>& known) {
  std::string names;
  for (const std::string& name : known) names += " " + name;
  std::fprintf(stderr,
               "not understood: %s\n"
               "--nodes=100,1000  --rows=A,B  --seed=N  --long  --hours=H; rows:%s\n",
               wrong.c_str(), names.c_str());
  std::exit(2);
}

bool set(SimOptions& options, const std::string& key, const std::string& value,
         const std::vector<std::string>& known) {
  if (key == "nodes") {
    options.nodes.clear();
    for (const std::string& part : split(value)) {
      options.nodes.push_back(std::strtoull(part.c_str(), nullptr, 10));
      if (options.nodes.back() < 2) return false;
    }
    return !options.nodes.empty();
  }
  if (key == "rows") {
    options.rows = split(value);
    return std::all_of(options.rows.begin(), options.rows.end(), [&](const std::string& row) {
      return std::find(known.begin(), known.end(), row) != known.end();
    });
  }
  if (key == "seed") {
    options.seed = std::strtoull(value.c_str(), nullptr, 10);
  } else if (key == "long") {
    options.is_long = value != "0";
  } else if (key == "hours") {
    options.hours = std::strtod(value.c_str(), nullptr);
  } else {
    return false;
  }
  return true;
}

}  // namespace

SimOptions sim_options(int argc, char** argv, const std::vector<std::string>& known,
                       const OptionDefaults& defaults) {
  SimOptions options;
  options.nodes = defaults.nodes;
  for (const char* key : {"nodes", "rows", "seed", "long", "hours"}) {
    std::string name = defaults.prefix + key;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const char* value = std::getenv(name.c_str());
    if (value != nullptr && !set(options, key, value, known)) usage(name, known);
  }
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto equals = argument.find('=');
    const std::string key = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "1" : argument.substr(equals + 1);
    if (key.rfind("--", 0) != 0 || !set(options, key.substr(2), value, known))
      usage(argument, known);
  }
  return options;
}

void print(const Row& row) {
  nlohmann::ordered_json line;
  line["name"] = row.name;
  line["params"] = row.params;
  line["value"] = rounded(row.value);
  line["unit"] = row.unit;
  if (row.at_most) {
    line["goal"] = *row.at_most;
    line["met"] = row.value <= *row.at_most;
  }
  if (!row.spread.is_null()) line["spread"] = row.spread;
  line["wall_s"] = rounded(wall_seconds(), 1);
  if (const char* date = std::getenv("WAGGLE_BENCH_DATE")) line["date"] = date;
  if (const char* commit = std::getenv("WAGGLE_BENCH_COMMIT")) line["commit"] = commit;
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

double quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

nlohmann::ordered_json spread_of(std::vector<double>& values, int digits) {
  nlohmann::ordered_json spread;
  spread["p50"] = rounded(quantile(values, 0.5), digits);
  spread["p99"] = rounded(quantile(values, 0.99), digits);
  spread["max"] = rounded(quantile(values, 1), digits);
  spread["count"] = values.size();
  return spread;
}

double rounded(double value, int digits) {
  const double scale = std::pow(10.0, digits);
  return std::round(value * scale) / scale;
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - row_began).count();
}

void restart_wall_clock() { row_began = std::chrono::steady_clock::now(); }

}  // namespace waggle::bench
