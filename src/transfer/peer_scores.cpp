// Decay is applied when an entry is touched.
#include "transfer/peer_scores.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

constexpr double decay_per_second = 10.0 / 60;
constexpr double ban_points = 100;
constexpr Duration first_ban = std::chrono::minutes(10);
constexpr Duration longest_ban = std::chrono::hours(24);

}  // namespace

bool PeerScores::add(TimePoint now, const NodeId& node, double points) {
  if (!entries_.contains(node)) make_room();
  Entry& entry = entries_[node];
  entry.points = std::max(0.0, entry.points - decay_per_second * to_seconds(now - entry.updated));
  entry.updated = now;
  entry.points += points;
  if (entry.points < ban_points || entry.banned_until > now) return false;
  entry.banned_until = now + std::min(longest_ban, first_ban * (1U << std::min(entry.bans, 8U)));
  entry.points = 0;
  ++entry.bans;
  ++bans_;
  return true;
}

bool PeerScores::is_banned(TimePoint now, const NodeId& node) const {
  const auto it = entries_.find(node);
  return it != entries_.end() && it->second.banned_until > now;
}

std::vector<NodeId> PeerScores::banned(TimePoint now) const {
  std::vector<NodeId> nodes;
  for (const auto& [node, entry] : entries_) {
    if (entry.banned_until > now) nodes.push_back(node);
  }
  return nodes;
}

void PeerScores::make_room() {
  if (entries_.size() < limits::members_max) return;
  const auto least = std::min_element(entries_.begin(), entries_.end(), [](auto& a, auto& b) {
    return std::pair(a.second.banned_until, a.second.points) <
           std::pair(b.second.banned_until, b.second.points);
  });
  entries_.erase(least);
}

}  // namespace waggle::transfer
