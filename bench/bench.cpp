// JSON lines, resident memory and timing of the benches.
#include "bench.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

namespace waggle::bench {
namespace {

std::string first_line_of(const std::string& command) {
  std::string out;
  if (FILE* const pipe = popen(command.c_str(), "r")) {
    std::array<char, 256> buffer{};
    if (fgets(buffer.data(), static_cast<int>(buffer.size()), pipe) != nullptr) out = buffer.data();
    pclose(pipe);
  }
  return out.substr(0, out.find('\n'));
}

std::string commit() {
  if (const char* given = std::getenv("WAGGLE_COMMIT")) return given;
  return first_line_of("git -C '" WAGGLE_SOURCE_ROOT "' describe --always --dirty 2>/dev/null");
}

std::string machine() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string text;
  std::string model = "unknown processor";
  while (std::getline(cpuinfo, text)) {
    if (text.rfind("model name", 0) != 0) continue;
    model = text.substr(text.find(": ") + 2);
    break;
  }
  return std::to_string(std::thread::hardware_concurrency()) + " x " + model;
}

std::string today() {
  std::array<char, 16> text{};
  const std::time_t now = std::time(nullptr);
  std::strftime(text.data(), text.size(), "%Y-%m-%d", std::gmtime(&now));
  return text.data();
}

double rounded(double value) { return std::round(value * 10) / 10; }

}  // namespace

Json line(const std::string& name, Json params) {
  Json out;
  out["name"] = name;
  out["params"] = std::move(params);
  return out;
}

void print(Json line) {
  static const std::string at_commit = commit();
  static const std::string on_machine = machine();
  line["date"] = today();
  line["commit"] = at_commit;
  line["machine"] = on_machine;
  std::cout << line.dump() << std::endl;
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  std::timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

bool in_child(void (*work)(const void*), const void* argument) {
  std::cout.flush();
  const pid_t child = fork();
  if (child == 0) {
    work(argument);
    std::cout.flush();
    _exit(0);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

double detail::clock_cost() {
  static const double cost = [] {
    std::vector<std::uint64_t> times(10'001);
    for (auto& time : times) time = elapsed_ns(Clock::now());
    std::nth_element(times.begin(), times.begin() + 5'000, times.end());
    return static_cast<double>(times[5'000]);
  }();
  return cost;
}

Timing detail::summarize(std::span<std::uint32_t> single, double mean_ns, double allocations) {
  const std::size_t count = single.size() / rounds;
  std::vector<std::uint32_t> medians(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::array<std::uint32_t, rounds> times;
    for (std::size_t round = 0; round < rounds; ++round) times[round] = single[round * count + i];
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    medians[i] = times[rounds / 2];
  }
  std::sort(single.begin(), single.end());
  std::sort(medians.begin(), medians.end());
  const auto at = [](std::span<const std::uint32_t> sorted, double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1));
    return rounded(std::max(0.0, static_cast<double>(sorted[index]) - clock_cost()));
  };
  return {rounded(mean_ns), at(single, 0.5), at(single, 0.99), at(medians, 0.99),
          std::round(allocations * 100) / 100};
}

Timing time_loop(std::size_t count, std::size_t steps) {
  std::uint64_t value = 1;
  return time_each(count, [&](std::size_t) {
    for (std::size_t i = 0; i < steps; ++i) {
      value = value * 6364136223846793005U + 1;
      keep(value);
    }
  });
}

Json timing_line(const std::string& name, Json params, const Timing& timing) {
  Json out = line(name, std::move(params));
  out["value"] = timing.p50;
  out["unit"] = "ns";
  out["p99"] = timing.p99;
  out["p99_of_medians"] = timing.p99_of_medians;
  out["mean"] = timing.mean;
  out["allocations_per_op"] = timing.allocations;
  out["clock_ns"] = detail::clock_cost();
  return out;
}

}  // namespace waggle::bench
