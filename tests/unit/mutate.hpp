// Bytes as a bug or a liar would write them.
#pragma once

#include "base/bytes.hpp"
#include "base/prng.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace waggle::testing {

/// Up to three changes: bits, bytes, cuts, repeats, numbers at their edges, msgpack heads. None in
/// one of four calls.
inline Bytes mutate(Bytes bytes, Prng& prng) {
  for (std::uint64_t changes = prng.below(4); changes > 0 && !bytes.empty(); --changes) {
    const auto at = static_cast<std::size_t>(prng.below(bytes.size()));
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (prng.below(6)) {
      case 0:
        bytes[at] ^= static_cast<std::byte>(1U << prng.below(8));
        break;
      case 1:
        bytes[at] = static_cast<std::byte>(prng.below(256));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3: {
        const Bytes again(bytes.begin(), place);
        bytes.insert(place, again.begin(), again.end());
        break;
      }
      case 4:
        std::fill(place,
                  bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at + 8, bytes.size())),
                  std::byte{0xff});
        break;
      default:
        bytes.insert(place, static_cast<std::byte>(0xc0 + prng.below(64)));
    }
  }
  return bytes;
}

}  // namespace waggle::testing
