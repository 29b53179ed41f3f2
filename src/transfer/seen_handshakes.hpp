// Which first handshake messages were opened before: a recorded one is worth nothing twice. Asked
// by Handshake on the responder's side, kept by the driver.
#pragma once

#include "base/bytes.hpp"
#include "base/limits.hpp"

#include <array>
#include <cstddef>
#include <deque>
#include <set>

namespace waggle::transfer {

/// Remembers the ephemeral keys of the last limits::seen_handshakes_max first messages that proved
/// a cluster key; an honest dialler draws a new one each time. Only what has authenticated comes in
/// here, so strangers cannot push anything out. 1 MiB when full; O(log n).
class SeenHandshakes {
 public:
  static constexpr std::size_t ephemeral_bytes = 32;
  using Ephemeral = std::array<std::byte, ephemeral_bytes>;

  /// True when `ephemeral` is new; remembers it, and forgets the oldest when full.
  [[nodiscard]] bool accept(const Ephemeral& ephemeral);
  [[nodiscard]] std::size_t size() const { return order_.size(); }

 private:
  std::set<Ephemeral> known_;
  std::deque<Ephemeral> order_;  // oldest first
};

}  // namespace waggle::transfer
