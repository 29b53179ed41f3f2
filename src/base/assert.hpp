// WAGGLE_ASSERT: a broken invariant is a bug and stops the process, in release builds too.
// Input from outside never reaches an assert; it fails as a Result (error.hpp).
#pragma once

namespace waggle {

/// Prints `expression` with its place to stderr and aborts. Cost: the process.
[[noreturn]] void assert_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace waggle

#define WAGGLE_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::waggle::assert_failed(#expression, __FILE__, __LINE__))
