// Sets of small numbers, one bit each: bit i of word i / 64 is number i. Node slots, and the rows
// of a snapshot's table.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace waggle::gossip {

/// A node as this process numbers it (gossip/node_slots.hpp).
using NodeSlot = std::uint16_t;
inline constexpr std::size_t slots_max = 65'536;

/// Words for `count` numbers.
[[nodiscard]] constexpr std::size_t words_for(std::size_t count) { return (count + 63) / 64; }

/// One bit per node slot, on the stack of a lookup.
using SlotWords = std::array<std::uint64_t, words_for(slots_max)>;

[[nodiscard]] constexpr std::uint64_t slot_bit(std::size_t slot) {
  return std::uint64_t{1} << (slot % 64);
}

/// False beyond the words.
[[nodiscard]] inline bool has_slot(std::span<const std::uint64_t> words, std::size_t slot) {
  return slot / 64 < words.size() && (words[slot / 64] & slot_bit(slot)) != 0;
}

/// Nothing beyond the words.
inline void set_slot(std::span<std::uint64_t> words, std::size_t slot) {
  if (slot / 64 < words.size()) words[slot / 64] |= slot_bit(slot);
}

/// These slots and no others.
inline void set_slots(std::span<std::uint64_t> words, std::span<const NodeSlot> slots) {
  std::fill(words.begin(), words.end(), 0);
  for (const NodeSlot slot : slots) set_slot(words, slot);
}

[[nodiscard]] inline std::size_t count_slots(std::span<const std::uint64_t> words) {
  std::size_t count = 0;
  for (const std::uint64_t word : words) count += static_cast<std::size_t>(std::popcount(word));
  return count;
}

/// Calls visit(slot) for every bit, ascending.
template <typename Visit>
void for_each_slot(std::span<const std::uint64_t> words, Visit visit) {
  for (std::size_t word = 0; word < words.size(); ++word) {
    for (std::uint64_t bits = words[word]; bits != 0; bits &= bits - 1) {
      visit(static_cast<NodeSlot>(word * 64 + static_cast<unsigned>(std::countr_zero(bits))));
    }
  }
}

}  // namespace waggle::gossip
