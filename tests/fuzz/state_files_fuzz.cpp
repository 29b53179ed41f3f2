// The small files of data_dir and the key files.
#include "node/error.hpp"
#include "node/state_files_driver.hpp"
#include "target.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace waggle::fuzz {
namespace {

using namespace waggle::node;

/// In memory where the machine has such a folder; gone when the program ends.
struct Folder {
  std::string path;
  Folder() {
    path = std::filesystem::is_directory("/dev/shm") ? "/dev/shm/waggle-fuzz-XXXXXX"
                                                     : "/tmp/waggle-fuzz-XXXXXX";
    expect(::mkdtemp(path.data()) != nullptr, "there is room for a file");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

void write(const std::string& path, ByteView content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(as_text(content).data(), static_cast<std::streamsize>(content.size()));
}

void check_identity(const std::string& folder, ByteView content) {
  write(folder + "/identity", content);
  SeededRandomSource random(1);
  try {
    const auto seed = from_hex(as_text(content.first(std::min<std::size_t>(content.size(), 64))));
    const Identity identity = load_identity(folder, random);
    expect(seed && as_text(*seed) == as_text(identity.seed().view()),
           "an identity is the one that the file holds");
  } catch (const StartError&) {
    expect(read_file(folder + "/identity", 1U << 20U).value() == as_text(content),
           "an identity that cannot be read is never replaced");
  }
}

void check_incarnation(const std::string& folder, ByteView content, std::uint64_t wall_ms) {
  write(folder + "/incarnation", content);
  const std::uint64_t first = next_incarnation(folder, wall_ms);
  expect(first >= wall_ms, "an incarnation is not before the clock");
  const std::uint64_t second = next_incarnation(folder, 0);
  expect(second > first, "incarnations rise");
}

/// One byte chooses the file.
void run(ByteView bytes) {
  static const Folder folder;
  Input input(bytes);
  switch (input.byte() % 3) {
    case 0:
      check_identity(folder.path, input.rest());
      break;
    case 1: {
      const std::uint64_t wall_ms = input.integer<std::uint32_t>();
      check_incarnation(folder.path, input.rest(), wall_ms);
      break;
    }
    default:
      write(folder.path + "/key", input.rest());
      try {
        expect(load_keys({folder.path + "/key"}, "w.yaml:3").size() == 1, "a key file has one key");
      } catch (const StartError& error) {
        expect(error.exit_code() == 2, "a bad key file is a matter of configuration");
      }
  }
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> out;
  const std::string hex(64, 'a');
  for (const std::string& text :
       {std::string(1, '\0') + hex + "\n", std::string(1, '\0') + hex.substr(1) + "g",
        std::string("\1\0\0\0\0", 5) + "1700000000000\n", std::string("\1\0\0\0\0", 5) + "x",
        std::string("\2AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"),
        std::string("\2c2hvcnQ=")}) {
    out.push_back(bytes_of(text));
  }
  return out;
}

const Target target("state_files", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
