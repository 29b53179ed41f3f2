// How many peers of a swarm have each chunk. Used by the swarm and the picker.
#pragma once

#include "base/bitfield.hpp"
#include "base/ids.hpp"

#include <cstdint>
#include <vector>

namespace waggle::transfer {

/// Counts per chunk over partial peers, plus the number of complete ones. Every call O(1) unless
/// noted.
class Availability {
 public:
  Availability() = default;
  explicit Availability(std::uint32_t chunk_count) : counts_(chunk_count, 0) {}

  void add(ChunkIndex chunk) { ++counts_[to_value(chunk)]; }
  void remove(ChunkIndex chunk);
  /// A partial peer with all it has. O(chunks).
  void add(const Bitfield& have);
  void remove(const Bitfield& have);
  void add_complete() { ++complete_; }
  void remove_complete();

  /// Peers that have the chunk.
  [[nodiscard]] std::uint32_t count(ChunkIndex chunk) const {
    return counts_[to_value(chunk)] + complete_;
  }
  [[nodiscard]] std::uint32_t complete() const { return complete_; }
  bool operator==(const Availability&) const = default;

 private:
  std::vector<std::uint16_t> counts_;
  std::uint32_t complete_ = 0;
};

}  // namespace waggle::transfer
