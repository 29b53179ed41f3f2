// Counts every allocation of a bench: malloc and its kin are replaced, and operator new, libsodium
// and msgpack-c all end there.
#include "bench.hpp"

#include <cstdlib>

extern "C" {
// glibc's own, under the names it keeps for replacements.
void* __libc_malloc(std::size_t size);                     // NOLINT(bugprone-reserved-identifier)
void* __libc_calloc(std::size_t count, std::size_t size);  // NOLINT(bugprone-reserved-identifier)
void* __libc_realloc(void* memory, std::size_t size);      // NOLINT(bugprone-reserved-identifier)
}

namespace {
std::uint64_t allocated = 0;  // benches have one thread
}  // namespace

extern "C" {
void* malloc(std::size_t size) {
  ++allocated;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++allocated;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  ++allocated;
  return __libc_realloc(memory, size);
}
}

std::uint64_t waggle::bench::allocation_count() { return allocated; }
