// Strict msgpack for our wire formats: a writer, and a reader with limits and a sticky error. Wraps
// msgpack-c. We write arrays of uint, bool, nil, str, bin and array only; anything else is
// malformed on input.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace waggle {

struct MsgLimits {
  std::size_t depth = 4;         ///< nested arrays
  std::size_t elements = 1024;   ///< per array
  std::size_t str_bytes = 256;   ///< per str
  std::size_t bin_bytes = 1400;  ///< per bin
};

class MsgWriter {
 public:
  MsgWriter() { out_.reserve(256); }  // one allocation for most messages instead of eight
  MsgWriter& array(std::size_t size);
  MsgWriter& uint(std::uint64_t value);
  MsgWriter& boolean(bool value);
  MsgWriter& nil();
  MsgWriter& str(std::string_view value);
  MsgWriter& bin(ByteView value);
  [[nodiscard]] const Bytes& bytes() const { return out_; }
  [[nodiscard]] Bytes take() { return std::move(out_); }

 private:
  Bytes out_;
};

/// Reads the elements of one array in order. After the first mismatch every call returns a zero
/// value and ok() is false, so decoders read straight through and check once.
///   MsgReader in = MsgReader::parse(bytes, limits); auto a = in.uint(); auto b = in.bin<16>(); if
///   (!in.done()) ...
/// Views returned by str() and bin() live as long as the input bytes do.
class MsgReader {
 public:
  /// The whole input must be exactly one array.
  [[nodiscard]] static MsgReader parse(ByteView input, const MsgLimits& limits);

  [[nodiscard]] std::uint64_t uint(std::uint64_t max = UINT64_MAX);
  [[nodiscard]] bool boolean();
  /// Consumes a nil if one is next.
  [[nodiscard]] bool next_is_nil();
  [[nodiscard]] std::string_view str();
  [[nodiscard]] ByteView bin();
  /// A bin of exactly N bytes.
  template <std::size_t N>
  [[nodiscard]] std::array<std::byte, N> bin_array() {
    std::array<std::byte, N> out{};
    const ByteView view = bin();
    if (view.size() != N) {
      fail(BaseError::malformed);
    } else {
      std::copy(view.begin(), view.end(), out.begin());
    }
    return out;
  }
  /// A nested array; read it to its end, or drop it to skip the rest. Failing in it does not fail
  /// the parent: call `merge` when its errors matter.
  [[nodiscard]] MsgReader array();
  /// Takes over a child's error.
  void merge(const MsgReader& child) {
    if (child.error_) fail(*child.error_);
  }

  [[nodiscard]] std::size_t remaining() const { return size_ - next_; }
  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  /// True when nothing failed and every element was read.
  [[nodiscard]] bool done() const { return ok() && remaining() == 0; }
  /// Marks the input as bad (a value out of range, say); the first error stays.
  void fail(BaseError error) {
    if (!error_) error_ = error;
  }
  /// The first error; malformed when elements are left over. @pre !done()
  [[nodiscard]] BaseError error() const { return error_.value_or(BaseError::malformed); }

 private:
  struct Document;
  const void* element();

  std::shared_ptr<Document> document_;
  const void* elements_ = nullptr;
  std::size_t size_ = 0;
  std::size_t next_ = 0;
  std::optional<BaseError> error_;
};

}  // namespace waggle
