// The checks themselves; who calls them is the world.
#include "sim/gossip_checks.hpp"

#include <algorithm>
#include <cstdio>

namespace waggle::sim {
namespace {

constexpr std::size_t failures_max = 20;        ///< kept as text
constexpr std::size_t digests_per_second = 64;  ///< looked up at the node whose turn it is

bool is_gone(gossip::MemberState state) {
  return state == gossip::MemberState::faulty || state == gossip::MemberState::left;
}

}  // namespace

GossipChecks::GossipChecks(GossipWorld& world, const CheckLimits& limits)
    : world_(world),
      limits_(limits),
      seen_(world.size() * world.size()),
      is_over_budget_(world.size()) {
  world_.add_listener(this);
}

GossipChecks::~GossipChecks() { world_.remove_listener(this); }

void GossipChecks::fail(const std::string& what) {
  if (failures_.size() >= failures_max) return;
  char time[32];
  std::snprintf(time, sizeof(time), "%.3f s: ", to_seconds(world_.now().time_since_epoch()));
  failures_.push_back(time + what);
}

// ---- what happens ----

void GossipChecks::started(NodeIndex node) {
  for (NodeIndex i = 0; i < world_.size(); ++i) seen(node, i) = {};
  stopped(node);
}

void GossipChecks::stopped(NodeIndex node) {
  std::erase_if(open_deaths_, [&](const FalseDeath& death) {
    return death.observer == node || death.subject == node;
  });
}

void GossipChecks::announced(NodeIndex node, const gossip::Content& content) {
  if (ever_[content.digest].empty()) digests_.push_back(content.digest);
  ever_[content.digest].insert(node);
  now_held_[content.digest].insert(node);
}

void GossipChecks::withdrawn(NodeIndex node, const Digest& digest) {
  now_held_[digest].erase(node);
}

void GossipChecks::member_changed(NodeIndex observer, NodeIndex subject,
                                  const gossip::Member& record) {
  Seen& before = seen(observer, subject);
  const std::string who = std::to_string(observer) + " about " + std::to_string(subject);
  if (record.incarnation < before.incarnation) fail("I4: an incarnation fell, " + who);
  if (is_gone(before.state) && record.state == gossip::MemberState::alive &&
      record.incarnation <= before.incarnation) {
    fail("I4: the dead came back with the incarnation they died with, " + who);
  }
  before = {record.incarnation, record.state};
  std::erase_if(open_deaths_, [&](const FalseDeath& death) {
    return death.observer == observer && death.subject == subject;
  });
  if (record.state != gossip::MemberState::faulty || !world_.is_up(subject)) return;
  open_deaths_.push_back({observer, subject, world_.now()});
  if (!world_.connected(observer, subject)) return;
  ++false_deaths_;
  falsely_dead_.insert(subject);
}

// ---- once a second ----

void GossipChecks::second_over() {
  check_false_deaths();
  for (NodeIndex i = 0; limits_.bytes_per_second_max > 0 && i < world_.size(); ++i) {
    const std::uint64_t bytes = world_.traffic(i).bytes_in_worst_second;
    if (bytes <= limits_.bytes_per_second_max || is_over_budget_[i] || limits_.exempt.contains(i))
      continue;
    is_over_budget_[i] = true;
    fail("I10: node " + std::to_string(i) + " sent " + std::to_string(bytes) + " B in a second");
  }
  turn_ = static_cast<NodeIndex>((turn_ + 1) % world_.size());
  if (!world_.is_up(turn_)) return;
  world_.at(turn_).check_invariants();  // I9: asserts
  check_facts(turn_, digests_per_second);
}

bool GossipChecks::can_hear(NodeIndex observer, NodeIndex subject) const {
  return world_.connected(observer, subject) && !world_.is_paused(observer) &&
         !world_.is_paused(subject);
}

void GossipChecks::check_false_deaths() {
  for (FalseDeath& death : open_deaths_) {
    if (!can_hear(death.observer, death.subject)) {
      death.since = world_.now();
    } else if (world_.now() - death.since > limits_.false_death_max) {
      fail("I5: " + std::to_string(death.subject) + " lives, and " +
           std::to_string(death.observer) + " still holds it for dead");
      death.since = world_.now();
    }
  }
}

void GossipChecks::check_facts(NodeIndex node, std::size_t digests_max) {
  std::vector<NodeId> holders;
  for (std::size_t i = 0; i < std::min(digests_max, digests_.size()); ++i) {
    const std::size_t position =
        digests_.size() <= digests_max ? i : world_.choices().below(digests_.size());
    holders.clear();
    world_.at(node).holders(digests_[position], holders);
    for (const NodeId& holder : holders) {
      const auto index = world_.index_of(holder);
      if (index && ever_[digests_[position]].contains(*index)) continue;
      fail("I2: node " + std::to_string(node) + " knows a fact that its origin never wrote");
    }
  }
}

// ---- after a time of quiet ----

void GossipChecks::check_settled(std::size_t digests_max) {
  const std::string difference = disagreement(world_);
  if (!difference.empty()) fail("I1: after the quiet " + difference);
  const std::size_t step =
      std::max<std::size_t>(1, digests_.size() / std::max<std::size_t>(1, digests_max));
  std::vector<NodeId> holders;
  for (std::size_t d = 0; d < digests_.size(); d += step) {
    std::vector<NodeId> truth;
    for (const NodeIndex holder : now_held_[digests_[d]]) {
      if (world_.is_up(holder)) truth.push_back(world_.id_of(holder));
    }
    std::sort(truth.begin(), truth.end());
    for (NodeIndex i = 0; i < world_.size(); ++i) {
      if (!world_.is_up(i)) continue;
      holders.clear();
      world_.at(i).holders(digests_[d], holders);
      // A node does not name itself.
      if (now_held_[digests_[d]].contains(i)) holders.push_back(world_.id_of(i));
      std::sort(holders.begin(), holders.end());
      if (holders != truth)
        fail("I3: node " + std::to_string(i) + " knows other holders than there are");
    }
  }
}

}  // namespace waggle::sim
