// Reading and writing of packed fields: what travels so often that msgpack's headers would be half
// of it.
#pragma once

#include "base/bytes.hpp"

#include <cstdint>

namespace waggle::gossip {

/// Appends `value` as LEB128: 7 bits a byte, lowest first, the high bit says that more follow.
/// @source DWARF 5, section 7.6
void append_varint(Bytes& out, std::uint64_t value);
/// Bytes that append_varint() takes: 1..10.
[[nodiscard]] std::size_t varint_bytes(std::uint64_t value);

/// Reads fields in order. After the first one that does not fit every call returns zero and ok() is
/// false, so decoders read straight through and check once. Views live as long as the input.
class PackedReader {
 public:
  explicit PackedReader(ByteView input) : rest_(input) {}

  [[nodiscard]] ByteView bytes(std::size_t count);
  template <typename T>
  [[nodiscard]] T le() {
    const ByteView field = bytes(sizeof(T));
    return ok_ ? load_le<T>(field) : T{};
  }
  /// Fails on a value above `max` and on a form longer than needed: each number has one form.
  [[nodiscard]] std::uint64_t varint(std::uint64_t max = UINT64_MAX);
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] std::size_t remaining() const { return rest_.size(); }
  void fail();

 private:
  ByteView rest_;
  bool ok_ = true;
};

}  // namespace waggle::gossip
