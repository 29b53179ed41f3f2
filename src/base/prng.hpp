// The seeded generator for choices (never for secrets: see random_source.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace waggle {

/// xoshiro256** seeded through splitmix64. Same seed, same sequence, on every platform.
/// @source Blackman and Vigna 2018, "Scrambled linear pseudorandom number generators"
class Prng {
 public:
  using result_type = std::uint64_t;
  explicit Prng(std::uint64_t seed);

  [[nodiscard]] std::uint64_t next();
  /// Uniform in [0, bound). @pre bound > 0
  [[nodiscard]] std::uint64_t below(std::uint64_t bound);
  /// Uniform in [0, 1).
  [[nodiscard]] double unit();
  [[nodiscard]] bool chance(double probability) { return unit() < probability; }

  template <typename T>
  void shuffle(std::span<T> items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      using std::swap;
      swap(items[i - 1], items[static_cast<std::size_t>(below(i))]);
    }
  }

 private:
  std::uint64_t state_[4];
};

/// What splitmix64 adds to its state with every number (Steele, Lea, Flood 2014: golden gamma).
inline constexpr std::uint64_t splitmix_step = 0x9e3779b97f4a7c15U;

/// One splitmix64 step of `value`: derives independent seeds from one seed.
[[nodiscard]] constexpr std::uint64_t mix_seed(std::uint64_t value) {
  value += splitmix_step;
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

}  // namespace waggle
