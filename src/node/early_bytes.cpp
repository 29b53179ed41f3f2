// The run of present chunks from the reader on, cut where the tail is held.
#include "node/early_bytes.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::node {

std::uint64_t early_until(const BlobLayout& layout, const std::vector<bool>& present,
                          std::uint64_t offset, EarlyRule rule) {
  if (rule == EarlyRule::nothing) return offset;
  std::uint64_t end = offset;
  while (end < layout.size()) {
    const ChunkIndex chunk = layout.chunk_at(end);
    if (!present[to_value(chunk)]) break;
    end = layout.chunk_offset(chunk) + layout.chunk_size(chunk);
  }
  if (rule == EarlyRule::all) return end;
  const std::uint64_t held_from = layout.size() - std::min(layout.size(), limits::held_tail_bytes);
  return std::min(end, std::max(held_from, offset));
}

}  // namespace waggle::node
