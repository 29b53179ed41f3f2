// The three forms of a holder set and the ways between them.
#include "gossip/holder_set.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace waggle::gossip {

HolderSet::HolderSet(HolderSet&& other) noexcept { *this = std::move(other); }

HolderSet& HolderSet::operator=(HolderSet&& other) noexcept {
  if (this == &other) return *this;
  release();
  std::memcpy(inline_, other.inline_, sizeof(inline_));  // the widest member of the union
  size_ = std::exchange(other.size_, 0U);
  capacity_ = std::exchange(other.capacity_, std::uint16_t{0});
  form_ = std::exchange(other.form_, Form::inline_slots);
  return *this;
}

void HolderSet::release() {
  if (form_ == Form::array) delete[] array_;
  if (form_ == Form::bitmap) delete[] words_;
  form_ = Form::inline_slots;
  size_ = 0;
  capacity_ = 0;
}

std::size_t HolderSet::heap_bytes() const {
  if (form_ == Form::array) return capacity_ * sizeof(NodeSlot);
  return form_ == Form::bitmap ? capacity_ * sizeof(std::uint64_t) : 0;
}

bool HolderSet::contains(NodeSlot slot) const {
  if (form_ != Form::bitmap) {
    const auto all = slots();
    return std::binary_search(all.begin(), all.end(), slot);
  }
  return slot / 64U < capacity_ && ((words_[slot / 64U] >> (slot % 64U)) & 1U) != 0;
}

bool HolderSet::insert(NodeSlot slot) {
  if (contains(slot)) return false;
  if (form_ != Form::bitmap) {
    const NodeSlot highest = size_ == 0 ? slot : std::max(slot, slots().back());
    const std::size_t array_bytes = (size_ + 1) * sizeof(NodeSlot);
    const std::size_t bitmap_bytes = (highest / 64U + 1) * sizeof(std::uint64_t);
    if (size_ >= inline_max && array_bytes > bitmap_bytes) {
      become_bitmap(highest);
    } else {
      insert_sorted(slot);
      return true;
    }
  }
  if (slot / 64U >= capacity_) become_bitmap(slot);
  words_[slot / 64U] |= std::uint64_t{1} << (slot % 64U);
  ++size_;
  return true;
}

void HolderSet::insert_sorted(NodeSlot slot) {
  const std::size_t room = form_ == Form::inline_slots ? inline_max : capacity_;
  if (size_ == room) become_array(room + room / 2);
  NodeSlot* const begin = form_ == Form::inline_slots ? inline_ : array_;
  NodeSlot* const at = std::lower_bound(begin, begin + size_, slot);
  std::copy_backward(at, begin + size_, begin + size_ + 1);
  *at = slot;
  ++size_;
}

bool HolderSet::erase(NodeSlot slot) {
  if (!contains(slot)) return false;
  if (form_ == Form::bitmap) {
    words_[slot / 64U] &= ~(std::uint64_t{1} << (slot % 64U));
  } else {
    NodeSlot* const begin = form_ == Form::inline_slots ? inline_ : array_;
    NodeSlot* const at = std::lower_bound(begin, begin + size_, slot);
    std::copy(at + 1, begin + size_, at);
  }
  --size_;
  // Half of the inline room keeps a set at the border from going back and forth.
  if (form_ != Form::inline_slots && size_ <= inline_max / 2) become_inline();
  return true;
}

void HolderSet::become_array(std::size_t capacity) {
  auto* const grown = new NodeSlot[capacity];
  const auto all = slots();
  std::copy(all.begin(), all.end(), grown);
  if (form_ == Form::array) delete[] array_;
  array_ = grown;
  form_ = Form::array;
  capacity_ = static_cast<std::uint16_t>(capacity);
}

void HolderSet::become_bitmap(NodeSlot highest) {
  const std::size_t words = highest / 64U + 1;
  auto* const grown = new std::uint64_t[words]();
  if (form_ == Form::bitmap) {
    std::copy(words_, words_ + capacity_, grown);
    delete[] words_;
  } else {
    for (const NodeSlot slot : slots()) grown[slot / 64U] |= std::uint64_t{1} << (slot % 64U);
    if (form_ == Form::array) delete[] array_;
  }
  words_ = grown;
  form_ = Form::bitmap;
  capacity_ = static_cast<std::uint16_t>(words);
}

void HolderSet::become_inline() {
  NodeSlot kept[inline_max] = {};
  std::size_t count = 0;
  for_each([&](NodeSlot slot) { kept[count++] = slot; });
  const std::uint32_t size = size_;
  release();
  std::copy(kept, kept + inline_max, inline_);
  size_ = size;
}

}  // namespace waggle::gossip
