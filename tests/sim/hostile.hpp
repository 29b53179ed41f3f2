// What a hostile member does around an honest core: its protocol is right, its content is not.
// docs/adversity.md says what each costs the others.
#pragma once

#include "sim/content.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace waggle::sim {

enum class Lie : std::uint8_t {
  none,
  bytes,              ///< sends wrong bytes for every chunk
  midstate,           ///< one entry of its midstate lists is wrong
  forged_list,        ///< its lists are forged from the middle on, and its bytes fit them
  mute_holder,        ///< never sends a block it was asked for
  rejecting_holder,   ///< answers requests with REJECT
  idle_claimant,      ///< takes claims and fetches nothing
  boasting_claimant,  ///< and tells of progress all the same
  silent_hop,         ///< takes stripes, says that it passes them on, and does not
  false_hop,          ///< passes on wrong bytes of what it relays; answers requests truly
};

/// Wrong bytes that this liar sends for the chunk, asked for or relayed; nullopt: the true ones.
[[nodiscard]] std::optional<Variant> forged_variant(Lie lie, ChunkIndex chunk, bool is_relayed);
/// The list that this liar signs.
[[nodiscard]] std::vector<Midstate> told_midstates(Lie lie, const Blob& blob);

}  // namespace waggle::sim
