// Where a broken invariant ends.
#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace waggle {

void assert_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "waggle: invariant broken: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace waggle
