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

}  // namespace

ContentIndex::ContentIndex(std::uint64_t seed, std::size_t ids_max)
    : seed_(seed), ids_max_(ids_max), buckets_(buckets_min) {}

// ---- table ----

std::size_t ContentIndex::bucket_of(Id64 id) const {
  // Seeded: members choose ids, and must not be able to choose long probe runs.
  return mix_seed(to_value(id) ^ seed_) & (buckets_.size() - 1);
}

std::size_t ContentIndex::find_bucket(Id64 id) const {
  std::size_t bucket = bucket_of(id);
  while (buckets_[bucket] != 0 && entries_[buckets_[bucket] - 1].id != id) {
    bucket = (bucket + 1) & (buckets_.size() - 1);
  }
  return bucket;
}

const ContentIndex::Entry* ContentIndex::find(Id64 id) const {
  const std::uint32_t number = buckets_[find_bucket(id)];
  return number == 0 ? nullptr : &entries_[number - 1];
}

ContentIndex::Entry& ContentIndex::create(Id64 id) {
  if ((entry_count_ + 1) * 10 > buckets_.size() * 7) grow();
  std::uint32_t number = 0;
  if (free_.empty()) {
    entries_.emplace_back();
    number = static_cast<std::uint32_t>(entries_.size());
  } else {
    number = free_.back();
    free_.pop_back();
  }
  Entry& entry = entries_[number - 1];
  entry.id = id;
  entry.used = 1;
  buckets_[find_bucket(id)] = number;
  ++entry_count_;
  return entry;
}

void ContentIndex::erase(Entry& entry) {
  const std::size_t mask = buckets_.size() - 1;
  std::size_t hole = find_bucket(entry.id);
  const std::uint32_t number = buckets_[hole];
  // Close the gap: move back every later one of the run that may live in the hole (Knuth 6.4,
  // algorithm R).
  for (std::size_t next = (hole + 1) & mask; buckets_[next] != 0; next = (next + 1) & mask) {
    const std::size_t home = bucket_of(entries_[buckets_[next] - 1].id);
    if (((next - home) & mask) < ((next - hole) & mask)) continue;
    buckets_[hole] = buckets_[next];
    hole = next;
  }
  buckets_[hole] = 0;
  if (!long_digests_.empty()) long_digests_.erase(entry.id);
  entry = Entry{};
  free_.push_back(number);
  --entry_count_;
}

void ContentIndex::grow() {
  buckets_.assign(buckets_.size() * 2, 0);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].used != 0) {
      buckets_[find_bucket(entries_[i].id)] = static_cast<std::uint32_t>(i + 1);
    }
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
  Entry* const entry = find(id);
  if (entry == nullptr || entry->algorithm != 0) return false;
  set_definition(*entry, definition);
  return true;
}

std::optional<Definition> ContentIndex::definition(Id64 id) const {
  const Entry* const entry = find(id);
  if (entry == nullptr || entry->algorithm == 0) return std::nullopt;
  const auto algorithm = static_cast<DigestAlgorithm>(entry->algorithm);
  const auto digest =
      algorithm == DigestAlgorithm::sha512 ? long_digests_.at(id) : Digest(algorithm, entry->hash);
  return Definition{digest, entry->size};
}

std::optional<Definition> ContentIndex::definition_of(Id64 id, NodeSlot slot) const {
  const Entry* const entry = find(id);
  if (entry != nullptr && entry->holders.contains(slot)) return definition(id);
  for (auto it = collisions_.lower_bound({id, Digest{}});
       it != collisions_.end() && it->first.first == id; ++it) {
    if (it->second.holders.contains(slot)) return Definition{it->first.second, it->second.size};
  }
  return std::nullopt;
}

bool ContentIndex::is_plain(Id64 id, const Digest& digest) const {
  const Entry* const entry = find(id);
  if (entry == nullptr || entry->algorithm == 0 || !stands_for(*entry, digest)) return false;
  if (collisions_.empty()) return true;
  const auto other = collisions_.lower_bound({id, Digest{}});
  return other == collisions_.end() || other->first.first != id;
}

bool ContentIndex::is_unresolved(Id64 id) const {
  const Entry* const entry = find(id);
  return entry != nullptr && entry->algorithm == 0;
}

std::optional<std::uint64_t> ContentIndex::size(Id64 id, const Digest& digest) const {
  const Entry* const entry = find(id);
  if (entry != nullptr && stands_for(*entry, digest)) return entry->size;
  const auto found = collisions_.find({id, digest});
  if (found != collisions_.end()) return found->second.size;
  return std::nullopt;
}

// ---- facts ----

ContentIndex::Change ContentIndex::insert(HolderSet& holders, NodeSlot slot) {
  if (!holders.insert(slot)) return Change::present;
  ++fact_count_;
  return Change::added;
}

ContentIndex::Change ContentIndex::add(Id64 id, NodeSlot slot, const Definition* definition,
                                       bool own) {
  Entry* entry = find(id);
  if (entry != nullptr && definition != nullptr && entry->algorithm != 0 &&
      !stands_for(*entry, definition->digest)) {
    return add_collision(id, slot, *definition);
  }
  if (definition == nullptr && holds(id, slot)) return Change::present;
  if (entry == nullptr) {
    if (id_count() >= ids_max_ && !own) return Change::refused;
    entry = &create(id);
  }
  // A size that this node measured replaces one that it was told.
  if (definition != nullptr && (entry->algorithm == 0 || own)) set_definition(*entry, *definition);
  return insert(entry->holders, slot);
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
  return insert(collision.holders, slot);
}

bool ContentIndex::remove(Id64 id, NodeSlot slot) {
  if (Entry* const entry = find(id); entry != nullptr && entry->holders.erase(slot)) {
    --fact_count_;
    if (entry->holders.empty()) erase(*entry);
    return true;
  }
  for (auto it = collisions_.lower_bound({id, Digest{}});
       it != collisions_.end() && it->first.first == id; ++it) {
    if (!it->second.holders.erase(slot)) continue;
    --fact_count_;
    if (it->second.holders.empty()) collisions_.erase(it);
    return true;
  }
  return false;
}

void ContentIndex::clear(NodeSlot slot) {
  for (auto& entry : entries_) {
    if (entry.used == 0 || !entry.holders.erase(slot)) continue;
    --fact_count_;
    if (entry.holders.empty()) erase(entry);
  }
  for (auto it = collisions_.begin(); it != collisions_.end();) {
    if (it->second.holders.erase(slot)) --fact_count_;
    it = it->second.holders.empty() ? collisions_.erase(it) : std::next(it);
  }
}

bool ContentIndex::holds(Id64 id, NodeSlot slot) const {
  const Entry* const entry = find(id);
  if (entry != nullptr && entry->holders.contains(slot)) return true;
  for (auto it = collisions_.lower_bound({id, Digest{}});
       it != collisions_.end() && it->first.first == id; ++it) {
    if (it->second.holders.contains(slot)) return true;
  }
  return false;
}

bool ContentIndex::holds(Id64 id, const Digest& digest, NodeSlot slot) const {
  const Entry* const entry = find(id);
  if (entry != nullptr && entry->algorithm != 0 && stands_for(*entry, digest)) {
    return entry->holders.contains(slot);
  }
  const auto found = collisions_.find({id, digest});
  return found != collisions_.end() && found->second.holders.contains(slot);
}

std::vector<Id64> ContentIndex::ids_of(NodeSlot slot) const {
  return std::move(ids_of(std::span(&slot, 1)).front());
}

std::vector<std::vector<Id64>> ContentIndex::ids_of(std::span<const NodeSlot> slots) const {
  std::vector<std::vector<Id64>> ids(slots.size());
  const auto collect = [&](Id64 id, const HolderSet& holders) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (holders.contains(slots[i])) ids[i].push_back(id);
    }
  };
  for (const auto& entry : entries_) {
    if (entry.used != 0) collect(entry.id, entry.holders);
  }
  for (const auto& [key, collision] : collisions_) collect(key.first, collision.holders);
  for (auto& of_one : ids) std::sort(of_one.begin(), of_one.end());
  return ids;
}

// ---- bounds ----

std::size_t ContentIndex::memory_bytes() const {
  std::size_t bytes = entries_.size() * sizeof(Entry) + free_.capacity() * sizeof(std::uint32_t) +
                      buckets_.capacity() * sizeof(std::uint32_t) +
                      long_digests_.size() * sizeof(std::pair<Id64, Digest>) +
                      collisions_.size() * sizeof(std::pair<CollisionKey, Collision>);
  for (const auto& entry : entries_) bytes += entry.holders.heap_bytes();
  for (const auto& [key, collision] : collisions_) bytes += collision.holders.heap_bytes();
  return bytes;
}

void ContentIndex::check_invariants() const {
  std::size_t facts = 0;
  std::size_t used = 0;
  std::size_t long_digests = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.used == 0) continue;
    ++used;
    facts += entry.holders.size();
    WAGGLE_ASSERT(!entry.holders.empty());
    WAGGLE_ASSERT(find(entry.id) == &entry);
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
