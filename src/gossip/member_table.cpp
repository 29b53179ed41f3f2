// The order of claims, and the hashes by which tables are compared.
#include "gossip/member_table.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

std::pair<std::uint64_t, MemberState> rank(const Member& member) {
  return {member.incarnation, member.state};
}

bool is_tombstone(const Member& member) {
  return member.state == MemberState::faulty || member.state == MemberState::left;
}

}  // namespace

MemberTable::MemberTable(const IdKey& key, Member self) : key_(key), self_(self.id) {
  self.is_self = true;
  put(TimePoint{}, self);
}

bool MemberTable::is_live(const Member& member) { return member.is_self || !is_tombstone(member); }

bool MemberTable::is_news(const Member& claim) const {
  const Member* known = find(claim.id);
  if (known == nullptr) return true;
  if (claim.incarnation > known->incarnation &&
      claim.incarnation - known->incarnation > limits::incarnation_jump_max) {
    return false;
  }
  return rank(claim) > rank(*known);
}

MemberTable::Outcome MemberTable::apply(TimePoint now, const Member& claim) {
  if (!is_news(claim)) return Outcome::ignored;
  if (claim.id == self_) return Outcome::about_self;
  const bool known = entries_.contains(claim.id);
  if (!known && entries_.size() >= limits::members_max) return Outcome::refused;
  Member member = claim;
  member.is_self = false;
  put(now, member);
  return known ? Outcome::changed : Outcome::added;
}

void MemberTable::update_self(const Member& self) {
  WAGGLE_ASSERT(self.id == self_ && self.incarnation >= this->self().incarnation);
  Member member = self;
  member.is_self = true;
  put(TimePoint{}, member);
}

void MemberTable::put(TimePoint now, const Member& member) {
  const auto it = entries_.find(member.id);
  if (it == entries_.end()) {
    entries_.emplace(member.id, Entry{member, now});
    toggle(member);
    if (!is_live(member)) tombstones_.emplace(now, member.id);
    rebuild_live();
    return;
  }
  Entry& entry = it->second;
  const bool reshaped = is_live(entry.member) != is_live(member) ||
                        entry.member.state != member.state ||
                        entry.member.draining != member.draining;
  toggle(entry.member);
  if (!is_live(entry.member)) tombstones_.erase({entry.since, member.id});
  if (entry.member.state != member.state) entry.since = now;
  entry.member = member;
  toggle(entry.member);
  if (!is_live(entry.member)) tombstones_.emplace(entry.since, member.id);
  if (reshaped) rebuild_live();
}

void MemberTable::toggle(const Member& member) {
  if (!is_live(member)) return;
  Bytes message = to_bytes(member.id.bytes);
  append_le(message, member.incarnation);
  buckets_[bucket_of(member.id)] ^= siphash(key_, message);
}

void MemberTable::rebuild_live() {
  live_.clear();
  candidates_.clear();
  for (const auto& [id, entry] : entries_) {
    if (!is_live(entry.member)) continue;
    live_.push_back(id);
    if (!entry.member.draining && entry.member.state != MemberState::left)
      candidates_.push_back(id);
  }
}

std::vector<NodeId> MemberTable::expire(TimePoint now) {
  std::vector<NodeId> forgotten;
  const std::size_t kept = std::max(limits::tombstones_min, 2 * live_.size());
  while (!tombstones_.empty()) {
    const auto [since, id] = *tombstones_.begin();
    if (tombstones_.size() <= kept && since + limits::tombstone_age_max >= now) break;
    tombstones_.erase(tombstones_.begin());
    entries_.erase(id);
    forgotten.push_back(id);
  }
  return forgotten;
}

const Member* MemberTable::find(const NodeId& id) const {
  const auto it = entries_.find(id);
  return it == entries_.end() ? nullptr : &it->second.member;
}

std::vector<Member> MemberTable::members() const {
  std::vector<Member> all;
  all.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) all.push_back(entry.member);
  return all;
}

std::vector<NodeId> MemberTable::with_state(MemberState state) const {
  std::vector<NodeId> ids;
  for (const auto& [id, entry] : entries_) {
    if (entry.member.state == state && !entry.member.is_self) ids.push_back(id);
  }
  return ids;
}

std::size_t MemberTable::count(MemberState state) const {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(),
                    [&](const auto& item) { return item.second.member.state == state; }));
}

std::uint64_t MemberTable::hash() const {
  std::uint64_t hash = 0;
  for (const std::uint64_t bucket : buckets_) hash ^= bucket;
  return hash;
}

std::size_t MemberTable::bucket_of(const NodeId& id) {
  return std::to_integer<std::size_t>(id.bytes[0]) % member_buckets;
}

std::vector<Member> MemberTable::differing(
    const std::array<std::uint64_t, member_buckets>& theirs) const {
  std::vector<Member> records;
  for (const auto& [id, entry] : entries_) {
    const std::size_t bucket = bucket_of(id);
    if (buckets_[bucket] != theirs[bucket]) records.push_back(entry.member);
  }
  return records;
}

void MemberTable::check_invariants() const {
  MemberTable recount(key_, self());
  std::size_t tombstones = 0;
  for (const auto& [id, entry] : entries_) {
    WAGGLE_ASSERT(id == entry.member.id && entry.member.is_self == (id == self_));
    if (!is_live(entry.member)) {
      ++tombstones;
      WAGGLE_ASSERT(tombstones_.contains({entry.since, id}));
    }
    if (id != self_) {
      WAGGLE_ASSERT(entry.member.public_key.node_id() == id);
      recount.entries_.emplace(id, entry);
      recount.toggle(entry.member);
    }
  }
  recount.rebuild_live();
  WAGGLE_ASSERT(tombstones == tombstones_.size());
  WAGGLE_ASSERT(entries_.size() <= limits::members_max);
  WAGGLE_ASSERT(recount.live_ == live_ && recount.candidates_ == candidates_);
  WAGGLE_ASSERT(recount.buckets_ == buckets_);
}

}  // namespace waggle::gossip
