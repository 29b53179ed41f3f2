// The rows of sim_gossip: each makes its own world of `nodes` real gossip cores, measures, prints.
#pragma once

#include "sim/gossip_world.hpp"
#include "sim/row.hpp"

#include <cstddef>
#include <string>

namespace waggle::bench {

// membership_rows.cpp
/// All start within 60 s (0.5 s for up to 100 nodes): until all see all after the last start.
void join_row(const SimOptions& options, std::size_t nodes);
/// Bytes and packets of a cluster at rest; also memory per node.
void idle_row(const SimOptions& options, std::size_t nodes);

// announcement_rows.cpp
/// One announcement at a time in a cluster at rest, 1 % loss.
void announcement_row(const SimOptions& options, std::size_t nodes);
/// 50 announcements of each node within 30 s, 1 % loss.
void storm_row(const SimOptions& options, std::size_t nodes);

// failure_rows.cpp
/// One node at a time vanishes, then a tenth of them at once.
void failure_row(const SimOptions& options, std::size_t nodes);
/// Hours with 5 % loss and pauses of 5 s.
void false_death_row(const SimOptions& options, std::size_t nodes);

/// A cluster at rest: everybody knows everybody and the news of the start is over.
void settle(sim::GossipWorld& world);
/// A blob that no other name stands for.
[[nodiscard]] gossip::Content content_of(const std::string& name);

}  // namespace waggle::bench
