// The two random sources.
#include "base/random_source.hpp"

#include <sodium.h>

namespace waggle {

void SystemRandomSource::fill(MutableByteView out) { randombytes_buf(out.data(), out.size()); }

void SeededRandomSource::fill(MutableByteView out) {
  for (auto& byte : out) byte = static_cast<std::byte>(prng_.next() & 0xffU);
}

}  // namespace waggle
