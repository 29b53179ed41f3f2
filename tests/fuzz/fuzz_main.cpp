// libFuzzer's entry into the one target that is linked with it. With WAGGLE_FUZZ_SEEDS=FOLDER the
// target's own seeds are written there first.
#include "target.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include <sodium.h>

using namespace waggle;

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  if (sodium_init() < 0) std::abort();
  const char* folder = std::getenv("WAGGLE_FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  std::size_t count = 0;
  for (const Bytes& seed : fuzz::Target::all().front()->seeds()) {
    const auto path = std::string(folder) + "/seed-" + std::to_string(count++);
    std::ofstream(path, std::ios::binary)
        .write(as_text(seed).data(), static_cast<std::streamsize>(seed.size()));
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Target* const target = fuzz::Target::all().front();
  target->run({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
