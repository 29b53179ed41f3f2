// LEB128 and bounds.
#include "gossip/packed.hpp"

namespace waggle::gossip {
namespace {

constexpr unsigned bits_per_byte = 7;
constexpr std::uint8_t more_follow = 0x80;

}  // namespace

void append_varint(Bytes& out, std::uint64_t value) {
  for (; value >= more_follow; value >>= bits_per_byte) {
    out.push_back(static_cast<std::byte>((value & (more_follow - 1U)) | more_follow));
  }
  out.push_back(static_cast<std::byte>(value));
}

std::size_t varint_bytes(std::uint64_t value) {
  std::size_t count = 1;
  for (; value >= more_follow; value >>= bits_per_byte) ++count;
  return count;
}

void PackedReader::fail() {
  ok_ = false;
  rest_ = {};
}

ByteView PackedReader::bytes(std::size_t count) {
  if (rest_.size() < count) {
    fail();
    return {};
  }
  const ByteView field = rest_.first(count);
  rest_ = rest_.subspan(count);
  return field;
}

std::uint64_t PackedReader::varint(std::uint64_t max) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += bits_per_byte) {
    const auto byte = le<std::uint8_t>();
    const std::uint64_t bits = byte & (more_follow - 1U);
    const bool overflows = (bits << shift) >> shift != bits;
    value |= bits << shift;
    const bool is_last = (byte & more_follow) == 0;
    const bool is_padded = is_last && byte == 0 && shift > 0;
    if (!ok_ || overflows || is_padded) break;
    if (!is_last) continue;
    if (value > max) break;
    return value;
  }
  fail();
  return 0;
}

}  // namespace waggle::gossip
