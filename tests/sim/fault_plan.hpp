// What a random run does to a cluster: drawn from a seed, printed one line each, every line can be
// left out so that a human can find the few that matter.
#pragma once

#include "base/time.hpp"
#include "sim/node.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace waggle::sim {

enum class FaultKind : std::uint8_t {
  crash,
  crash_lose_cache,  ///< comes back without its cache
  reinstall,         ///< comes back as another node at the same address
  power_off,         ///< its peers' sessions hang
  leave,             ///< drains, leaves, ends, comes back
  pause,
  crash_before_rename,  ///< in its next commit
  crash_after_rename,
  late_join,
  partition,
  one_way_partition,
  loss,
  duplicates,
  delay,  ///< and datagrams overtake each other
  slow_link,
  slow_disk,
  disk_full,
  clock_jump,
  wall_clock,  ///< comes back with a wall clock a year off
  key_rotation,
  noise,  ///< an outsider mangles and replays datagrams
  origin_down,
  origin_busy,   ///< 429 or 503 with Retry-After
  origin_error,  ///< 500
  origin_gone,   ///< 404
  origin_cut,    ///< connections break after some chunks
  origin_stall,  ///< sends one node nothing more
  origin_slow,
  origin_streams,  ///< no ranges
  origin_length,   ///< other lengths than the true ones
  origin_bytes,    ///< wrong bytes
  count
};

struct Fault {
  std::size_t number = 0;
  FaultKind kind{};
  Duration begin{0}, end{0};  ///< since the cluster stood
  NodeIndex node = 0;
  std::set<NodeIndex> side;  ///< of a partition
  std::int64_t value = 0;    ///< by kind: thousandths, milliseconds, chunks, bytes, status
};

struct PlannedRead {
  std::size_t number = 0;
  NodeIndex node = 0;
  std::size_t blob = 0;
  Duration begin{0};
  ReadPlan plan;
};

struct FaultPlan {
  std::uint64_t seed = 0;
  std::size_t node_count = 0;
  double loss = 0, duplicate = 0;
  double origin_bytes_per_second = 50e6;
  std::vector<std::uint64_t> sizes;  ///< of the blobs
  std::vector<Fault> faults;
  std::vector<PlannedRead> reads;

  /// The same plan for the same seed, on every platform.
  [[nodiscard]] static FaultPlan draw(std::uint64_t seed);
  /// The plan less the lines of these numbers; nothing else in it changes.
  [[nodiscard]] FaultPlan without(const std::set<std::size_t>& numbers) const;
  [[nodiscard]] std::size_t line_count() const { return faults.size() + reads.size(); }
  [[nodiscard]] bool has(FaultKind kind) const;
  /// One line each: number, times, what.
  [[nodiscard]] std::string describe() const;
};

}  // namespace waggle::sim
