// Which of many holders to name: in random order, the less loaded first more often. The end of
// every lookup.
#pragma once

#include "base/prng.hpp"
#include "base/time.hpp"
#include "gossip/node_slots.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace waggle::gossip {

/// Fills `out` with slots whose bit in `words` is set, each at most once. Every place goes to the
/// less loaded of two that are drawn at random from those left, so that nodes with the same
/// knowledge do not all go to the same holder. Allocates nothing; cost O(words + out.size() x log
/// words), however many bits are set.
/// @return  how many bits are set: more than out.size() may be
/// @pre     out.size() <= limits::lookup_holders_max
/// @source  Mitzenmacher 2001, "The power of two choices in randomized load balancing"
[[nodiscard]] std::size_t choose_slots(TimePoint now, std::span<const std::uint64_t> words,
                                       const NodeSlots& slots, Prng& prng, std::span<NodeSlot> out);

}  // namespace waggle::gossip
