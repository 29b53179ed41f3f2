// Workload and faults drawn from the seed: nothing wrong ever happens, and once everything is
// healed everybody gets everything.
#include "base/prng.hpp"
#include "sim/simulator.hpp"

#include <doctest/doctest.h>
#include <algorithm>
#include <functional>
#include <map>

using namespace waggle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t MiB = limits::MiB;

/// One run: draws, plays, heals, and asks whether everybody is well.
class RandomStory {
 public:
  explicit RandomStory(std::uint64_t seed)
      : prng_(mix_seed(seed ^ 0x73746f7279U)),
        simulator_({.node_count = 3 + prng_.below(10),
                    .seed = seed,
                    .link = {.loss = prng_.chance(0.5) ? 0.05 * prng_.unit() : 0.0,
                             .duplicate = prng_.chance(0.3) ? 0.02 : 0.0}}) {}

  void play() {
    draw_pulls();
    draw_faults();
    CHECK(simulator_.run_until(sim::converged, 30s));
    const TimePoint begin = simulator_.now();
    for (auto& [at, act] : plan_) {
      const TimePoint time = begin + at;
      if (time > simulator_.now()) simulator_.run_for(time - simulator_.now());
      act();
    }
    heal();
  }

  void check() {
    INFO(simulator_.story());
    CHECK(simulator_.run_until(sim::converged, 120s));
    for (sim::NodeIndex i = 0; i < simulator_.size(); ++i) {
      for (const auto& blob : blobs_) simulator_.pull(i, blob);
    }
    CHECK(simulator_.run_until(sim::pulls_done, 120s));
    simulator_.run_for(1s);
    for (sim::NodeIndex i = 0; i < simulator_.size(); ++i) {
      CAPTURE(i);
      for (const auto& blob : blobs_) CHECK(simulator_.disk(i).blobs.contains(blob.digest));
    }
    CHECK(simulator_.run_until(sim::converged, 60s));
    for (const auto& blob : blobs_) {
      CHECK(simulator_.node(0)->core().holders_of(blob.digest).size() == simulator_.size() - 1);
    }
    std::uint64_t total = 0;
    for (const auto& blob : blobs_) total += blob.size;
    // Each side of a partition fetches for itself; a crash loses extents that were under way.
    const std::uint64_t extents = total / limits::extent_bytes + blobs_.size();
    CHECK(simulator_.origin().egress_bytes() <=
          (1 + partitions_) * total +
              faults_ * std::min<std::uint64_t>(4, extents) * limits::extent_bytes);
  }

 private:
  Duration draw(Duration from, Duration to) {
    return from + Duration(static_cast<Duration::rep>(
                      prng_.below(static_cast<std::uint64_t>((to - from).count()))));
  }
  sim::NodeIndex draw_node() { return static_cast<sim::NodeIndex>(prng_.below(simulator_.size())); }
  void at(Duration time, std::function<void()> act) { plan_.emplace(time, std::move(act)); }

  void draw_pulls() {
    const std::uint64_t count = 1 + prng_.below(3);
    for (std::uint64_t b = 0; b < count; ++b) {
      const std::uint64_t size = prng_.chance(0.3) ? prng_.below(2 * MiB) : prng_.below(70 * MiB);
      blobs_.push_back(sim::make_blob("blob" + std::to_string(b), size));
      const Duration spread = prng_.chance(0.5) ? 10ms : 4s;
      for (sim::NodeIndex i = 0; i < simulator_.size(); ++i) {
        if (prng_.chance(0.2)) continue;
        at(draw(20ms, 20ms + spread), [this, i, blob = blobs_.back()] {
          if (simulator_.node(i) != nullptr) simulator_.pull(i, blob);
        });
      }
    }
  }

  void draw_faults() {
    faults_ = prng_.below(6);
    for (std::uint64_t f = 0; f < faults_; ++f) {
      const Duration begin = draw(0s, 6s);
      const Duration end = begin + draw(100ms, 12s);
      const sim::NodeIndex node = draw_node();
      switch (prng_.below(7)) {
        case 0:
        case 1:
          at(begin, [this, node] { stop(node, true); });
          at(end, [this, node] { start(node); });
          break;
        case 2:
          at(begin, [this, node] { stop(node, false); });
          at(end, [this, node] { start(node); });
          break;
        case 3:
          at(begin, [this, node, length = draw(100ms, 6s)] {
            if (simulator_.node(node) != nullptr) simulator_.faults().pause(node, length);
          });
          break;
        case 4: {
          std::set<sim::NodeIndex> side;
          for (sim::NodeIndex i = 0; i < simulator_.size(); ++i) {
            if (prng_.chance(0.4)) side.insert(i);
          }
          ++partitions_;
          at(begin, [this, side] { simulator_.faults().partition(side); });
          at(end, [this] { simulator_.faults().heal(); });
          break;
        }
        case 5:
          at(begin, [this] { simulator_.faults().origin_down(true); });
          at(end, [this] { simulator_.faults().origin_down(false); });
          break;
        default:
          at(begin, [this, node] { simulator_.faults().stall(node); });
          at(end, [this] { simulator_.faults().unstall(); });
          break;
      }
    }
  }

  void stop(sim::NodeIndex node, bool reset) {
    if (simulator_.node(node) == nullptr) return;
    if (reset) {
      simulator_.faults().crash(node);
    } else {
      simulator_.faults().power_off(node);
    }
  }
  void start(sim::NodeIndex node) {
    if (simulator_.node(node) == nullptr) simulator_.faults().restart(node);
  }

  void heal() {
    simulator_.faults().heal();
    simulator_.faults().origin_down(false);
    simulator_.faults().unstall();
    simulator_.faults().set_loss(0);
    for (sim::NodeIndex i = 0; i < simulator_.size(); ++i) start(i);
    simulator_.run_for(10s);
  }

  Prng prng_;
  sim::Simulator simulator_;
  std::vector<sim::Blob> blobs_;
  std::multimap<Duration, std::function<void()>> plan_;
  std::uint64_t faults_ = 0;
  std::uint64_t partitions_ = 0;
};

}  // namespace

TEST_SUITE("scenario/random") {
  TEST_CASE("whatever happens, nothing wrong is kept, and in the end everybody has everything") {
    for (const std::uint64_t seed : sim::seeds(20)) {
      CAPTURE(seed);
      RandomStory story(seed);
      story.play();
      story.check();
    }
  }
}
