// Runs the targets' own seeds and every kept input through them, with the ordinary compiler: what a
// fuzzer found once stays found.
//   fuzz_replay CORPUS [TARGET]      inputs are CORPUS/TARGET/*
#include "target.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <sodium.h>

namespace {

namespace files = std::filesystem;
using namespace waggle;

Bytes content_of(const files::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return to_bytes(as_bytes(text));
}

/// stderr tells where the program was, should it end there.
void run(const fuzz::Target& target, const std::string& name, ByteView input) {
  std::fprintf(stderr, "%.*s %s\n", static_cast<int>(target.name.size()), target.name.data(),
               name.c_str());
  target.run(input);
}

std::size_t replay(const fuzz::Target& target, const files::path& folder) {
  std::size_t count = 0;
  for (const Bytes& seed : target.seeds()) {
    run(target, "seed " + std::to_string(count++), seed);
    for (std::size_t size = 0; size < seed.size(); size += 1 + seed.size() / 16) {
      run(target, "seed, cut to " + std::to_string(size), ByteView(seed).first(size));
    }
  }
  if (!files::is_directory(folder)) return count;
  for (const auto& entry : files::directory_iterator(folder)) {
    run(target, entry.path().filename().string(), content_of(entry.path()));
    ++count;
  }
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  const std::string second = argc > 2 ? argv[2] : "";
  if (first.empty() || sodium_init() < 0) {
    std::fprintf(stderr, "usage: fuzz_replay CORPUS [TARGET]\n");
    return 2;
  }
  std::size_t inputs = 0;
  std::size_t targets = 0;
  for (const fuzz::Target* target : fuzz::Target::all()) {
    if (!second.empty() && second != target->name) continue;
    inputs += replay(*target, files::path(first) / target->name);
    ++targets;
  }
  std::printf("%zu inputs of %zu targets\n", inputs, targets);
  return targets == 0 ? 1 : 0;
}
