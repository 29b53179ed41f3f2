// Plays a fault plan, heals everything, and asks whether everybody is well.
#pragma once

#include "sim/fault_plan.hpp"
#include "sim/simulator.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace waggle::sim {

class RandomRun {
 public:
  explicit RandomRun(const FaultPlan& plan);

  /// Plays to the end. A broken invariant ends the program; what did not come about in time is
  /// returned, one line each: no line means that all is well.
  [[nodiscard]] std::vector<std::string> play();

  [[nodiscard]] Simulator& simulator() { return simulator_; }
  [[nodiscard]] const FaultPlan& plan() const { return plan_; }

 private:
  void at(Duration time, std::function<void()> act) { acts_.emplace(time, std::move(act)); }
  void schedule(const Fault& fault);
  void schedule_node(const Fault& fault);
  void schedule_origin(const Fault& fault);
  void schedule_rotation(const Fault& fault);
  void schedule(const PlannedRead& read);
  void stop(NodeIndex node, bool reset_sessions);
  void start(NodeIndex node);
  void require(bool holds, const std::string& what);
  void everybody_gets_everything();
  void check_upstream_bytes();

  FaultPlan plan_;
  Simulator simulator_;
  std::vector<Blob> blobs_;
  std::multimap<Duration, std::function<void()>> acts_;
  std::set<NodeIndex> late_;
  std::vector<std::string> failures_;
};

}  // namespace waggle::sim
