// The order of claims, and the lists, counts and hashes that follow every change.
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

/// Room for an eighth more: thousands of tables of thousands of members must not be half empty.
template <typename T>
void grow(std::vector<T>& list) {
  if (list.size() == list.capacity()) list.reserve(list.size() + list.size() / 8 + 4);
}

/// Puts `id` into a sorted list, or takes it out.
void set_listed(std::vector<NodeId>& list, const NodeId& id, bool listed) {
  const auto at = std::lower_bound(list.begin(), list.end(), id);
  if (!listed) {
    WAGGLE_ASSERT(at != list.end() && *at == id);
    list.erase(at);
    return;
  }
  const auto index = at - list.begin();
  grow(list);
  list.insert(list.begin() + index, id);
}

}  // namespace

MemberTable::MemberTable(const IdKey& key, Member self) : key_(key), self_(self.id) {
  WAGGLE_ASSERT(self.version_min <= self.version_max);
  update_self(self);
}

bool MemberTable::is_live(const Member& member) {
  return member.is_self || gossip::is_live(member.state);
}

bool MemberTable::is_candidate(const Member& member) {
  return gossip::is_live(member.state) && !member.draining && member.compatible;
}

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
  member.compatible =
      claim.version_min <= self().version_max && claim.version_max >= self().version_min;
  put(now, member);
  return known ? Outcome::changed : Outcome::added;
}

void MemberTable::update_self(const Member& self) {
  WAGGLE_ASSERT(self.id == self_);
  Member member = self;
  member.is_self = true;
  member.compatible = true;
  if (self_record_ != nullptr) {
    WAGGLE_ASSERT(self.incarnation >= self_record_->incarnation);
    WAGGLE_ASSERT(self.version_min == self_record_->version_min &&
                  self.version_max == self_record_->version_max);
  }
  put(TimePoint{}, member);
}

// --- what follows a change -----------------------------------------------------------------------

void MemberTable::put(TimePoint now, const Member& member) {
  const auto it = entries_.find(member.id);
  if (it == entries_.end()) {
    const auto& entry = entries_.emplace(member.id, Entry{member, now}).first->second;
    if (member.is_self) self_record_ = &entry.member;
    list(nullptr, member);
    count_in(entry);
    return;
  }
  Entry& entry = it->second;
  count_out(entry);
  list(&entry.member, member);
  if (entry.member.state != member.state) entry.since = now;
  entry.member = member;
  count_in(entry);
}

void MemberTable::count_in(const Entry& entry) {
  const Member& member = entry.member;
  ++counts_[static_cast<std::size_t>(member.state)];
  if (!is_live(member)) {
    // Nearly always the newest; a departed member whose incarnation alone grew is not.
    const auto index = std::upper_bound(tombstones_.begin(), tombstones_.end(), entry.since,
                                        [](TimePoint since, const Tombstone& tombstone) {
                                          return since < tombstone.since;
                                        }) -
                       tombstones_.begin();
    grow(tombstones_);
    tombstones_.insert(tombstones_.begin() + index, {entry.since, member.id});
    return;
  }
  toggle(member);
  if (member.compatible) {
    ++versions_[std::min(member.version_max, self().version_max)];
  } else {
    ++incompatible_;
  }
}

void MemberTable::count_out(const Entry& entry) {
  const Member& member = entry.member;
  --counts_[static_cast<std::size_t>(member.state)];
  if (!is_live(member)) {
    auto it = std::lower_bound(
        tombstones_.begin(), tombstones_.end(), entry.since,
        [](const Tombstone& tombstone, TimePoint since) { return tombstone.since < since; });
    while (it != tombstones_.end() && it->id != member.id) ++it;
    WAGGLE_ASSERT(it != tombstones_.end());
    tombstones_.erase(it);
    return;
  }
  toggle(member);
  if (member.compatible) {
    const auto version = versions_.find(std::min(member.version_max, self().version_max));
    if (--version->second == 0) versions_.erase(version);
  } else {
    --incompatible_;
  }
}

void MemberTable::list(const Member* before, const Member& after) {
  const bool was_live = before != nullptr && is_live(*before);
  const bool was_candidate = before != nullptr && is_candidate(*before);
  const bool live_now = is_live(after);
  const bool candidate_now = is_candidate(after);
  const std::size_t excluded_before = excluded_;
  excluded_ += (live_now && !candidate_now ? 1U : 0U);
  excluded_ -= (was_live && !was_candidate ? 1U : 0U);
  if (excluded_ == 0) {
    candidates_.clear();
    candidates_.shrink_to_fit();
  } else {
    // While nobody was left out the list of the live was that of the candidates.
    if (excluded_before == 0) candidates_ = live_;
    if (was_candidate != candidate_now) set_listed(candidates_, after.id, candidate_now);
  }
  if (was_live != live_now) set_listed(live_, after.id, live_now);
}

void MemberTable::toggle(const Member& member) {
  std::array<std::byte, 24> message{};
  std::copy(member.id.bytes.begin(), member.id.bytes.end(), message.begin());
  store_le(MutableByteView(message).subspan(16), member.incarnation);
  const std::uint64_t hash = siphash(key_, message);
  buckets_[bucket_of(member.id)] ^= hash;
  hash_ ^= hash;
}

std::vector<NodeId> MemberTable::expire(TimePoint now) {
  std::vector<NodeId> forgotten;
  const std::size_t kept = std::max(limits::tombstones_min, 2 * live_.size());
  const std::size_t beyond = tombstones_.size() > kept ? tombstones_.size() - kept : 0;
  for (const Tombstone& tombstone : tombstones_) {
    const bool is_old = tombstone.since + limits::tombstone_age_max < now;
    if (forgotten.size() >= beyond && !is_old) break;
    const auto it = entries_.find(tombstone.id);
    --counts_[static_cast<std::size_t>(it->second.member.state)];
    entries_.erase(it);
    forgotten.push_back(tombstone.id);
  }
  tombstones_.erase(tombstones_.begin(),
                    tombstones_.begin() + static_cast<std::ptrdiff_t>(forgotten.size()));
  return forgotten;
}

// --- reads ---------------------------------------------------------------------------------------

const Member* MemberTable::find(const NodeId& id) const {
  const auto it = entries_.find(id);
  return it == entries_.end() ? nullptr : &it->second.member;
}

std::vector<Member> MemberTable::members() const {
  std::vector<Member> all;
  all.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) all.push_back(entry.member);
  std::sort(all.begin(), all.end(), [](const Member& a, const Member& b) { return a.id < b.id; });
  return all;
}

const Member* MemberTable::some_faulty(TimePoint since, std::uint64_t draw) const {
  const auto first = std::lower_bound(
      tombstones_.begin(), tombstones_.end(), since,
      [](const Tombstone& tombstone, TimePoint bound) { return tombstone.since < bound; });
  const auto begin = static_cast<std::size_t>(first - tombstones_.begin());
  const std::size_t count = tombstones_.size() - begin;
  // From a random one onwards, the first that did not leave by itself.
  for (std::size_t i = 0; i < count; ++i) {
    const Member* member = find(tombstones_[begin + (draw % count + i) % count].id);
    if (member->state == MemberState::faulty) return member;
  }
  return nullptr;
}

std::size_t MemberTable::bucket_of(const NodeId& id) {
  return std::to_integer<std::size_t>(id.bytes[0]) % member_buckets;
}

std::vector<const Member*> MemberTable::differing(
    const std::array<std::uint64_t, member_buckets>& theirs, std::size_t first_bucket,
    std::size_t records_max) const {
  const auto for_each_id = [&](auto visit) {
    for (const NodeId& id : live_) visit(id);
    for (const Tombstone& tombstone : tombstones_) visit(tombstone.id);
  };
  std::array<std::size_t, member_buckets> sizes{};
  for_each_id([&](const NodeId& id) { ++sizes[bucket_of(id)]; });
  std::array<bool, member_buckets> taken{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < member_buckets; ++i) {
    const std::size_t bucket = (first_bucket + i) % member_buckets;
    if (buckets_[bucket] == theirs[bucket] || count + sizes[bucket] > records_max) continue;
    taken[bucket] = true;
    count += sizes[bucket];
  }
  std::vector<const Member*> records;
  records.reserve(count);
  for_each_id([&](const NodeId& id) {
    if (taken[bucket_of(id)]) records.push_back(find(id));
  });
  return records;
}

void MemberTable::check_invariants() const {
  MemberTable recount(key_, self());
  for (const auto& [id, entry] : entries_) {
    const Member& member = entry.member;
    WAGGLE_ASSERT(id == member.id && member.is_self == (id == self_));
    if (id == self_) continue;
    WAGGLE_ASSERT(member.public_key.node_id() == id);
    recount.put(entry.since, member);
  }
  WAGGLE_ASSERT(self_record_ == find(self_));
  WAGGLE_ASSERT(recount.tombstones_.size() == tombstones_.size());
  for (const Tombstone& tombstone : tombstones_) {
    const auto it = entries_.find(tombstone.id);
    WAGGLE_ASSERT(it != entries_.end() && it->second.since == tombstone.since);
    WAGGLE_ASSERT(!is_live(it->second.member));
  }
  WAGGLE_ASSERT(
      std::is_sorted(tombstones_.begin(), tombstones_.end(),
                     [](const Tombstone& a, const Tombstone& b) { return a.since < b.since; }));
  WAGGLE_ASSERT(entries_.size() <= limits::members_max);
  WAGGLE_ASSERT(recount.live_ == live_);
  WAGGLE_ASSERT(std::ranges::equal(recount.candidates(), candidates()));
  WAGGLE_ASSERT(recount.excluded_ == excluded_ && recount.incompatible_ == incompatible_);
  WAGGLE_ASSERT(recount.versions_ == versions_ && recount.counts_ == counts_);
  WAGGLE_ASSERT(recount.buckets_ == buckets_ && recount.hash_ == hash_);
}

}  // namespace waggle::gossip
