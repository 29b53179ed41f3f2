// Inline sets, sets in blocks and the ways between them.
#include "gossip/holder_store.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

namespace waggle::gossip {

// ---- where a set lies ----

std::uint32_t HolderStore::block_count(const Set& set) {
  std::uint32_t count = 0;
  std::memcpy(&count, set.slots.data() + 2, sizeof(count));
  return count;
}

void HolderStore::set_place(Set& set, BlockPool::Place place) {
  std::memcpy(set.slots.data(), &place.index, sizeof(place.index));
  set.form = static_cast<std::uint8_t>(place.size_class + first_block_form);
}

void HolderStore::set_block_count(Set& set, std::uint32_t count) {
  std::memcpy(set.slots.data() + 2, &count, sizeof(count));
}

std::span<std::byte> HolderStore::room(BlockPool::Place place) {
  return pool_.bytes(place).subspan(used_bytes);
}

void HolderStore::set_used(BlockPool::Place place, std::size_t used) {
  const auto narrow = static_cast<std::uint16_t>(used);
  std::memcpy(pool_.bytes(place).data(), &narrow, sizeof(narrow));
}

void HolderStore::release(BlockPool::Place place) {
  if (const auto moved = pool_.release(place)) set_place(sets_[moved->owner], moved->to);
}

void HolderStore::move_to_class(std::uint32_t number, std::uint8_t size_class) {
  Set& set = sets_[number];
  const BlockPool::Place from = place_of(set);
  const BlockPool::Place to = pool_.allocate(size_class, number);
  const auto bytes = set_bytes(from);
  std::copy(bytes.begin(), bytes.end(), room(to).begin());
  set_used(to, bytes.size());
  set_place(set, to);
  release(from);
}

// ---- facts ----

bool HolderStore::contains(std::uint32_t number, NodeSlot slot) const {
  const Set& set = sets_[number];
  if (!is_inline(set)) return holder_block::contains(set_bytes(place_of(set)), slot);
  const auto slots = inline_slots(set);
  return std::find(slots.begin(), slots.end(), slot) != slots.end();
}

std::size_t HolderStore::count(std::uint32_t number) const {
  const Set& set = sets_[number];
  return is_inline(set) ? set.form : block_count(set);
}

void HolderStore::insert_inline(std::uint32_t number, NodeSlot slot) {
  Set& set = sets_[number];
  std::array<NodeSlot, inline_max + 1> slots{};
  const auto old = inline_slots(set);
  const auto end = std::copy(old.begin(), old.end(), slots.begin());
  *end = slot;
  std::sort(slots.begin(), end + 1);
  const std::size_t count = set.form + std::size_t{1};
  if (count <= inline_max) {
    std::copy(slots.begin(), end + 1, set.slots.begin());
    set.form = static_cast<std::uint8_t>(count);
    return;
  }
  const std::size_t bytes = used_bytes + holder_block::bytes_for(slots);
  const BlockPool::Place place = pool_.allocate(BlockPool::class_for(bytes), number);
  set_used(place, holder_block::write(room(place), slots));
  set_place(set, place);
  set_block_count(set, static_cast<std::uint32_t>(count));
}

bool HolderStore::insert(std::uint32_t number, NodeSlot slot) {
  Set& set = sets_[number];
  if (is_inline(set)) {
    if (contains(number, slot)) return false;
    insert_inline(number, slot);
    return true;
  }
  BlockPool::Place place = place_of(set);
  const auto bytes = set_bytes(place);
  if (holder_block::contains(bytes, slot)) return false;
  const std::size_t used = bytes.size();
  const std::size_t needed = used_bytes + used + holder_block::growth(bytes, slot);
  if (needed > BlockPool::room_of(place.size_class)) {
    move_to_class(number, BlockPool::class_for(needed));
    place = place_of(set);
  }
  set_used(place, holder_block::insert(room(place), used, slot));
  set_block_count(set, block_count(set) + 1);
  return true;
}

bool HolderStore::erase(std::uint32_t number, NodeSlot slot) {
  if (!contains(number, slot)) return false;
  Set& set = sets_[number];
  if (is_inline(set)) {
    NodeSlot* const end = set.slots.data() + set.form;
    NodeSlot* const at = std::find(set.slots.data(), end, slot);
    std::copy(at + 1, end, at);
    --set.form;
    return true;
  }
  const BlockPool::Place place = place_of(set);
  const std::size_t used = holder_block::erase(room(place).first(set_bytes(place).size()), slot);
  set_used(place, used);
  set_block_count(set, block_count(set) - 1);
  // Half of the inline room, and one size class, keep a set at a border from going back and forth.
  if (block_count(set) <= inline_max / 2) {
    become_inline(number);
  } else if (const auto fits = BlockPool::class_for(used_bytes + used);
             fits + 1 < place.size_class) {
    move_to_class(number, static_cast<std::uint8_t>(fits + 1));
  }
  return true;
}

void HolderStore::become_inline(std::uint32_t number) {
  SlotWords words{};
  holder_block::expand(set_bytes(place_of(sets_[number])), words);
  Set small;
  for_each_slot(words, [&](NodeSlot slot) { small.slots[small.form++] = slot; });
  const BlockPool::Place place = place_of(sets_[number]);
  sets_[number] = small;
  release(place);
}

// ---- many at once ----

std::size_t HolderStore::word_count(std::uint32_t number) const {
  const Set& set = sets_[number];
  if (!is_inline(set)) return holder_block::word_count(set_bytes(place_of(set)));
  return set.form == 0 ? 0 : set.slots[set.form - 1U] / 64U + 1U;
}

std::size_t HolderStore::insert_all(std::uint32_t number, std::span<const std::uint64_t> words) {
  const std::size_t before = count(number);
  if (before == 0) {
    assign(number, words);
    return count(number);
  }
  SlotWords merged;
  const auto both = std::span(merged).first(std::max(words.size(), word_count(number)));
  expand(number, both);
  for (std::size_t i = 0; i < words.size(); ++i) both[i] |= words[i];
  assign(number, both);
  return count(number) - before;
}

std::size_t HolderStore::erase_all(std::uint32_t number, std::span<const std::uint64_t> words) {
  SlotWords left;
  const auto rest = std::span(left).first(word_count(number));
  expand(number, rest);
  bool changes = false;
  for (std::size_t i = 0; i < std::min(words.size(), rest.size()); ++i) {
    changes = changes || (rest[i] & words[i]) != 0;
    rest[i] &= ~words[i];
  }
  if (!changes) return 0;
  const std::size_t before = count(number);
  assign(number, rest);
  return before - count(number);
}

void HolderStore::assign(std::uint32_t number, std::span<const std::uint64_t> words) {
  const std::size_t count = count_slots(words);
  Set& set = sets_[number];
  const auto old = is_inline(set) ? std::nullopt : std::optional(place_of(set));
  if (count <= inline_max) {
    set = Set{};
    for_each_slot(words, [&](NodeSlot slot) { set.slots[set.form++] = slot; });
    if (old) release(*old);
    return;
  }
  const std::size_t bytes = used_bytes + holder_block::bytes_for_words(words);
  const std::uint8_t size_class = BlockPool::class_for(bytes);
  const bool stays = old && old->size_class == size_class;
  const BlockPool::Place place = stays ? *old : pool_.allocate(size_class, number);
  set_used(place, holder_block::write_words(room(place), words));
  set_place(set, place);
  set_block_count(set, static_cast<std::uint32_t>(count));
  if (old && !stays) release(*old);
}

void HolderStore::expand(std::uint32_t number, std::span<std::uint64_t> words) const {
  const Set& set = sets_[number];
  if (is_inline(set)) return set_slots(words, inline_slots(set));
  std::fill(words.begin(), words.end(), 0);
  holder_block::expand(set_bytes(place_of(set)), words);
}

std::size_t HolderStore::list(std::uint32_t number, std::span<const std::uint64_t> mask,
                              std::span<NodeSlot> out) const {
  const Set& set = sets_[number];
  if (!is_inline(set)) return holder_block::list(set_bytes(place_of(set)), mask, out);
  std::size_t count = 0;
  for (const NodeSlot slot : inline_slots(set)) {
    if (has_slot(mask, slot)) out[count++] = slot;
  }
  return count;
}

void HolderStore::prefetch_block(std::uint32_t number) const {
  constexpr std::size_t line_bytes = 64;
  constexpr std::size_t lines = 3;  // a hundred holders; the processor sees the rest coming
  const Set& set = sets_[number];
  if (is_inline(set)) return;
  const auto block = pool_.bytes(place_of(set));
  for (std::size_t at = 0; at < std::min(lines * line_bytes, block.size()); at += line_bytes) {
    __builtin_prefetch(block.data() + at);
  }
}

void HolderStore::check_invariants() const {
  std::size_t blocks = 0;
  SlotWords words;
  for (std::uint32_t number = 0; number < sets_.size(); ++number) {
    const Set& set = sets_[number];
    if (is_inline(set)) continue;
    ++blocks;
    WAGGLE_ASSERT(pool_.owner(place_of(set)) == number);
    expand(number, words);
    std::uint32_t holders = 0;
    for_each_slot(words, [&](NodeSlot) { ++holders; });
    WAGGLE_ASSERT(holders == block_count(set));
  }
  for (std::size_t of = 0; of < BlockPool::size_classes; ++of) {
    blocks -= pool_.count(static_cast<std::uint8_t>(of));
  }
  WAGGLE_ASSERT(blocks == 0);
}

}  // namespace waggle::gossip
