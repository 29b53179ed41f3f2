// The content index: an open-addressing table over entries that never move.
#include "gossip/content_index.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/prng.hpp"

#include <algorithm>
#include <cstring>

namespace waggle::gossip {
namespace {

constexpr std::size_t buckets_min = 64;
constexpr unsigned tag_bits = 11;
/// Of so many nodes the facts are looked for one by one.
constexpr std::size_t few_slots = 8;

bool insert_sorted(std::vector<NodeSlot>& slots, NodeSlot slot) {
  const auto at = std::lower_bound(slots.begin(), slots.end(), slot);
  if (at != slots.end() && *at == slot) return false;
  slots.insert(at, slot);
  return true;
}

bool erase_sorted(std::vector<NodeSlot>& slots, NodeSlot slot) {
  const auto at = std::lower_bound(slots.begin(), slots.end(), slot);
  if (at == slots.end() || *at != slot) return false;
  slots.erase(at);
  return true;
}

bool contains_sorted(const std::vector<NodeSlot>& slots, NodeSlot slot) {
  return std::binary_search(slots.begin(), slots.end(), slot);
}

}  // namespace

ContentIndex::ContentIndex(std::uint64_t seed, std::size_t ids_max)
    : seed_(seed), ids_max_(ids_max), buckets_(buckets_min) {
  static_assert(number_bits + tag_bits == 32);
  // One origin, this node, is never refused.
  WAGGLE_ASSERT(ids_max + limits::ids_per_origin_max < (std::size_t{1} << number_bits));
}

// ---- table ----

std::uint64_t ContentIndex::hash_of(Id64 id) const {
  // Seeded: members choose ids, and must not be able to choose long probe runs.
  return mix_seed(to_value(id) ^ seed_);
}

std::size_t ContentIndex::find_bucket(Id64 id) const {
  const std::uint64_t hash = hash_of(id);
  const std::size_t mask = buckets_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash >> (64 - tag_bits));
  for (std::size_t bucket = hash & mask;; bucket = (bucket + 1) & mask) {
    const std::uint32_t word = buckets_[bucket];
    if (word == 0) return bucket;
    if (word >> number_bits != tag) continue;
    const Number number = (word & ((1U << number_bits) - 1)) - 1;
    holders_.prefetch(number);  // nearly always it is the one, and its holders are asked for next
    if (entries_[number].id == id) return bucket;
  }
}

std::optional<ContentIndex::Number> ContentIndex::find(Id64 id) const {
  const std::uint32_t word = buckets_[find_bucket(id)];
  if (word == 0) return std::nullopt;
  return (word & ((1U << number_bits) - 1)) - 1;
}

ContentIndex::Number ContentIndex::create(Id64 id) {
  if ((entry_count_ + 1) * 8 > buckets_.size() * 7) grow();
  Number number = 0;
  if (free_.empty()) {
    number = static_cast<Number>(entries_.size());
    entries_.push_back();
    holders_.push_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  entries_[number].id = id;
  entries_[number].used = 1;
  place(number);
  ++entry_count_;
  return number;
}

void ContentIndex::place(Number number) {
  const Id64 id = entries_[number].id;
  const auto tag = static_cast<std::uint32_t>(hash_of(id) >> (64 - tag_bits));
  buckets_[find_bucket(id)] = tag << number_bits | (number + 1);
}

void ContentIndex::erase(Number number) {
  const std::size_t mask = buckets_.size() - 1;
  std::size_t hole = find_bucket(entries_[number].id);
  // Close the gap: move back every later one of the run that may live in the hole (Knuth 6.4,
  // algorithm R).
  for (std::size_t next = (hole + 1) & mask; buckets_[next] != 0; next = (next + 1) & mask) {
    const Number of = (buckets_[next] & ((1U << number_bits) - 1)) - 1;
    const std::size_t home = hash_of(entries_[of].id) & mask;
    if (((next - home) & mask) < ((next - hole) & mask)) continue;
    buckets_[hole] = buckets_[next];
    hole = next;
  }
  buckets_[hole] = 0;
  if (!long_digests_.empty()) long_digests_.erase(entries_[number].id);
  entries_[number] = Entry{};
  free_.push_back(number);
  --entry_count_;
}

void ContentIndex::erase_if_empty(Number number) {
  if (holders_.empty(number)) erase(number);
}

void ContentIndex::reserve(std::size_t ids) {
  std::size_t factor = 1;
  while (std::min(ids, ids_max_) * 8 > buckets_.size() * factor * 7) factor *= 2;
  if (factor > 1) grow(factor);
}

void ContentIndex::grow(std::size_t factor) {
  buckets_.assign(buckets_.size() * factor, 0);
  for (Number number = 0; number < entries_.size(); ++number) {
    if (entries_[number].used != 0) place(number);
  }
}

// ---- definitions ----

bool ContentIndex::stands_for(const Entry& entry, const Digest& digest) const {
  if (entry.algorithm != static_cast<std::uint64_t>(digest.algorithm())) return false;
  if (std::memcmp(entry.hash.data(), digest.bytes().data(), entry.hash.size()) != 0) return false;
  return digest.bytes().size() == entry.hash.size() || long_digests_.at(entry.id) == digest;
}

void ContentIndex::set_definition(Entry& entry, const Definition& definition) {
  const ByteView hash = definition.digest.bytes();
  std::copy_n(hash.begin(), entry.hash.size(), entry.hash.begin());
  if (hash.size() > entry.hash.size()) long_digests_.emplace(entry.id, definition.digest);
  entry.algorithm = static_cast<std::uint8_t>(definition.digest.algorithm());
  entry.size = definition.size & ((std::uint64_t{1} << 48U) - 1);
}

bool ContentIndex::define(Id64 id, const Definition& definition) {
  const auto number = find(id);
  if (!number || entries_[*number].algorithm != 0) return false;
  set_definition(entries_[*number], definition);
  return true;
}

std::optional<Definition> ContentIndex::definition(Id64 id) const {
  const auto number = find(id);
  return number ? definition_at(*number) : std::nullopt;
}

std::optional<Definition> ContentIndex::definition_at(Number number) const {
  const Entry& entry = entries_[number];
  if (entry.algorithm == 0) return std::nullopt;
  const auto algorithm = static_cast<DigestAlgorithm>(entry.algorithm);
  const auto digest = algorithm == DigestAlgorithm::sha512 ? long_digests_.at(entry.id)
                                                           : Digest(algorithm, entry.hash);
  return Definition{digest, entry.size};
}

std::optional<Definition> ContentIndex::definition_of(Id64 id, NodeSlot slot) const {
  const auto number = find(id);
  if (number && holders_.contains(*number, slot)) return definition(id);
  for (auto it = collisions_.lower_bound({id, Digest{}});
       it != collisions_.end() && it->first.first == id; ++it) {
    if (contains_sorted(it->second.holders, slot))
      return Definition{it->first.second, it->second.size};
  }
  return std::nullopt;
}

bool ContentIndex::is_plain(Id64 id, const Digest& digest) const {
  const auto number = find(id);
  if (!number || !stands_for(entries_[*number], digest)) return false;
  if (collisions_.empty()) return true;
  const auto other = collisions_.lower_bound({id, Digest{}});
  return other == collisions_.end() || other->first.first != id;
}

bool ContentIndex::is_unresolved(Id64 id) const {
  const auto number = find(id);
  return number && entries_[*number].algorithm == 0;
}

std::optional<std::uint64_t> ContentIndex::size(Id64 id, const Digest& digest) const {
  const auto number = find(id);
  if (number && stands_for(entries_[*number], digest)) return entries_[*number].size;
  const auto found = collisions_.find({id, digest});
  if (found != collisions_.end()) return found->second.size;
  return std::nullopt;
}

// ---- facts ----

ContentIndex::Change ContentIndex::insert(Number number, NodeSlot slot) {
  if (!holders_.insert(number, slot)) return Change::present;
  ++fact_count_;
  return Change::added;
}

ContentIndex::Change ContentIndex::add(Id64 id, NodeSlot slot, const Definition* definition,
                                       bool own) {
  auto number = find(id);
  if (number && definition != nullptr && entries_[*number].algorithm != 0 &&
      !stands_for(entries_[*number], definition->digest)) {
    return add_collision(id, slot, *definition);
  }
  if (definition == nullptr && holds(id, slot)) return Change::present;
  if (!number) {
    if (id_count() >= ids_max_ && !own) return Change::refused;
    number = create(id);
  }
  // A size that this node measured replaces one that it was told.
  Entry& entry = entries_[*number];
  if (definition != nullptr && (entry.algorithm == 0 || own)) set_definition(entry, *definition);
  return insert(*number, slot);
}

ContentIndex::Change ContentIndex::add_collision(Id64 id, NodeSlot slot,
                                                 const Definition& definition) {
  const CollisionKey key{id, definition.digest};
  if (!collisions_.contains(key) && collisions_.size() >= limits::id_collisions_max) {
    return Change::refused;
  }
  remove(id, slot);  // one fact per id and node: it may have stood under the other definition
  Collision& collision = collisions_[key];
  collision.size = definition.size;
  insert_sorted(collision.holders, slot);
  ++fact_count_;
  return Change::added;
}

bool ContentIndex::remove(Id64 id, NodeSlot slot) {
  if (const auto number = find(id); number && holders_.erase(*number, slot)) {
    --fact_count_;
    erase_if_empty(*number);
    return true;
  }
  for (auto it = collisions_.lower_bound({id, Digest{}});
       it != collisions_.end() && it->first.first == id; ++it) {
    if (!erase_sorted(it->second.holders, slot)) continue;
    --fact_count_;
    if (it->second.holders.empty()) collisions_.erase(it);
    return true;
  }
  return false;
}

bool ContentIndex::add_all(Id64 id, std::span<const std::uint64_t> slots,
                           const Definition* definition) {
  auto number = find(id);
  if (number && definition != nullptr && entries_[*number].algorithm != 0 &&
      !stands_for(entries_[*number], definition->digest)) {
    bool taken = true;
    for_each_slot(slots, [&](NodeSlot slot) {
      taken = add_collision(id, slot, *definition) != Change::refused && taken;
    });
    return taken;
  }
  if (!number) {
    if (id_count() >= ids_max_) return false;
    number = create(id);
  }
  Entry& entry = entries_[*number];
  if (definition != nullptr && entry.algorithm == 0) set_definition(entry, *definition);
  fact_count_ += holders_.insert_all(*number, slots);
  return true;
}

void ContentIndex::clear(std::span<const NodeSlot> slots) {
  clear_facts(slots);
  for (auto it = collisions_.begin(); it != collisions_.end();) {
    for (const NodeSlot slot : slots) {
      if (erase_sorted(it->second.holders, slot)) --fact_count_;
    }
    it = it->second.holders.empty() ? collisions_.erase(it) : std::next(it);
  }
}

void ContentIndex::clear_facts(std::span<const NodeSlot> slots) {
  // Looking for one node in a set costs a tenth of taking the set apart.
  if (slots.size() > few_slots) {
    SlotWords gone;
    set_slots(gone, slots);
    for (Number number = 0; number < entries_.size(); ++number) {
      const std::size_t erased = holders_.erase_all(number, gone);
      fact_count_ -= erased;
      if (erased > 0) erase_if_empty(number);
    }
    return;
  }
  std::vector<std::pair<Number, NodeSlot>> facts;  // erasing moves sets: first find, then erase
  holders_.for_each_with(
      slots, [&](Number number, std::size_t i) { facts.emplace_back(number, slots[i]); });
  for (const auto& [number, slot] : facts) {
    if (!holders_.erase(number, slot)) continue;  // a slot may be named twice
    --fact_count_;
    erase_if_empty(number);
  }
}

// ---- ranges of ids ----

ContentIndex::Range ContentIndex::range_of(Id64 from, Id64 last) const {
  Range range;
  for (Number number = 0; number < entries_.size(); ++number) {
    const Entry& entry = entries_[number];
    if (entry.used != 0 && entry.id >= from && entry.id <= last) {
      range.found.emplace_back(entry.id, number);
    }
  }
  // Members choose ids: a range may be as crowded as the whole index.
  if (range.found.size() > ids_per_range_max) {
    const auto end = range.found.begin() + ids_per_range_max;
    std::nth_element(range.found.begin(), end, range.found.end());
    range.more = end->first;
    range.found.erase(end, range.found.end());
  }
  std::sort(range.found.begin(), range.found.end());
  return range;
}

bool ContentIndex::holds(Id64 id, NodeSlot slot) const {
  const auto number = find(id);
  if (number && holders_.contains(*number, slot)) return true;
  if (collisions_.empty()) return false;
  for (auto it = collisions_.lower_bound({id, Digest{}});
       it != collisions_.end() && it->first.first == id; ++it) {
    if (contains_sorted(it->second.holders, slot)) return true;
  }
  return false;
}

bool ContentIndex::holds(Id64 id, const Digest& digest, NodeSlot slot) const {
  const auto number = find(id);
  if (number && stands_for(entries_[*number], digest)) return holders_.contains(*number, slot);
  if (collisions_.empty()) return false;
  const auto found = collisions_.find({id, digest});
  return found != collisions_.end() && contains_sorted(found->second.holders, slot);
}

std::optional<ContentIndex::Holders> ContentIndex::find_holders(Id64 id,
                                                                const Digest& digest) const {
  Holders out;
  if (const auto number = find(id)) {
    holders_.prefetch_block(*number);
    const Entry& entry = entries_[*number];
    if (entry.algorithm == 0 || stands_for(entry, digest)) {
      out.store_ = &holders_;
      out.set_ = *number;
      return out;
    }
  }
  if (collisions_.empty()) return std::nullopt;
  const auto found = collisions_.find({id, digest});
  if (found == collisions_.end()) return std::nullopt;
  out.collided_ = &found->second.holders;
  return out;
}

std::size_t ContentIndex::Holders::count() const {
  return collided_ != nullptr ? collided_->size() : store_->count(set_);
}

std::size_t ContentIndex::Holders::list(std::span<const std::uint64_t> mask,
                                        std::span<NodeSlot> out) const {
  WAGGLE_ASSERT(out.size() > count());
  if (collided_ == nullptr) return store_->list(set_, mask, out);
  std::size_t count = 0;
  for (const NodeSlot slot : *collided_) {
    if (has_slot(mask, slot)) out[count++] = slot;
  }
  return count;
}

std::span<std::uint64_t> ContentIndex::Holders::expand(std::span<const std::uint64_t> mask,
                                                       SlotWords& words) const {
  WAGGLE_ASSERT(mask.size() <= words.size());
  const auto out = std::span(words).first(mask.size());
  if (collided_ == nullptr) {
    store_->expand(set_, out);
  } else {
    set_slots(out, *collided_);
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] &= mask[i];
  return out;
}

std::vector<Id64> ContentIndex::ids_of(NodeSlot slot) const {
  return std::move(ids_of(std::span(&slot, 1)).front());
}

std::vector<std::vector<Id64>> ContentIndex::ids_of(std::span<const NodeSlot> slots) const {
  std::vector<std::vector<Id64>> ids(slots.size());
  holders_.for_each_with(
      slots, [&](Number number, std::size_t i) { ids[i].push_back(entries_[number].id); });
  for (const auto& [key, collision] : collisions_) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (contains_sorted(collision.holders, slots[i])) ids[i].push_back(key.first);
    }
  }
  for (auto& of_one : ids) std::sort(of_one.begin(), of_one.end());
  return ids;
}

// ---- bounds ----

std::size_t ContentIndex::memory_bytes() const {
  std::size_t bytes = entries_.memory_bytes() + holders_.memory_bytes() +
                      free_.capacity() * sizeof(Number) +
                      buckets_.capacity() * sizeof(std::uint32_t) +
                      long_digests_.size() * sizeof(std::pair<Id64, Digest>) +
                      collisions_.size() * sizeof(std::pair<CollisionKey, Collision>);
  for (const auto& [key, collision] : collisions_) {
    bytes += collision.holders.capacity() * sizeof(NodeSlot);
  }
  return bytes;
}

void ContentIndex::check_invariants() const {
  holders_.check_invariants();
  WAGGLE_ASSERT(holders_.size() == entries_.size());
  std::size_t facts = 0;
  std::size_t used = 0;
  std::size_t long_digests = 0;
  for (Number number = 0; number < entries_.size(); ++number) {
    const Entry& entry = entries_[number];
    WAGGLE_ASSERT(holders_.empty(number) == (entry.used == 0));
    if (entry.used == 0) continue;
    ++used;
    facts += holders_.count(number);
    WAGGLE_ASSERT(find(entry.id) == number);
    long_digests += static_cast<std::size_t>(entry.algorithm ==
                                             static_cast<std::uint64_t>(DigestAlgorithm::sha512));
  }
  for (const auto& [key, collision] : collisions_) {
    facts += collision.holders.size();
    WAGGLE_ASSERT(!collision.holders.empty());
  }
  WAGGLE_ASSERT(used == entry_count_);
  WAGGLE_ASSERT(used + free_.size() == entries_.size());
  WAGGLE_ASSERT(facts == fact_count_);
  WAGGLE_ASSERT(long_digests == long_digests_.size());
  WAGGLE_ASSERT(collisions_.size() <= limits::id_collisions_max);
}

}  // namespace waggle::gossip
