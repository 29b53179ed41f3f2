// A fixed-size set of chunk (or extent) positions, and its wire form (BEP 3: high bit of byte 0 is
// position 0).
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace waggle {

/// Positions 0..size()-1, each set or clear; count() is kept, so it costs O(1).
class Bitfield {
 public:
  Bitfield() = default;
  explicit Bitfield(std::size_t size, bool value = false);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] bool all() const { return count_ == size_; }
  [[nodiscard]] bool none() const { return count_ == 0; }
  /// @pre position < size()
  [[nodiscard]] bool test(std::size_t position) const;
  /// Sets the position; true when it was clear before.
  bool set(std::size_t position);
  /// Clears the position; true when it was set before.
  bool reset(std::size_t position);
  /// First position >= from that has `value`; nullopt when there is none. O(size/64).
  [[nodiscard]] std::optional<std::size_t> find(bool value, std::size_t from = 0) const;
  /// How many positions >= 0 in a row are set from `from`.
  [[nodiscard]] std::size_t run_length(std::size_t from = 0) const;

  /// ceil(size/8) bytes, spare bits zero.
  [[nodiscard]] Bytes to_wire() const;
  /// malformed when the length differs from ceil(size/8) or a spare bit is set.
  [[nodiscard]] static Result<Bitfield> from_wire(ByteView wire, std::size_t size);
  bool operator==(const Bitfield&) const = default;

 private:
  std::vector<std::uint64_t> words_;
  std::size_t size_ = 0;
  std::size_t count_ = 0;
};

}  // namespace waggle
