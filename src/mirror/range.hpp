// HTTP byte ranges: the Range request header, Content-Range of answers, and what they mean for a
// blob of a given size.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waggle::mirror {

/// Bytes first..last of a blob, both included; never empty.
struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  [[nodiscard]] std::uint64_t size() const { return last - first + 1; }
  auto operator<=>(const ByteRange&) const = default;
};

/// One range as a client wrote it, before the blob's size is known.
struct RangeSpec {
  enum class Kind : std::uint8_t {
    closed,  ///< bytes=first-last
    open,    ///< bytes=first-
    suffix,  ///< bytes=-length: the last `length` bytes
  };
  Kind kind = Kind::open;
  std::uint64_t first = 0;
  std::uint64_t last = 0;    ///< closed only
  std::uint64_t length = 0;  ///< suffix only
  bool operator==(const RangeSpec&) const = default;

  /// The header's value: "bytes=0-99".
  [[nodiscard]] std::string to_string() const;
};

/// Reads a Range header. nullopt means "answer as if it was absent": another unit, malformed text
/// (first > last included), or several ranges, which a server may ignore.
/// @source RFC 9110 sections 14.1 and 14.2
[[nodiscard]] std::optional<RangeSpec> parse_range(std::string_view header);

/// The bytes `spec` selects of a blob of `size` bytes, clamped to its end; nullopt: not
/// satisfiable, answer 416.
[[nodiscard]] std::optional<ByteRange> resolve_range(const RangeSpec& spec, std::uint64_t size);

/// "bytes 0-99/1000".
[[nodiscard]] std::string content_range_text(const ByteRange& range, std::uint64_t size);
/// "bytes */1000", for a 416.
[[nodiscard]] std::string unsatisfied_range_text(std::uint64_t size);

/// A Content-Range header of upstream.
struct ContentRange {
  std::optional<ByteRange> range;      ///< absent in "bytes */1000"
  std::optional<std::uint64_t> total;  ///< absent in "bytes 0-99/*"
  bool operator==(const ContentRange&) const = default;
};
/// nullopt on anything malformed, on first > last and on last >= total.
[[nodiscard]] std::optional<ContentRange> parse_content_range(std::string_view header);

}  // namespace waggle::mirror
