// The run of present chunks from the reader on, cut where the tail is held.
#include "node/early_bytes.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::node {

std::uint64_t early_until(const BlobLayout& layout, const Bitfield& present, std::uint64_t offset,
                          EarlyRule rule) {
  if (rule == EarlyRule::nothing) return offset;
  if (offset >= layout.size()) return offset;
  const std::uint32_t first = to_value(layout.chunk_at(offset));
  const std::uint64_t past = first + present.run_length(first);
  const std::uint64_t end =
      past == first ? offset : std::min(layout.size(), past * layout.chunk_bytes());
  if (rule == EarlyRule::all) return end;
  const std::uint64_t held_from = layout.size() - std::min(layout.size(), limits::held_tail_bytes);
  return std::min(end, std::max(held_from, offset));
}

}  // namespace waggle::node
