// Which nodes hold each id, as small as it gets: sets of node slots, numbered like the entries of
// the content index. Part of the content index.
#pragma once

#include "gossip/block_pool.hpp"
#include "gossip/chunked.hpp"
#include "gossip/holder_block.hpp"
#include "gossip/node_slots.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Up to 4 slots inside the set's 10 bytes, more in a block (gossip/holder_block.hpp) of the pool.
/// Cost: contains, insert and erase O(runs of 256 slots); expand O(holders in lists + runs).
class HolderStore {
 public:
  /// The sets known; a new one is empty and has the number size() - 1.
  void push_back() { sets_.push_back(); }
  [[nodiscard]] std::size_t size() const { return sets_.size(); }

  /// False when it was there already.
  bool insert(std::uint32_t set, NodeSlot slot);
  /// False when it was not there.
  bool erase(std::uint32_t set, NodeSlot slot);
  /// Adds all slots of `words` (bit i of word i/64: slot i); how many were not there. Cost
  /// O(words).
  std::size_t insert_all(std::uint32_t set, std::span<const std::uint64_t> words);
  /// Takes out all slots of `words`; how many were there. Cost O(words of the set).
  std::size_t erase_all(std::uint32_t set, std::span<const std::uint64_t> words);
  [[nodiscard]] bool contains(std::uint32_t set, NodeSlot slot) const;
  [[nodiscard]] std::size_t count(std::uint32_t set) const;
  [[nodiscard]] bool empty(std::uint32_t set) const { return count(set) == 0; }
  /// Writes bit i of word i/64 for every slot i of the set, 0 for all others; slots beyond `words`
  /// are left out.
  void expand(std::uint32_t set, std::span<std::uint64_t> words) const;
  /// Writes the slots of the set whose bit in `mask` is set, ascending; how many.
  /// @pre out has room for count(set) and one more
  std::size_t list(std::uint32_t set, std::span<const std::uint64_t> mask,
                   std::span<NodeSlot> out) const;
  /// Asks for the set's record, and then for its block: each is a miss of the cache that the caller
  /// can spend on something else.
  void prefetch(std::uint32_t set) const { __builtin_prefetch(&sets_[set]); }
  void prefetch_block(std::uint32_t set) const;

  /// Calls visit(set, i) for every set that contains slots[i], in no order that means something but
  /// always the same. Reads all sets in the order of memory: a pass costs O(sets), about 10 ns
  /// each.
  template <typename Visit>
  void for_each_with(std::span<const NodeSlot> slots, Visit visit) const {
    for (std::uint32_t set = 0; set < sets_.size(); ++set) {
      if (sets_[set].form > inline_max) continue;
      for (const NodeSlot slot : inline_slots(sets_[set])) {
        for (std::size_t i = 0; i < slots.size(); ++i) {
          if (slots[i] == slot) visit(set, i);
        }
      }
    }
    for (std::size_t of = 0; of < BlockPool::size_classes; ++of) {
      const auto size_class = static_cast<std::uint8_t>(of);
      for (std::uint32_t index = 0; index < pool_.count(size_class); ++index) {
        const auto bytes = set_bytes({size_class, index});
        for (std::size_t i = 0; i < slots.size(); ++i) {
          if (holder_block::contains(bytes, slots[i])) visit(pool_.owner({size_class, index}), i);
        }
      }
    }
  }

  [[nodiscard]] std::size_t memory_bytes() const {
    return sets_.memory_bytes() + pool_.memory_bytes();
  }
  void check_invariants() const;

 private:
  static constexpr std::size_t inline_max = 4;
  static constexpr std::size_t used_bytes = 2;  ///< of a block: how much of it is the set
  static constexpr std::uint8_t first_block_form = inline_max + 1;

  struct Set {
    /// Inline: the slots, ascending. Else: index of the block, then number of holders, 4 bytes
    /// each.
    std::array<NodeSlot, inline_max> slots{};
    std::uint8_t form = 0;  ///< up to inline_max: number of slots; else size class + inline_max + 1
  };
  static_assert(sizeof(Set) == 10);

  [[nodiscard]] static std::span<const NodeSlot> inline_slots(const Set& set) {
    return std::span(set.slots).first(set.form);
  }
  [[nodiscard]] static bool is_inline(const Set& set) { return set.form <= inline_max; }
  [[nodiscard]] static BlockPool::Place place_of(const Set& set) {
    std::uint32_t index = 0;
    std::memcpy(&index, set.slots.data(), sizeof(index));
    return {static_cast<std::uint8_t>(set.form - first_block_form), index};
  }
  [[nodiscard]] static std::uint32_t block_count(const Set& set);
  static void set_place(Set& set, BlockPool::Place place);
  static void set_block_count(Set& set, std::uint32_t count);
  [[nodiscard]] std::span<const std::byte> set_bytes(BlockPool::Place place) const {
    const auto block = pool_.bytes(place);
    std::uint16_t used = 0;
    std::memcpy(&used, block.data(), sizeof(used));
    return block.subspan(used_bytes, used);
  }
  [[nodiscard]] std::span<std::byte> room(BlockPool::Place place);
  void set_used(BlockPool::Place place, std::size_t used);
  void insert_inline(std::uint32_t number, NodeSlot slot);
  /// Moves the set to a block with room for `bytes`.
  void move_to_class(std::uint32_t number, std::uint8_t size_class);
  void become_inline(std::uint32_t number);
  /// The set is what `words` say.
  void assign(std::uint32_t number, std::span<const std::uint64_t> words);
  /// Words that hold every slot of the set.
  [[nodiscard]] std::size_t word_count(std::uint32_t number) const;
  void release(BlockPool::Place place);

  Chunked<Set, 512> sets_;
  BlockPool pool_;
};

}  // namespace waggle::gossip
