// Which packet counters of one (sender, boot) were seen: the sliding bitmap of RFC 6479.
#pragma once

#include <array>
#include <cstdint>

namespace waggle::gossip {

/// Accepts every counter once; counters more than `span` behind the newest are refused unseen. 272
/// B, O(1) amortised.
/// @source RFC 6479 (IPsec anti-replay without bit shifting)
class ReplayWindow {
 public:
  static constexpr std::uint64_t bits = 2048;
  static constexpr std::uint64_t span = bits - 64;  ///< one word is always being recycled

  /// True when `counter` is new; marks it. Call it only after the packet has authenticated.
  [[nodiscard]] bool accept(std::uint64_t counter);

  /// Nothing up to and including `counter` is new any more.
  void begin_after(std::uint64_t counter);

 private:
  std::array<std::uint64_t, bits / 64> words_{};
  std::uint64_t newest_ = 0;
  bool any_ = false;
};

}  // namespace waggle::gossip
