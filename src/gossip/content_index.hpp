// The content index: id64 -> what it is and which nodes hold it. Every lookup of the node ends
// here.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/chunked.hpp"
#include "gossip/holder_store.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace waggle::gossip {

/// Facts (id, node slot) and definitions (id -> digest, size). A fact may come before its
/// definition: then any digest with that id finds its holders, only the size is missing. An id with
/// two definitions (somebody ground a SipHash collision) keeps holders per digest; facts without a
/// definition go to the first one. Cost: lookup and change O(1) plus the holder set's; 63 bytes per
/// id, and beyond 4 holders about a byte for each, at most a bit per node slot.
class ContentIndex {
 public:
  enum class Change { added, present, refused };

  /// @param ids_max  distinct ids; beyond, add() refuses unless `own`
  ContentIndex(std::uint64_t seed, std::size_t ids_max);

  /// Adds a fact. @param definition  null when the announcer gave none  @param own  never refused
  Change add(Id64 id, NodeSlot slot, const Definition* definition, bool own);
  /// Adds facts of many nodes at once (bit i of word i/64: slot i): as add() for each of them, with
  /// one search of the id. False when they were refused.
  /// @pre at least one bit is set, and none of the nodes holds anything under the id yet
  [[nodiscard]] bool add_all(Id64 id, std::span<const std::uint64_t> slots,
                             const Definition* definition);
  /// Makes room for so many ids at once instead of by doubling: growing looks up every id again.
  void reserve(std::size_t ids);
  /// False when there was no such fact. The id goes with its last holder.
  bool remove(Id64 id, NodeSlot slot);
  /// Fills in what a known id stands for; true when that was missing.
  bool define(Id64 id, const Definition& definition);
  /// Removes every fact of some nodes in one pass; cost O(ids).
  void clear(std::span<const NodeSlot> slots);
  void clear(NodeSlot slot) { clear(std::span(&slot, 1)); }

  [[nodiscard]] bool holds(Id64 id, NodeSlot slot) const;
  /// As holds(), for the fact about exactly this digest.
  [[nodiscard]] bool holds(Id64 id, const Digest& digest, NodeSlot slot) const;
  /// The definition that a bare HAVE of `id` stands for.
  [[nodiscard]] std::optional<Definition> definition(Id64 id) const;
  /// What `slot` holds under `id`; nullopt when that is nothing or not known.
  [[nodiscard]] std::optional<Definition> definition_of(Id64 id, NodeSlot slot) const;
  /// True when a bare HAVE of `id` would be taken for `digest` by whoever knows what this node
  /// knows.
  [[nodiscard]] bool is_plain(Id64 id, const Digest& digest) const;
  /// True when facts about `id` are known but not what it stands for.
  [[nodiscard]] bool is_unresolved(Id64 id) const;
  [[nodiscard]] std::optional<std::uint64_t> size(Id64 id, const Digest& digest) const;
  /// All ids that one node holds, ascending; cost O(ids).
  [[nodiscard]] std::vector<Id64> ids_of(NodeSlot slot) const;
  /// The same for several nodes in one pass.
  [[nodiscard]] std::vector<std::vector<Id64>> ids_of(std::span<const NodeSlot> slots) const;

  /// The holders of one digest where they lie in the index, until it changes. Masks have bit i of
  /// word i/64 for slot i. Nothing here allocates.
  class Holders {
   public:
    /// How many, whatever the mask.
    [[nodiscard]] std::size_t count() const;
    /// Writes those in `mask`, ascending; how many. @pre out.size() > count()
    std::size_t list(std::span<const std::uint64_t> mask, std::span<NodeSlot> out) const;
    /// Those in `mask` as bits in `words`: as many words as the mask has.
    /// @pre mask.size() <= words.size()
    [[nodiscard]] std::span<std::uint64_t> expand(std::span<const std::uint64_t> mask,
                                                  SlotWords& words) const;

   private:
    friend class ContentIndex;
    const HolderStore* store_ = nullptr;
    std::uint32_t set_ = 0;
    const std::vector<NodeSlot>* collided_ = nullptr;  // instead, ascending
  };
  /// Nullopt when nobody is known. What this costs is waiting for memory: 3 lines, one after the
  /// other.
  [[nodiscard]] std::optional<Holders> find_holders(Id64 id, const Digest& digest) const;
  /// Calls visit(slot) for the holders of `digest` in `mask`, ascending. Allocates nothing.
  template <typename Visit>
  void for_each_holder(Id64 id, const Digest& digest, std::span<const std::uint64_t> mask,
                       Visit visit) const {
    SlotWords words;  // as far as the mask goes
    if (const auto found = find_holders(id, digest)) {
      for_each_slot(found->expand(mask, words), visit);
    }
  }

  /// Something held: an id with all its holders, as bits.
  struct Held {
    Id64 id{};
    std::optional<Definition> definition;
    std::span<const std::uint64_t> holders;  ///< as many words as asked for
  };
  /// Calls visit(Held) for what is known of the ids in [from, last], ascending, until it says
  /// false; an id with several definitions comes several times in a row. Holders are given as far
  /// as `word_count` words go. Returns the first id that was not visited to its end. Cost O(all
  /// ids) to find them, 2 to 3 ms at 200,000.
  template <typename Visit>
  [[nodiscard]] std::optional<Id64> for_each_held(Id64 from, Id64 last, std::size_t word_count,
                                                  Visit visit) const {
    Range range = range_of(from, last);
    SlotWords words;
    const auto holders = std::span(words).first(word_count);
    auto collision = collisions_.lower_bound({from, Digest{}});
    const auto collisions_below = [&](Id64 end, bool inclusive) -> std::optional<Id64> {
      for (; collision != collisions_.end(); ++collision) {
        const Id64 id = collision->first.first;
        if (inclusive ? id > end : id >= end) break;
        set_slots(holders, collision->second.holders);
        const Definition definition{collision->first.second, collision->second.size};
        if (!visit(Held{id, definition, holders})) return id;
      }
      return std::nullopt;
    };
    for (const auto& [id, number] : range.found) {
      if (const auto stopped = collisions_below(id, false)) return stopped;
      holders_.expand(number, holders);
      if (!visit(Held{id, definition_at(number), holders})) return id;
    }
    if (range.more) {
      const auto stopped = collisions_below(*range.more, false);
      return stopped ? stopped : range.more;
    }
    return collisions_below(last, true);
  }

  [[nodiscard]] std::size_t id_count() const { return entry_count_ + collisions_.size(); }
  [[nodiscard]] std::size_t fact_count() const { return fact_count_; }
  /// Heap bytes of the whole index.
  [[nodiscard]] std::size_t memory_bytes() const;
  void check_invariants() const;

 private:
  static constexpr unsigned number_bits = 21;
  struct Entry {
    Id64 id{};
    std::uint64_t size : 48 = 0;
    std::uint64_t algorithm : 8 = 0;  // 0: not defined yet
    std::uint64_t used : 8 = 0;
    std::array<std::byte, 32>
        hash{};  // of a longer digest the first 32 bytes; the rest is in long_digests_
  };
  static_assert(sizeof(Entry) == 48);
  struct Collision {
    std::uint64_t size = 0;
    std::vector<NodeSlot> holders;  // ascending
  };
  using CollisionKey = std::pair<Id64, Digest>;
  using Number = std::uint32_t;  // of an entry and its holder set
  /// The entries of a range of ids, ascending; of a crowded one the first ids_per_range_max.
  struct Range {
    std::vector<std::pair<Id64, Number>> found;
    std::optional<Id64> more;  // the next one
  };
  static constexpr std::size_t ids_per_range_max = 32'768;

  [[nodiscard]] std::uint64_t hash_of(Id64 id) const;
  [[nodiscard]] std::size_t find_bucket(Id64 id) const;
  [[nodiscard]] std::optional<Number> find(Id64 id) const;
  [[nodiscard]] bool stands_for(const Entry& entry, const Digest& digest) const;
  void set_definition(Entry& entry, const Definition& definition);
  Number create(Id64 id);
  void place(Number number);  // enters it in the table
  void erase(Number number);
  void erase_if_empty(Number number);
  void grow(std::size_t factor = 2);
  Change insert(Number number, NodeSlot slot);
  Change add_collision(Id64 id, NodeSlot slot, const Definition& definition);
  [[nodiscard]] Range range_of(Id64 from, Id64 last) const;
  [[nodiscard]] std::optional<Definition> definition_at(Number number) const;
  void clear_facts(std::span<const NodeSlot> slots);

  std::uint64_t seed_;
  std::size_t ids_max_;
  Chunked<Entry, 128> entries_;  // freed ones are reused, last freed first
  HolderStore holders_;          // by the number of the entry
  std::vector<Number> free_;
  /// Linear probing: number + 1 in the low bits, 0 = empty; above them bits of the hash, so that
  /// few probes of other ids read an entry.
  std::vector<std::uint32_t> buckets_;
  std::map<Id64, Digest> long_digests_;
  std::map<CollisionKey, Collision> collisions_;  // second and further definitions of an id
  std::size_t entry_count_ = 0;
  std::size_t fact_count_ = 0;
};

}  // namespace waggle::gossip
