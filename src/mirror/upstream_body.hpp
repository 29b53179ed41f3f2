// What the head of an upstream answer promises about its body, and whether the body keeps up.
// No I/O: the fetch driver asks before it takes a byte.
#pragma once

#include "base/error.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"
#include "mirror/range.hpp"

#include <cstdint>
#include <optional>

namespace waggle::mirror {

struct UpstreamBody {
  bool whole = false;                  ///< a 200: everything from byte 0, whatever was asked
  std::optional<std::uint64_t> total;  ///< size of the blob; absent when the server does not say
  std::uint64_t first = 0;             ///< the body's first byte within the blob
};

/// Reads the head of a 200 or 206 that answers `Range: bytes=asked.first-asked.last`.
/// @return  MirrorError::protocol for lengths that contradict each other or the question: a 206
///          without a usable Content-Range, one that begins elsewhere or goes on further than was
///          asked, or one whose Content-Length is not its range's.
/// @source  RFC 9110 sections 14.4 and 15.3.7
[[nodiscard]] Result<UpstreamBody> read_upstream_body(
    unsigned status, const std::optional<std::uint64_t>& content_length,
    const std::optional<ContentRange>& content_range, const ByteRange& asked);

/// Tells a body that trickles from one that is merely slow: limits::upstream_body_gap of waiting
/// has to bring limits::upstream_rate_bytes_min. Time the reader spends elsewhere is not counted.
class RateFloor {
 public:
  /// @param waited  how long the read took  @return true: give this connection up
  [[nodiscard]] bool too_slow(Duration waited, std::uint64_t bytes);

 private:
  Duration waited_{};
  std::uint64_t bytes_ = 0;
};

}  // namespace waggle::mirror
