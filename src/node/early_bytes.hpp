// What of a blob may be given out while it is still filling.
#pragma once

#include "base/bitfield.hpp"
#include "base/blob_layout.hpp"

#include <cstdint>

namespace waggle::node {

/// How far verified chunks go out before the digest is proven.
enum class EarlyRule : std::uint8_t {
  all,           ///< the blob is proven, or the client asked for a part of it
  all_but_tail,  ///< a whole body: the last limits::held_tail_bytes make it complete
  nothing,       ///< the digest is tainted
};

/// The end of what a reader at `offset` may have now; `offset` when that is nothing. O(chunks /
/// 64).
/// @param present  by chunk: here and verified
[[nodiscard]] std::uint64_t early_until(const BlobLayout& layout, const Bitfield& present,
                                        std::uint64_t offset, EarlyRule rule);

}  // namespace waggle::node
