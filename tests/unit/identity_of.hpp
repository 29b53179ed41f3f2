// Identities that a test can name by number.
#pragma once

#include "base/identity.hpp"
#include "base/random_source.hpp"

#include <cstdint>

namespace waggle::testing {

inline Identity identity_of(std::uint64_t seed) {
  SeededRandomSource random(seed);
  return Identity::generate(random);
}

}  // namespace waggle::testing
