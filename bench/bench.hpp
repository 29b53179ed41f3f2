// What every bench shares: one JSON line per figure (name, params, unit, value, where and when),
// and timing of single operations. Lines are kept in bench/results/*.jsonl.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace waggle::bench {

using Json = nlohmann::ordered_json;

/// A line with name and params in front. Add figures with line["key"] = value, then print() it.
[[nodiscard]] Json line(const std::string& name, Json params);
/// Writes the line to stdout with date, commit (`git describe`; WAGGLE_COMMIT overrides it) and
/// machine added.
void print(Json line);

/// Resident bytes of this process (/proc/self/statm), whole pages.
[[nodiscard]] std::size_t resident_bytes();
/// Processor time of this process [s]: what other programs of the machine do does not count.
[[nodiscard]] double cpu_seconds();
/// Runs `work` in a child process, so that it starts with a heap of its own; false when it failed.
/// The child's output is the parent's.
bool in_child(void (*work)(const void*), const void* argument);

/// malloc calls (operator new included) of this process so far. Only programs that link
/// bench/allocations.cpp have it.
[[nodiscard]] std::uint64_t allocation_count();

/// Makes the compiler believe that `value` is read.
template <typename T>
void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

/// Times of single operations [ns].
struct Timing {
  double mean = 0;  ///< processor time of a whole run
  double p50 = 0;
  double p99 = 0;
  /// Over the operations, each by the median of its rounds: without what the machine did meanwhile.
  double p99_of_medians = 0;
  double allocations = 0;  ///< per operation
};

namespace detail {
using Clock = std::chrono::steady_clock;
[[nodiscard]] inline std::uint64_t elapsed_ns(Clock::time_point since) {
  return static_cast<std::uint64_t>((Clock::now() - since).count());
}
/// What two readings of the clock cost [ns].
[[nodiscard]] double clock_cost();
inline constexpr std::size_t rounds = 5;  ///< timed: odd, so that each operation has a median
/// @param single  round after round, each operation once
/// @param mean_ns, allocations  per operation
[[nodiscard]] Timing summarize(std::span<std::uint32_t> single, double mean_ns, double allocations);
}  // namespace detail

/// How often time_each() calls each operation.
inline constexpr std::size_t rounds_in_all = 1 + detail::rounds + 1;

/// Calls operation(i) for i in 0..count-1: once to warm up, five rounds with a clock around every
/// call (p50 and p99 of all calls, less the clock's own cost; p99_of_medians), one with a clock
/// around the whole (mean). A machine that pauses every program for some microseconds now and then
/// shows in p99: compare with the row of a plain loop (time_loop()). @pre operation may be repeated
template <typename Operation>
[[nodiscard]] Timing time_each(std::size_t count, Operation operation) {
  std::vector<std::uint32_t> single(count * detail::rounds);
  for (std::size_t i = 0; i < count; ++i) operation(i);
  for (std::size_t round = 0; round < detail::rounds; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto start = detail::Clock::now();
      operation(i);
      single[round * count + i] = static_cast<std::uint32_t>(detail::elapsed_ns(start));
    }
  }
  const std::uint64_t allocated = allocation_count();
  const double start = cpu_seconds();
  for (std::size_t i = 0; i < count; ++i) operation(i);
  const double total = (cpu_seconds() - start) / static_cast<double>(count);
  return detail::summarize(
      single, total * 1e9,
      static_cast<double>(allocation_count() - allocated) / static_cast<double>(count));
}

/// A loop that touches no memory, `steps` multiplications long: what the machine itself does to an
/// operation of that length.
[[nodiscard]] Timing time_loop(std::size_t count, std::size_t steps);

/// line() with the figures of a Timing: value is the median, clock_ns what was taken off each.
[[nodiscard]] Json timing_line(const std::string& name, Json params, const Timing& timing);

}  // namespace waggle::bench
