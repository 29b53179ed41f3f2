// The piggyback queue.
#include "gossip/dissemination.hpp"

#include "base/assert.hpp"

#include <cmath>

namespace waggle::gossip {
namespace {

constexpr std::size_t retransmit_mult = 4;
constexpr std::size_t smallest_record_bytes = 64;

}  // namespace

std::size_t Dissemination::retransmits(std::size_t live_members) {
  return retransmit_mult *
         static_cast<std::size_t>(std::ceil(std::log10(static_cast<double>(live_members + 1))));
}

void Dissemination::add(const MemberUpdate& update) {
  const NodeId& id = update.member.id;
  remove(id);
  const Rank rank{0, next_age_--, id};
  entries_.emplace(id, Entry{update, encoded_bytes(update), rank});
  order_.insert(rank);
}

void Dissemination::remove(const NodeId& id) {
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  order_.erase(it->second.rank);
  entries_.erase(it);
}

std::vector<MemberUpdate> Dissemination::take(std::size_t budget_bytes, std::size_t retransmits) {
  std::vector<MemberUpdate> taken;
  for (const Rank& rank : order_) {
    if (budget_bytes < smallest_record_bytes) break;
    const Entry& entry = entries_.at(std::get<NodeId>(rank));
    if (entry.bytes > budget_bytes) continue;
    budget_bytes -= entry.bytes;
    taken.push_back(entry.update);
  }
  for (const MemberUpdate& update : taken) {
    Entry& entry = entries_.at(update.member.id);
    order_.erase(entry.rank);
    if (++std::get<0>(entry.rank) < retransmits) {
      order_.insert(entry.rank);
    } else {
      entries_.erase(update.member.id);
    }
  }
  return taken;
}

void Dissemination::check_invariants() const {
  WAGGLE_ASSERT(order_.size() == entries_.size());
  for (const auto& [id, entry] : entries_) {
    WAGGLE_ASSERT(entry.update.member.id == id && order_.contains(entry.rank));
  }
}

}  // namespace waggle::gossip
