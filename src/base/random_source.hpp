// Where secrets come from: libsodium in production, a seeded generator in the simulator.
#pragma once

#include "base/bytes.hpp"
#include "base/prng.hpp"

namespace waggle {

/// Fills buffers with bytes nobody can guess. Cores take one by reference and never reach for the
/// system.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual void fill(MutableByteView out) = 0;
};

/// The operating system's generator, through libsodium. Cost about 1 us per call.
class SystemRandomSource final : public RandomSource {
 public:
  void fill(MutableByteView out) override;
};

/// For the simulator and tests only: repeatable, worthless as a secret.
class SeededRandomSource final : public RandomSource {
 public:
  explicit SeededRandomSource(std::uint64_t seed) : prng_(seed) {}
  void fill(MutableByteView out) override;

 private:
  Prng prng_;
};

}  // namespace waggle
