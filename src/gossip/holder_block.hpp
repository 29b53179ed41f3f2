// How a set of node slots lies in bytes: runs of 256 slots, each a short list or a bitmap. Part of
// the content index; who owns the bytes is holder_store.
#pragma once

#include "gossip/node_slots.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace waggle::gossip {

/// The bytes: number of runs - 1; then one length per run (0..32); then the runs one after the
/// other. A run of up to 31 slots lists their low bytes, ascending; one of 32 bytes is a bitmap.
/// So a set costs a byte per holder and run while sparse, and never more than a bit per slot number
/// and a byte per run. Cost of all functions: O(runs) to find the run, then O(31).
/// @source Lemire, Ssi-Yan-Kai and Kaser 2016, "Consistently faster and smaller compressed bitmaps
/// with Roaring"; their containers at 256 instead of 65,536
namespace holder_block {

inline constexpr std::size_t run_slots = 256;
inline constexpr std::size_t bitmap_bytes = run_slots / 8;
inline constexpr std::size_t runs_max = 65'536 / run_slots;
inline constexpr std::size_t bytes_max = 1 + runs_max * (1 + bitmap_bytes);

/// Writes the set of `slots` (ascending, distinct); returns its bytes.
/// @pre bytes has room: bytes_for(slots)
std::size_t write(std::span<std::byte> bytes, std::span<const NodeSlot> slots);
/// What write() of 1..31 slots needs.
[[nodiscard]] std::size_t bytes_for(std::span<const NodeSlot> slots);

[[nodiscard]] bool contains(std::span<const std::byte> set, NodeSlot slot);
/// How many more bytes the set takes with `slot`. @pre !contains(set, slot)
[[nodiscard]] std::size_t growth(std::span<const std::byte> set, NodeSlot slot);
/// Adds a slot; returns the bytes that the set takes now.
/// @param bytes  the set and growth() bytes of room behind it  @pre !contains(set, slot)
std::size_t insert(std::span<std::byte> bytes, std::size_t used, NodeSlot slot);
/// Takes a slot out; returns the bytes that the set takes now. @pre contains(set, slot)
std::size_t erase(std::span<std::byte> set, NodeSlot slot);
/// Sets bit i of word i/64 for every slot i; slots beyond `words` are left out.
/// @pre all words are 0
void expand(std::span<const std::byte> set, std::span<std::uint64_t> words);
/// Writes the slots whose bit in `mask` (bit i of word i/64: slot i) is set, ascending; how many.
/// Cost about a nanosecond per slot of the set.
/// @pre out has room for all of the set and one more
std::size_t list(std::span<const std::byte> set, std::span<const std::uint64_t> mask,
                 std::span<NodeSlot> out);

/// The same for a set given as bits (bit i of word i/64: slot i).
/// @pre at least one bit is set; bytes has room: bytes_for_words(words)
std::size_t write_words(std::span<std::byte> bytes, std::span<const std::uint64_t> words);
[[nodiscard]] std::size_t bytes_for_words(std::span<const std::uint64_t> words);
/// Words that hold every slot of the set.
[[nodiscard]] std::size_t word_count(std::span<const std::byte> set);

}  // namespace holder_block
}  // namespace waggle::gossip
