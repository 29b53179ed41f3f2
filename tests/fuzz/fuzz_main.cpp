// libFuzzer's entry into the one target that is linked with it.
#include "target.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <sodium.h>

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  if (sodium_init() < 0) std::abort();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const waggle::fuzz::Target* const target = waggle::fuzz::Target::all().front();
  target->run({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
