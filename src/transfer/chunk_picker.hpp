// Which chunk to ask a peer for next. A pure choice over bitfields. Used by the swarm.
#pragma once

#include "base/bitfield.hpp"
#include "base/blob_layout.hpp"
#include "base/ids.hpp"
#include "base/prng.hpp"
#include "transfer/availability.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace waggle::transfer {

/// A reader's next chunks: `urgent` ones strictly in order, then the rest of the window rarest
/// first.
struct PlaybackWindow {
  std::uint32_t first = 0;   ///< chunk the reader waits for
  std::uint32_t urgent = 0;  ///< end of the urgent part
  std::uint32_t end = 0;     ///< end of the window
  /// The window at byte `offset`: 2 chunks urgent, max(8 chunks, 16 MiB) in all, cut at the blob's
  /// end.
  [[nodiscard]] static PlaybackWindow at(const BlobLayout& layout, std::uint64_t offset);
};

/// @source Cohen 2003, "rarest first" and "endgame mode"
class ChunkPicker {
 public:
  using Allowed = std::function<bool(ChunkIndex)>;

  void set_windows(std::vector<PlaybackWindow> windows) { windows_ = std::move(windows); }
  [[nodiscard]] std::span<const PlaybackWindow> windows() const { return windows_; }

  /// Like pick(), for one of few complete peers that many ask: only what no partial peer has.
  /// Urgent chunks are asked by about one of the `askers`, the window by chance: who asks the same
  /// in the same order never has anything to give.
  /// @param askers  partial peers known, this node not counted
  [[nodiscard]] std::optional<ChunkIndex> pick_scarce(const Bitfield& open, const Allowed& allowed,
                                                      const Availability& availability,
                                                      std::size_t askers, Prng& prng) const;

  /// The next chunk out of `open` (lacking, nobody asked) that `allowed` admits for this peer:
  /// urgent chunks in order,
  /// windows rarest first, then the whole blob rarest first; ties by the PRNG.
  /// Cost O(set bits of `open`).
  [[nodiscard]] std::optional<ChunkIndex> pick(const Bitfield& open, const Allowed& allowed,
                                               const Availability& availability, Prng& prng) const;

 private:
  std::vector<PlaybackWindow> windows_;
};

/// When every lacking chunk is asked and at most this many lack, a second source per chunk is fair.
inline constexpr std::size_t endgame_chunks_max = 16;

}  // namespace waggle::transfer
