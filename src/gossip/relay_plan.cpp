// Rows and ranks.
#include "gossip/relay_plan.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/prng.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace waggle::gossip {
namespace {

std::uint32_t row_of(std::uint64_t hash, std::uint32_t rows) {
  return static_cast<std::uint32_t>(hash) & (rows - 1);
}

/// HRW score of relay `a` for receiver `x`: every member computes the same.
std::uint64_t score(std::uint64_t a, std::uint64_t x) { return mix_seed(a ^ std::rotl(x, 17)); }

}  // namespace

RelayPlan::RelayPlan(const IdKey& key, const NodeId& self)
    : key_(key), self_{self, 0}, rows_(rows_for(1)) {
  self_.hash = hash_of(self);
}

std::uint64_t RelayPlan::hash_of(const NodeId& id) const {
  return hrw_score(key_, id, "relay:", {});
}

std::vector<RelayPlan::Standing>::iterator RelayPlan::place_of(const NodeId& id) {
  return std::lower_bound(
      members_.begin(), members_.end(), id,
      [](const Standing& member, const NodeId& key) { return member.id < key; });
}

void RelayPlan::add(const NodeId& member) {
  const auto at = place_of(member);
  if (member == self_.id || (at != members_.end() && at->id == member)) return;
  members_.insert(at, Standing{member, hash_of(member)});
  note_change();
}

void RelayPlan::remove(const NodeId& member) {
  const auto at = place_of(member);
  if (at == members_.end() || at->id != member) return;
  members_.erase(at);
  note_change();
}

void RelayPlan::note_change() {
  ++view_;
  const std::size_t size = members_.size() + 1;
  // R changes only with a clear change of size, so that a few members more or less move nobody.
  if (2 * size < 3 * rows_chosen_at_ && 3 * size > 2 * rows_chosen_at_) return;
  rows_chosen_at_ = size;
  rows_ = rows_for(size);
}

std::uint32_t RelayPlan::rows_for(std::size_t members) {
  std::uint32_t rows = 1;
  while (4ULL * rows * rows <= members && rows < limits::relay_rows_max) rows *= 2;
  return rows;
}

bool RelayPlan::shares_row(const NodeId& other, std::uint32_t rows) const {
  return row_of(hash_of(other), rows) == row_of(self_.hash, rows);
}

std::span<const NodeId> RelayPlan::row_mates() {
  if (mates_view_ != view_) {
    mates_view_ = view_;
    mates_.clear();
    for (const Standing& member : members_) {
      if (row_of(member.hash, rows_) == row_of(self_.hash, rows_)) mates_.push_back(member.id);
    }
  }
  return mates_;
}

std::span<const NodeId> RelayPlan::targets(std::uint32_t rows, std::size_t redundancy) {
  WAGGLE_ASSERT(std::has_single_bit(rows) && redundancy >= 1 && redundancy <= redundancy_max);
  const auto known = std::find_if(rankings_.begin(), rankings_.end(),
                                  [&](const Ranking& ranking) { return ranking.rows == rows; });
  if (known == rankings_.end() || known->view != view_) {
    if (known != rankings_.end()) rankings_.erase(known);
    if (rankings_.size() == rankings_max) rankings_.pop_back();
    rankings_.insert(rankings_.begin(), rank(rows));
  } else {
    std::rotate(rankings_.begin(), known, known + 1);
  }
  return rankings_.front().targets[redundancy - 1];
}

RelayPlan::Ranking RelayPlan::rank(std::uint32_t rows) const {
  Ranking ranking{rows, view_, {}};
  const std::uint32_t own_row = row_of(self_.hash, rows);
  std::vector<std::uint64_t> mates;
  for (const Standing& member : members_) {
    if (row_of(member.hash, rows) == own_row) mates.push_back(member.hash);
  }
  for (const Standing& member : members_) {
    // A row mate has one copy from the origin: of two it gets the second from the first of the
    // rest.
    const bool is_mate = row_of(member.hash, rows) == own_row;
    const std::uint64_t own = score(self_.hash, member.hash);
    std::size_t better = is_mate ? 1 : 0;
    for (const std::uint64_t mate : mates) {
      // Equal scores need equal hashes: then both relay, which costs a copy.
      if (mate == member.hash) continue;
      if (score(mate, member.hash) > own && ++better == redundancy_max) break;
    }
    for (std::size_t r = better; r < redundancy_max; ++r) ranking.targets[r].push_back(member.id);
  }
  return ranking;
}

void RelayPlan::check_invariants() const {
  WAGGLE_ASSERT(rankings_.size() <= rankings_max);
  WAGGLE_ASSERT(std::has_single_bit(rows_) && rows_ <= limits::relay_rows_max);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    WAGGLE_ASSERT(members_[i].id != self_.id);
    WAGGLE_ASSERT(i == 0 || members_[i - 1].id < members_[i].id);
    WAGGLE_ASSERT(members_[i].hash == hash_of(members_[i].id));
  }
}

}  // namespace waggle::gossip
