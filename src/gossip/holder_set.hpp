// Which nodes hold one id: a set of local node slots that takes 16 bytes while small. Part of the
// content index.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace waggle::gossip {

/// A node as this process numbers it (gossip/node_slots.hpp).
using NodeSlot = std::uint16_t;

/// Up to 4 slots inline, then a sorted array, then a bitmap once that is smaller.
/// Cost: 16 bytes, plus 2 per holder or 1 bit per slot number; contains O(1) or O(log n), insert
/// and erase O(n).
class HolderSet {
 public:
  HolderSet() = default;
  HolderSet(HolderSet&& other) noexcept;
  HolderSet& operator=(HolderSet&& other) noexcept;
  HolderSet(const HolderSet&) = delete;
  HolderSet& operator=(const HolderSet&) = delete;
  ~HolderSet() { release(); }

  /// False when it was there already.
  bool insert(NodeSlot slot);
  /// False when it was not there.
  bool erase(NodeSlot slot);
  [[nodiscard]] bool contains(NodeSlot slot) const;
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// Heap bytes behind the object.
  [[nodiscard]] std::size_t heap_bytes() const;

  /// Calls visit(slot) for every holder in ascending order.
  template <typename Visit>
  void for_each(Visit visit) const {
    if (form_ != Form::bitmap) {
      for (const NodeSlot slot : slots()) visit(slot);
      return;
    }
    for (std::size_t word = 0; word < capacity_; ++word) visit_word(word, words_[word], visit);
  }
  /// The same for holders whose bit in `mask` (bit i of word i/64) is set.
  template <typename Visit>
  void for_each_in(std::span<const std::uint64_t> mask, Visit visit) const {
    if (form_ != Form::bitmap) {
      for (const NodeSlot slot : slots()) {
        const std::size_t word = slot / 64U;
        if (word < mask.size() && ((mask[word] >> (slot % 64U)) & 1U) != 0) visit(slot);
      }
      return;
    }
    for (std::size_t word = 0; word < capacity_ && word < mask.size(); ++word) {
      visit_word(word, words_[word] & mask[word], visit);
    }
  }

 private:
  static constexpr std::size_t inline_max = 4;
  enum class Form : std::uint8_t { inline_slots, array, bitmap };

  [[nodiscard]] std::span<const NodeSlot> slots() const {
    return {form_ == Form::inline_slots ? inline_ : array_, size_};
  }
  template <typename Visit>
  static void visit_word(std::size_t word, std::uint64_t bits, Visit& visit) {
    for (; bits != 0; bits &= bits - 1) {
      visit(static_cast<NodeSlot>(word * 64 + static_cast<unsigned>(std::countr_zero(bits))));
    }
  }
  void release();
  void insert_sorted(NodeSlot slot);
  void become_array(std::size_t capacity);
  void become_bitmap(NodeSlot highest);
  void become_inline();

  union {
    NodeSlot inline_[inline_max] = {};
    NodeSlot* array_;       // sorted, `capacity_` slots
    std::uint64_t* words_;  // `capacity_` words
  };
  std::uint32_t size_ = 0;
  std::uint16_t capacity_ = 0;
  Form form_ = Form::inline_slots;
};

}  // namespace waggle::gossip
