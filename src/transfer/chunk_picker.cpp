// One scan per stage; equal candidates are drawn by reservoir sampling.
#include "transfer/chunk_picker.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

constexpr std::uint32_t urgent_chunks = 2;
constexpr std::uint32_t window_chunks_min = 8;
constexpr std::uint64_t window_bytes = 16 * limits::MiB;
constexpr double urgent_askers = 1;
constexpr double window_share = 0.1;  // of what is asked from a scarce source

std::optional<ChunkIndex> rarest(const Bitfield& open, std::size_t from, std::size_t end,
                                 const ChunkPicker::Allowed& allowed,
                                 const Availability& availability, Prng& prng) {
  std::optional<ChunkIndex> best;
  std::uint32_t best_count = 0;
  std::uint64_t ties = 0;
  for (auto i = open.find(true, from); i && *i < end; i = open.find(true, *i + 1)) {
    const ChunkIndex chunk{static_cast<std::uint32_t>(*i)};
    const std::uint32_t count = availability.count(chunk);
    if (best && count > best_count) continue;
    if (!allowed(chunk)) continue;
    if (!best || count < best_count) {
      best = chunk;
      best_count = count;
      ties = 1;
    } else if (prng.below(++ties) == 0) {
      best = chunk;
    }
  }
  return best;
}

}  // namespace

PlaybackWindow PlaybackWindow::at(const BlobLayout& layout, std::uint64_t offset) {
  const std::uint32_t count = layout.chunk_count();
  if (offset >= layout.size()) return {.first = count, .urgent = count, .end = count};
  const std::uint32_t first = to_value(layout.chunk_at(offset));
  const auto wide = static_cast<std::uint32_t>(window_bytes / layout.chunk_bytes());
  return {.first = first,
          .urgent = std::min(count, first + urgent_chunks),
          .end = std::min(count, first + std::max(window_chunks_min, wide))};
}

std::optional<ChunkIndex> ChunkPicker::pick_scarce(const Bitfield& open, const Allowed& allowed,
                                                   const Availability& availability,
                                                   std::size_t askers, Prng& prng) const {
  const Allowed only_here = [&](ChunkIndex chunk) {
    return availability.count(chunk) == availability.complete() && allowed(chunk);
  };
  for (const PlaybackWindow& window : windows_) {
    if (prng.chance(urgent_askers / static_cast<double>(askers + 1))) {
      if (auto chunk = rarest(open, window.first, window.urgent, only_here, availability, prng)) {
        return chunk;
      }
    }
    if (!prng.chance(window_share)) continue;
    if (auto chunk = rarest(open, window.first, window.end, only_here, availability, prng)) {
      return chunk;
    }
  }
  return rarest(open, 0, open.size(), only_here, availability, prng);
}

std::optional<ChunkIndex> ChunkPicker::pick(const Bitfield& open, const Allowed& allowed,
                                            const Availability& availability, Prng& prng) const {
  for (const PlaybackWindow& window : windows_) {
    for (auto i = open.find(true, window.first); i && *i < window.urgent;
         i = open.find(true, *i + 1)) {
      const ChunkIndex chunk{static_cast<std::uint32_t>(*i)};
      if (allowed(chunk)) return chunk;
    }
  }
  for (const PlaybackWindow& window : windows_) {
    if (auto chunk = rarest(open, window.first, window.end, allowed, availability, prng)) {
      return chunk;
    }
  }
  return rarest(open, 0, open.size(), allowed, availability, prng);
}

}  // namespace waggle::transfer
