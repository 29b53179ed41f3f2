// The seeded generator: published constants and uniform bounds.
#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace waggle;

TEST_SUITE("base/prng") {
  TEST_CASE("splitmix64 gives the reference sequence for seed 0") {
    // Vigna's splitmix64.c: first output for state 0.
    CHECK(mix_seed(0) == 0xe220a8397b1dcdafU);
  }

  TEST_CASE("same seed, same sequence; another seed, another") {
    Prng a(7);
    Prng b(7);
    Prng c(8);
    CHECK(a.next() == b.next());
    CHECK(a.next() != c.next());
  }

  TEST_CASE("below covers its range evenly") {
    Prng prng(1);
    std::array<int, 5> seen{};
    for (int i = 0; i < 5000; ++i) ++seen[prng.below(5)];
    for (const int count : seen) CHECK(count > 850);
  }
}
