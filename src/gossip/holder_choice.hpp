// Which of many holders to name: in random order, the less loaded first more often. The end of
// every lookup.
#pragma once

#include "base/prng.hpp"
#include "base/time.hpp"
#include "gossip/content_index.hpp"
#include "gossip/node_slots.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace waggle::gossip {

/// Fills `out` with live slots of `found`, each node at most once. For every place two are drawn at
/// random and the less loaded one gets it, so that nodes with the same knowledge do not all go to
/// the same holder; when fewer than two for each are left, those that lost come last. Allocates
/// nothing; cost O(found.count()) while few (about a nanosecond each), else O(slots / 64 + slots /
/// found.count() x out.size()).
/// @return  how many live holders there are: more than out.size() may be
/// @pre     out.size() <= limits::lookup_holders_max
/// @source  Mitzenmacher 2001, "The power of two choices in randomized load balancing"
[[nodiscard]] std::size_t choose_holders(TimePoint now, const ContentIndex::Holders& found,
                                         const NodeSlots& slots, Prng& prng,
                                         std::span<NodeSlot> out);
/// The same of the slots whose bits in `words` are set. Clears some of them.
[[nodiscard]] std::size_t choose_slots(TimePoint now, std::span<std::uint64_t> words,
                                       const NodeSlots& slots, Prng& prng, std::span<NodeSlot> out);

}  // namespace waggle::gossip
