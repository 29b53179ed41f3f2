// Bitfield over 64-bit words; bit i of the set is bit (i % 64) of word i / 64.
#include "base/bitfield.hpp"

#include "base/assert.hpp"

#include <bit>

namespace waggle {

Bitfield::Bitfield(std::size_t size, bool value)
    : words_((size + 63) / 64, value ? ~std::uint64_t{0} : 0),
      size_(size),
      count_(value ? size : 0) {
  if (value && size % 64 != 0) words_.back() = (std::uint64_t{1} << (size % 64)) - 1;
}

bool Bitfield::test(std::size_t position) const {
  WAGGLE_ASSERT(position < size_);
  return ((words_[position / 64] >> (position % 64)) & 1U) != 0;
}

bool Bitfield::set(std::size_t position) {
  if (test(position)) return false;
  words_[position / 64] |= std::uint64_t{1} << (position % 64);
  ++count_;
  return true;
}

bool Bitfield::reset(std::size_t position) {
  if (!test(position)) return false;
  words_[position / 64] &= ~(std::uint64_t{1} << (position % 64));
  --count_;
  return true;
}

std::optional<std::size_t> Bitfield::find(bool value, std::size_t from) const {
  for (std::size_t word = from / 64; word < words_.size(); ++word) {
    std::uint64_t bits = value ? words_[word] : ~words_[word];
    if (word == from / 64) bits &= ~std::uint64_t{0} << (from % 64);
    if (bits == 0) continue;
    const std::size_t position = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
    if (position < size_) return position;
  }
  return std::nullopt;
}

std::size_t Bitfield::run_length(std::size_t from) const {
  if (from >= size_) return 0;
  return find(false, from).value_or(size_) - from;
}

Bytes Bitfield::to_wire() const {
  Bytes wire((size_ + 7) / 8);
  for (auto i = find(true); i; i = find(true, *i + 1)) {
    wire[*i / 8] |= static_cast<std::byte>(0x80U >> (*i % 8));
  }
  return wire;
}

Result<Bitfield> Bitfield::from_wire(ByteView wire, std::size_t size) {
  if (wire.size() != (size + 7) / 8) return BaseError::malformed;
  Bitfield field(size);
  for (std::size_t i = 0; i < wire.size() * 8; ++i) {
    if ((wire[i / 8] & static_cast<std::byte>(0x80U >> (i % 8))) == std::byte{0}) continue;
    if (i >= size) return BaseError::malformed;
    field.set(i);
  }
  return field;
}

}  // namespace waggle
