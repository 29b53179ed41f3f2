// The acts of a plan, and the end that every run must come to.
#include "sim/random_run.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration year = 24h * 365;
constexpr std::uint64_t extents_per_fault = 4;

SimConfig config_of(const FaultPlan& plan) {
  SimConfig config;
  config.node_count = plan.node_count;
  config.seed = plan.seed;
  config.link.loss = plan.loss;
  config.link.duplicate = plan.duplicate;
  config.origin.bytes_per_second = plan.origin_bytes_per_second;
  config.start_all = false;
  return config;
}

double share_of(const Fault& fault) { return static_cast<double>(fault.value) / 1000; }

}  // namespace

RandomRun::RandomRun(const FaultPlan& plan) : plan_(plan), simulator_(config_of(plan)) {
  for (std::size_t i = 0; i < plan_.sizes.size(); ++i) {
    blobs_.push_back(make_blob("blob" + std::to_string(i), plan_.sizes[i]));
  }
  for (const Fault& fault : plan_.faults) {
    if (fault.kind == FaultKind::late_join) late_.insert(fault.node);
    schedule(fault);
  }
  for (const PlannedRead& read : plan_.reads) schedule(read);
}

void RandomRun::require(bool holds, const std::string& what) {
  if (!holds) failures_.push_back(what);
}

void RandomRun::stop(NodeIndex node, bool reset_sessions) {
  if (simulator_.node(node) == nullptr) return;
  if (reset_sessions) {
    simulator_.faults().crash(node);
  } else {
    simulator_.faults().power_off(node);
  }
}

void RandomRun::start(NodeIndex node) {
  if (simulator_.node(node) == nullptr) simulator_.faults().restart(node);
}

void RandomRun::schedule(const PlannedRead& read) {
  at(read.begin, [this, read] {
    if (simulator_.node(read.node) == nullptr) return;
    simulator_.pull(read.node, blobs_[read.blob], std::nullopt, read.plan);
  });
}

void RandomRun::schedule(const Fault& fault) {
  Faults& faults = simulator_.faults();
  switch (fault.kind) {
    case FaultKind::partition:
    case FaultKind::one_way_partition:
      at(fault.begin, [&faults, fault] {
        faults.partition(fault.side, fault.kind == FaultKind::one_way_partition);
      });
      return at(fault.end, [&faults] { faults.heal(); });
    case FaultKind::loss:
      at(fault.begin, [&faults, fault] { faults.set_loss(share_of(fault)); });
      return at(fault.end, [this, &faults] { faults.set_loss(plan_.loss); });
    case FaultKind::duplicates:
      at(fault.begin, [&faults, fault] { faults.set_duplicates(share_of(fault)); });
      return at(fault.end, [this, &faults] { faults.set_duplicates(plan_.duplicate); });
    case FaultKind::delay:
      at(fault.begin, [&faults, fault] { faults.set_extra_delay(fault.value * 1ms); });
      return at(fault.end, [&faults] { faults.set_extra_delay(0ms); });
    case FaultKind::noise:
      at(fault.begin, [&faults, fault] { faults.set_noise(share_of(fault)); });
      return at(fault.end, [&faults] { faults.set_noise(0); });
    case FaultKind::key_rotation:
      return schedule_rotation(fault);
    default:
      return fault.kind >= FaultKind::origin_down ? schedule_origin(fault) : schedule_node(fault);
  }
}

void RandomRun::schedule_node(const Fault& fault) {
  Faults& faults = simulator_.faults();
  const NodeIndex node = fault.node;
  const auto restart = [&](std::function<void()> stopped, bool reset_sessions) {
    at(fault.begin, [this, node, reset_sessions] { stop(node, reset_sessions); });
    at(fault.end, [this, node, stopped = std::move(stopped)] {
      if (simulator_.node(node) != nullptr) return;
      stopped();
      start(node);
    });
  };
  switch (fault.kind) {
    case FaultKind::crash:
      return restart([] {}, true);
    case FaultKind::power_off:
      return restart([] {}, false);
    case FaultKind::crash_lose_cache:
      return restart([&faults, node] { faults.lose_cache(node); }, true);
    case FaultKind::reinstall:
      return restart([&faults, node] { faults.reinstall(node); }, false);
    case FaultKind::wall_clock:
      return restart([&faults, fault] { faults.wall_error(fault.node, fault.value * year); }, true);
    case FaultKind::late_join:
      return at(fault.begin, [this, node] { start(node); });
    case FaultKind::leave:
      at(fault.begin, [this, node] {
        if (simulator_.node(node) != nullptr) simulator_.faults().drain(node);
      });
      at(fault.begin + 500ms, [this, node] {
        if (simulator_.node(node) != nullptr) simulator_.faults().leave(node);
      });
      at(fault.begin + 1s, [this, node] { stop(node, true); });
      return at(std::max(fault.end, fault.begin + 2s), [this, node] { start(node); });
    case FaultKind::pause:
      return at(fault.begin, [this, fault] {
        const Duration length = std::min<Duration>(fault.end - fault.begin, 8s);
        if (simulator_.node(fault.node) != nullptr) simulator_.faults().pause(fault.node, length);
      });
    case FaultKind::crash_before_rename:
    case FaultKind::crash_after_rename:
      at(fault.begin, [&faults, fault] {
        faults.crash_in_commit(fault.node, fault.kind == FaultKind::crash_before_rename
                                               ? CommitCrash::before_rename
                                               : CommitCrash::after_rename);
      });
      return at(fault.end, [this, node] {
        simulator_.disk(node).commit_crash = CommitCrash::none;
        start(node);
      });
    case FaultKind::slow_link:
      at(fault.begin, [&faults, fault] { faults.slow_uplink(fault.node, share_of(fault)); });
      return at(fault.end, [&faults, node] { faults.slow_uplink(node, 1); });
    case FaultKind::slow_disk:
      at(fault.begin, [&faults, fault] {
        faults.slow_disk(fault.node, static_cast<std::uint32_t>(fault.value));
      });
      return at(fault.end, [&faults, node] { faults.slow_disk(node, 1); });
    case FaultKind::disk_full:
      at(fault.begin, [&faults, node] { faults.disk_full(node, true); });
      return at(fault.end, [&faults, node] { faults.disk_full(node, false); });
    default:
      return at(fault.begin,
                [&faults, fault] { faults.clock_jump(fault.node, fault.value * 1ms); });
  }
}

void RandomRun::schedule_origin(const Fault& fault) {
  Faults& faults = simulator_.faults();
  const auto status = [&](unsigned code, std::optional<Duration> retry_after = std::nullopt) {
    at(fault.begin, [&faults, code, retry_after] { faults.origin_status(code, retry_after); });
    at(fault.end, [&faults] { faults.origin_status(200); });
  };
  switch (fault.kind) {
    case FaultKind::origin_down:
      at(fault.begin, [&faults] { faults.origin_down(true); });
      return at(fault.end, [&faults] { faults.origin_down(false); });
    case FaultKind::origin_busy:
      return status(static_cast<unsigned>(fault.value), 2s);
    case FaultKind::origin_error:
      return status(500);
    case FaultKind::origin_gone:
      return status(404);
    case FaultKind::origin_cut:
      at(fault.begin,
         [&faults, fault] { faults.origin_cut(static_cast<std::uint32_t>(fault.value)); });
      return at(fault.end, [&faults] { faults.origin_cut(0); });
    case FaultKind::origin_stall:
      at(fault.begin, [&faults, fault] { faults.stall(fault.node); });
      return at(fault.end, [&faults] { faults.unstall(); });
    case FaultKind::origin_slow:
      at(fault.begin, [&faults, fault] { faults.origin_rate(share_of(fault)); });
      return at(fault.end, [&faults] { faults.origin_rate(1); });
    case FaultKind::origin_streams:
      at(fault.begin, [&faults] { faults.origin_ranges(false); });
      return at(fault.end, [&faults] { faults.origin_ranges(true); });
    case FaultKind::origin_length:
      at(fault.begin, [&faults, fault] { faults.origin_length_error(fault.value); });
      return at(fault.end, [&faults] { faults.origin_length_error(0); });
    default:
      at(fault.begin,
         [&faults, fault] { faults.origin_variant(static_cast<Variant>(fault.value)); });
      return at(fault.end, [&faults] { faults.origin_variant(true_bytes); });
  }
}

// The new key is installed everywhere, then seals everywhere, then the old one goes everywhere.
void RandomRun::schedule_rotation(const Fault& fault) {
  const std::vector<std::vector<std::uint32_t>> steps = {{0, 1}, {1, 0}, {1}};
  const Duration step = (fault.end - fault.begin) / 3;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    for (NodeIndex node = 0; node < plan_.node_count; ++node) {
      const bool is_forgotten = fault.value < 0 && node == fault.node;
      const Duration within = step * 9 / 10 * node / static_cast<std::int64_t>(plan_.node_count);
      const Duration when = is_forgotten
                                ? fault.end + 3s
                                : fault.begin + static_cast<std::int64_t>(s) * step + within;
      at(when, [this, node, keys = steps[s]] { simulator_.faults().set_keys(node, keys); });
    }
  }
}

std::vector<std::string> RandomRun::play() {
  for (NodeIndex i = 0; i < simulator_.size(); ++i) {
    if (!late_.contains(i)) simulator_.start_node(i);
  }
  require(simulator_.run_until(converged, 30s), "the cluster stands within 30 s");
  const TimePoint begin = simulator_.now();
  for (auto& [time, act] : acts_) {
    if (begin + time > simulator_.now()) simulator_.run_for(begin + time - simulator_.now());
    act();
  }
  // Every fault has ended itself; a node may still be down.
  for (NodeIndex i = 0; i < simulator_.size(); ++i) start(i);
  simulator_.run_for(10s);
  everybody_gets_everything();
  check_upstream_bytes();
  // Without loss: gossip's fallback pings would keep sessions busy.
  simulator_.network().set_loss(0);
  if (failures_.empty()) simulator_.wind_down();
  return failures_;
}

void RandomRun::everybody_gets_everything() {
  require(simulator_.run_until(converged, 120s), "all know each other 120 s after the healing");
  const bool is_honest = simulator_.origin().is_honest();
  // A download that upstream has spoiled twice is an error, also when it tells the truth again.
  for (int tries = is_honest ? 1 : 3; tries > 0; --tries) {
    for (NodeIndex i = 0; i < simulator_.size(); ++i) {
      for (const Blob& blob : blobs_) simulator_.pull(i, blob);
    }
    require(simulator_.run_until(pulls_done, is_honest ? 120s : 600s), "every read ends");
    simulator_.run_for(1s);
  }
  for (NodeIndex i = 0; i < simulator_.size(); ++i) {
    for (std::size_t b = 0; b < blobs_.size(); ++b) {
      require(simulator_.disk(i).blobs.contains(blobs_[b].digest),
              "node " + std::to_string(i) + " has blob " + std::to_string(b) + " in the end");
    }
  }
  require(simulator_.run_until(converged, 60s), "all indexes agree 60 s after the last commit");
  for (std::size_t b = 0; b < blobs_.size(); ++b) {
    require(simulator_.node(0)->core().holders_of(blobs_[b].digest).size() == simulator_.size() - 1,
            "node 0 knows every holder of blob " + std::to_string(b));
  }
}

void RandomRun::check_upstream_bytes() {
  if (!simulator_.origin().is_honest() || simulator_.origin().was_streamed()) return;
  std::uint64_t total = 0;
  for (const std::uint64_t size : plan_.sizes) total += size;
  const std::uint64_t extents = total / limits::extent_bytes + plan_.sizes.size();
  // Each side of a partition fetches for itself, and what only one had may be lost with it; any
  // other fault loses extents that were under way.
  const auto copies = static_cast<std::uint64_t>(
      std::count_if(plan_.faults.begin(), plan_.faults.end(), [](const Fault& fault) {
        return fault.kind == FaultKind::partition || fault.kind == FaultKind::one_way_partition ||
               fault.kind == FaultKind::crash_lose_cache || fault.kind == FaultKind::reinstall ||
               fault.kind == FaultKind::key_rotation;
      }));
  std::uint64_t most = (1 + copies) * total + plan_.faults.size() *
                                                  std::min(extents_per_fault, extents) *
                                                  limits::extent_bytes;
  for (const auto& [digest, bytes] : simulator_.memory().bypass_bytes) most += bytes;
  most += simulator_.memory().takeovers * limits::extent_bytes;
  require(simulator_.origin().egress_bytes() <= most,
          "upstream sent " + std::to_string(simulator_.origin().egress_bytes()) +
              " bytes, at most " + std::to_string(most) + " were due");
}

}  // namespace waggle::sim
