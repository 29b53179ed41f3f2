// xoshiro256** and splitmix64.
#include "base/prng.hpp"

#include "base/assert.hpp"

#include <bit>

namespace waggle {

Prng::Prng(std::uint64_t seed) {
  for (auto& word : state_) {
    word = mix_seed(seed);
    seed += splitmix_step;
  }
}

std::uint64_t Prng::next() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17U;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

std::uint64_t Prng::below(std::uint64_t bound) {
  WAGGLE_ASSERT(bound > 0);
  // Reject the short tail so that every value is equally likely.
  const std::uint64_t threshold = (0 - bound) % bound;
  for (;;) {
    const std::uint64_t value = next();
    if (value >= threshold) return value % bound;
  }
}

double Prng::unit() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }

}  // namespace waggle
