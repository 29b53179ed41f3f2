// What must hold in a GossipWorld whatever happens to it: the invariants of docs/simulator.md that
// gossip alone can break, looked at from outside the cores.
#pragma once

#include "sim/gossip_world.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace waggle::sim {

struct CheckLimits {
  /// I5: a node that is up and can be reached may be held for dead by another for so long.
  Duration false_death_max = std::chrono::seconds(60);
  /// I10: bytes on the wire in one virtual second, per node. 0: not looked at.
  std::uint64_t bytes_per_second_max = 0;
  std::set<NodeIndex> exempt;  ///< from it
};

/// Follows every member change of every node and every announcement. Failures are kept as text:
/// a test that goes well ends with none.
///   I2  no index holds a fact that its origin never wrote
///   I4  incarnations never fall, and the dead come back only with a higher one
///   I5  nobody who lives and can be reached stays dead for others
///   I9  limits and structures (check_invariants() of one node a second)
///   I10 bytes per second
/// and when asked, after a time of quiet: I1 (all agree) and I3 (holders are the true ones).
class GossipChecks final : public WorldListener {
 public:
  GossipChecks(GossipWorld& world, const CheckLimits& limits);
  ~GossipChecks() override;
  GossipChecks(const GossipChecks&) = delete;
  GossipChecks& operator=(const GossipChecks&) = delete;

  /// I1 and I3. @param digests_max  looked up at every node; all of them when there are fewer
  void check_settled(std::size_t digests_max = 256);
  [[nodiscard]] const std::vector<std::string>& failures() const { return failures_; }
  /// Declarations of a death that was none, and the nodes that it happened to.
  [[nodiscard]] std::uint64_t false_deaths() const { return false_deaths_; }
  [[nodiscard]] std::size_t falsely_dead_nodes() const { return falsely_dead_.size(); }

  void started(NodeIndex node) override;
  void stopped(NodeIndex node) override;
  void member_changed(NodeIndex observer, NodeIndex subject, const gossip::Member& record) override;
  void announced(NodeIndex node, const gossip::Content& content) override;
  void withdrawn(NodeIndex node, const Digest& digest) override;
  void second_over() override;

 private:
  struct Seen {
    std::uint64_t incarnation = 0;
    gossip::MemberState state = gossip::MemberState::alive;
  };
  struct FalseDeath {
    NodeIndex observer = 0, subject = 0;
    TimePoint since;
  };

  void fail(const std::string& what);
  void check_facts(NodeIndex node, std::size_t digests_max);
  void check_false_deaths();
  [[nodiscard]] Seen& seen(NodeIndex observer, NodeIndex subject) {
    return seen_[observer * world_.size() + subject];
  }
  [[nodiscard]] bool can_hear(NodeIndex observer, NodeIndex subject) const;

  GossipWorld& world_;
  CheckLimits limits_;
  std::vector<Seen> seen_;  ///< [observer * nodes + subject]
  std::vector<FalseDeath> open_deaths_;
  std::set<NodeIndex> falsely_dead_;
  std::uint64_t false_deaths_ = 0;
  std::map<Digest, std::set<NodeIndex>> ever_, now_held_;
  std::vector<Digest> digests_;
  NodeIndex turn_ = 0;
  std::vector<bool> is_over_budget_;
  std::vector<std::string> failures_;
};

}  // namespace waggle::sim
