// The rows of sim_swarm: each makes its own world of `nodes` real exchanges, lets them have a blob,
// and prints the last one's time over what the links allow.
#pragma once

#include "sim/row.hpp"

#include <cstddef>

namespace waggle::bench {

/// All begin at one moment; the origin's link is as fast as a node's.
void flash_row(const SimOptions& options, std::size_t nodes);
/// The same without relays: chunks by request alone.
void pull_row(const SimOptions& options, std::size_t nodes);
/// They begin within 5 s.
void spread_row(const SimOptions& options, std::size_t nodes);
/// A tenth is killed at half the bound: the survivors' times.
void killed_row(const SimOptions& options, std::size_t nodes);
/// A tenth has a tenth of the rate, and nobody was told: the others' times.
void slow_row(const SimOptions& options, std::size_t nodes);
/// One node has the blob, and there is no upstream.
void warm_row(const SimOptions& options, std::size_t nodes);
/// The origin has a quarter of a node's rate.
void limited_row(const SimOptions& options, std::size_t nodes);
/// Links of 10 Gb/s: what takes a fixed time counts more.
void fast_row(const SimOptions& options, std::size_t nodes);
/// A model of several files, all at once, scaled down.
void model_row(const SimOptions& options, std::size_t nodes);

}  // namespace waggle::bench
