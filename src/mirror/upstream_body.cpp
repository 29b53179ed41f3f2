// Lengths that have to agree.
#include "mirror/upstream_body.hpp"

#include "mirror/error.hpp"

namespace waggle::mirror {

Result<UpstreamBody> read_upstream_body(unsigned status,
                                        const std::optional<std::uint64_t>& content_length,
                                        const std::optional<ContentRange>& content_range,
                                        const ByteRange& asked) {
  if (status == 200) return UpstreamBody{true, content_length, 0};
  if (!content_range) return MirrorError::protocol;
  if (status == 416) return UpstreamBody{false, content_range->total, asked.first};
  if (!content_range->range) return MirrorError::protocol;
  const ByteRange& range = *content_range->range;
  if (range.first != asked.first || range.last > asked.last) return MirrorError::protocol;
  if (content_length && *content_length != range.size()) return MirrorError::protocol;
  return UpstreamBody{false, content_range->total, range.first};
}

bool RateFloor::too_slow(Duration waited, std::uint64_t bytes) {
  waited_ += waited;
  bytes_ += bytes;
  if (bytes_ < limits::upstream_rate_bytes_min) return waited_ >= limits::upstream_body_gap;
  waited_ = {};
  bytes_ = 0;
  return false;
}

}  // namespace waggle::mirror
