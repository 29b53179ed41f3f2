// Identity, incarnation and keys on disk.
#include "node/error.hpp"
#include "node/state_files_driver.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

using namespace waggle;
using namespace waggle::node;

namespace {

struct TemporaryDirectory {
  std::string path;
  TemporaryDirectory() {
    std::string pattern = "/tmp/waggle-state-XXXXXX";
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_SUITE("node/state_files") {
  TEST_CASE("the identity is made once and kept; a broken one is never replaced") {
    const TemporaryDirectory dir;
    SeededRandomSource random(1);
    const NodeId id = load_identity(dir.path, random).node_id();
    CHECK(load_identity(dir.path, random).node_id() == id);
    REQUIRE(write_file_atomically(dir.path + "/identity", "rubbish\n", 0600));
    CHECK_THROWS_AS((void)load_identity(dir.path, random), StartError);
  }

  TEST_CASE("incarnations only rise, whatever the clock says") {
    const TemporaryDirectory dir;
    CHECK(next_incarnation(dir.path, 1000) == 1000);
    CHECK(next_incarnation(dir.path, 5) == 1001);
    REQUIRE(save_incarnation(dir.path, 9000));
    CHECK(next_incarnation(dir.path, 8000) == 9001);
    REQUIRE(write_file_atomically(dir.path + "/incarnation", "", 0644));
    CHECK(next_incarnation(dir.path, 7) == 7);
  }

  TEST_CASE("key files: what is wrong, where, and what to do") {
    const TemporaryDirectory dir;
    const std::string file = dir.path + "/cluster.key";
    try {
      (void)load_keys({file}, "w.yaml:3");
      FAIL("a missing key file was accepted");
    } catch (const StartError& error) {
      CHECK(error.exit_code() == 2);
      CHECK(std::string(error.what()).find("w.yaml:3: cluster.key_files: " + file) == 0);
      CHECK(std::string(error.what()).find("waggle keygen") != std::string::npos);
    }
    REQUIRE(write_file_atomically(file, "c2hvcnQ=\n", 0600));
    CHECK_THROWS_AS((void)load_keys({file}, "w.yaml:3"), StartError);
    SeededRandomSource random(3);
    const ClusterKey key = ClusterKey::generate(random);
    REQUIRE(write_file_atomically(file, key.to_base64() + "\n", 0600));
    CHECK(load_keys({file}, "w.yaml:3").front().key_id() == key.key_id());
    const std::string copy = dir.path + "/copy.key";
    REQUIRE(write_file_atomically(copy, key.to_base64() + "\n", 0600));
    try {
      (void)load_keys({file, copy}, "w.yaml:3");
      FAIL("the same key twice was accepted");
    } catch (const StartError& error) {
      CHECK(std::string(error.what()).find(copy + ": is the key of " + file) != std::string::npos);
    }
  }
}
