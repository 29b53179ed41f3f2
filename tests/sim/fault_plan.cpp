// Drawing and printing plans.
#include "sim/fault_plan.hpp"

#include "base/limits.hpp"
#include "base/prng.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

constexpr std::size_t faults_max = 7;

struct KindInfo {
  const char* words;
  std::uint32_t weight;
};

/// By FaultKind. What is common in operation is drawn often; a lying origin seldom, as it switches
/// off what can be said about upstream bytes and bans.
constexpr std::array<KindInfo, static_cast<std::size_t>(FaultKind::count)> kinds{{
    {"crashes", 8},
    {"crashes and loses its cache", 3},
    {"is reinstalled under another identity", 2},
    {"loses power", 4},
    {"drains and leaves", 4},
    {"is paused", 5},
    {"crashes before the rename of its next commit", 3},
    {"crashes after the rename of its next commit", 3},
    {"joins late", 4},
    {"partition", 6},
    {"one-way partition", 4},
    {"datagrams are lost", 4},
    {"datagrams arrive twice", 2},
    {"delay, and datagrams overtake each other", 4},
    {"has a slow uplink", 4},
    {"has a slow disk", 3},
    {"has a full disk", 4},
    {"has a clock that jumps ahead", 3},
    {"restarts with a wall clock that is off", 2},
    {"the cluster key rotates", 3},
    {"an outsider mangles and replays datagrams", 3},
    {"the origin is down", 4},
    {"the origin is busy, with Retry-After", 3},
    {"the origin answers 500", 3},
    {"the origin answers 404", 2},
    {"the origin cuts connections", 3},
    {"the origin sends nothing more", 4},
    {"the origin is slow", 3},
    {"the origin has no ranges", 2},
    {"the origin's lengths are wrong", 1},
    {"the origin's bytes are wrong", 1},
}};

bool is_about_node(FaultKind kind) {
  return kind <= FaultKind::late_join || kind == FaultKind::origin_stall ||
         (kind >= FaultKind::slow_link && kind <= FaultKind::wall_clock);
}

class Drawer {
 public:
  explicit Drawer(std::uint64_t seed) : prng_(mix_seed(seed ^ 0x73746f7279U)) { plan_.seed = seed; }

  FaultPlan draw() {
    plan_.node_count = 3 + prng_.below(8);
    if (prng_.chance(0.5)) plan_.loss = 0.05 * prng_.unit();
    if (prng_.chance(0.3)) plan_.duplicate = 0.02;
    if (prng_.chance(0.2)) plan_.origin_bytes_per_second = 10e6;
    draw_faults();
    draw_reads();
    return std::move(plan_);
  }

 private:
  Duration between(Duration from, Duration to) {
    const auto steps = static_cast<std::uint64_t>((to - from) / 1ms);
    return from + static_cast<std::int64_t>(prng_.below(steps + 1)) * 1ms;
  }
  NodeIndex any_node() { return static_cast<NodeIndex>(prng_.below(plan_.node_count)); }

  FaultKind any_kind() {
    std::uint64_t sum = 0;
    for (const KindInfo& kind : kinds) sum += kind.weight;
    std::uint64_t drawn = prng_.below(sum);
    std::size_t index = 0;
    while (drawn >= kinds[index].weight) drawn -= kinds[index++].weight;
    return static_cast<FaultKind>(index);
  }

  std::int64_t any_value(FaultKind kind) {
    const auto among = [&](std::int64_t from, std::int64_t to) {
      return from + static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(to - from)));
    };
    switch (kind) {
      case FaultKind::loss:
        return among(50, 300);
      case FaultKind::duplicates:
        return among(20, 300);
      case FaultKind::delay:
        return among(5, 200);
      case FaultKind::slow_link:
        return among(10, 300);
      case FaultKind::slow_disk:
        return among(10, 200);
      case FaultKind::clock_jump:
        return among(100, 30'000);
      case FaultKind::noise:
        return among(20, 300);
      case FaultKind::origin_busy:
        return prng_.chance(0.5) ? 429 : 503;
      case FaultKind::origin_cut:
        return among(1, 5);
      case FaultKind::origin_slow:
        return among(20, 500);
      case FaultKind::wall_clock:
      case FaultKind::key_rotation:  // one node may be forgotten until the end
        return prng_.chance(0.5) ? 1 : -1;
      case FaultKind::origin_length:
        return prng_.chance(0.5) ? among(1, 200'000) : -among(1, 200'000);
      case FaultKind::origin_bytes:
        return among(1, 50);
      default:
        return 0;
    }
  }

  void draw_faults() {
    const std::uint64_t count = prng_.below(faults_max + 1);
    for (std::uint64_t i = 0; i < count; ++i) {
      Fault fault;
      fault.number = plan_.faults.size();
      fault.kind = any_kind();
      fault.begin = between(0s, 6s);
      fault.end = fault.begin + between(100ms, 12s);
      fault.node = any_node();
      for (NodeIndex node = 0; node < plan_.node_count; ++node) {
        if (prng_.chance(0.4)) fault.side.insert(node);
      }
      fault.value = any_value(fault.kind);
      // One rotation at a time: an operator finishes one before the next.
      if (fault.kind == FaultKind::key_rotation && plan_.has(fault.kind)) continue;
      plan_.faults.push_back(fault);
    }
  }

  void draw_reads() {
    const std::uint64_t count = 1 + prng_.below(3);
    for (std::size_t blob = 0; blob < count; ++blob) {
      const double kind = prng_.unit();
      const std::uint64_t size = kind < 0.05  ? 0
                                 : kind < 0.3 ? prng_.below(2 * MiB)
                                              : prng_.below(64 * MiB);
      plan_.sizes.push_back(size);
      const Duration spread = prng_.chance(0.5) ? 10ms : 4s;
      for (NodeIndex node = 0; node < plan_.node_count; ++node) {
        if (prng_.chance(0.8)) draw_read(node, blob, spread);
        if (prng_.chance(0.1)) draw_read(node, blob, 8s);  // once more
      }
    }
  }

  void draw_read(NodeIndex node, std::size_t blob, Duration spread) {
    PlannedRead read{plan_.line_count(), node, blob, between(20ms, 20ms + spread), {}};
    const std::uint64_t size = plan_.sizes[blob];
    if (size > 0 && prng_.chance(0.2)) {
      read.plan.begin = prng_.below(size);
      if (prng_.chance(0.7)) read.plan.end = read.plan.begin + 1 + prng_.below(8 * MiB);
    }
    if (prng_.chance(0.15)) read.plan.patience = between(10ms, 3s);
    plan_.reads.push_back(read);
  }

  Prng prng_;
  FaultPlan plan_;
};

std::string seconds(Duration time) { return fmt::format("{:.3f}", to_seconds(time)); }

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / static_cast<double>(MiB));
}

std::string describe_fault(const Fault& fault) {
  std::string line = fmt::format("{:4}  {:>7} .. {:>7} s  ", fault.number, seconds(fault.begin),
                                 seconds(fault.end));
  const bool is_rotation = fault.kind == FaultKind::key_rotation;
  if (is_about_node(fault.kind) || (is_rotation && fault.value < 0)) {
    line += fmt::format("node {} ", fault.node);
  }
  if (is_rotation && fault.value < 0) line += "learns last that ";
  line += kinds[static_cast<std::size_t>(fault.kind)].words;
  if (fault.value != 0 && !is_rotation) line += fmt::format(" ({})", fault.value);
  if (fault.kind == FaultKind::partition || fault.kind == FaultKind::one_way_partition) {
    line += " of {" + fmt::format("{}", fmt::join(fault.side, " ")) + "}";
  }
  return line + "\n";
}

std::string describe_read(const PlannedRead& read) {
  std::string line = fmt::format("{:4}  {:>7} s             node {} reads blob {}", read.number,
                                 seconds(read.begin), read.node, read.blob);
  if (read.plan.begin > 0) line += " from " + megabytes(read.plan.begin);
  if (read.plan.end != UINT64_MAX) line += " to " + megabytes(read.plan.end);
  if (read.plan.patience) line += " and hangs up after " + seconds(*read.plan.patience) + " s";
  return line + "\n";
}

}  // namespace

FaultPlan FaultPlan::draw(std::uint64_t seed) { return Drawer(seed).draw(); }

FaultPlan FaultPlan::without(const std::set<std::size_t>& numbers) const {
  FaultPlan rest = *this;
  std::erase_if(rest.faults, [&](const Fault& fault) { return numbers.contains(fault.number); });
  std::erase_if(rest.reads, [&](const PlannedRead& read) { return numbers.contains(read.number); });
  return rest;
}

bool FaultPlan::has(FaultKind kind) const {
  return std::any_of(faults.begin(), faults.end(),
                     [&](const Fault& fault) { return fault.kind == kind; });
}

std::string FaultPlan::describe() const {
  std::string text =
      fmt::format("seed {}: {} nodes, {:.1f} % loss, {:.1f} % duplicates, origin {:.0f} MB/s\n",
                  seed, node_count, 100 * loss, 100 * duplicate, origin_bytes_per_second / 1e6);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    text += fmt::format("      blob {}: {}\n", i, megabytes(sizes[i]));
  }
  for (const Fault& fault : faults) text += describe_fault(fault);
  for (const PlannedRead& read : reads) text += describe_read(read);
  return text;
}

}  // namespace waggle::sim
