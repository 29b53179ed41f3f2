// Names on disk: built and understood again.
#include "cache/store_paths.hpp"

#include "base/bytes.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::cache;

TEST_SUITE("cache/store_paths") {
  TEST_CASE("the layout is what docs/cache-format.md says") {
    const StorePaths paths("/var/lib/waggle");
    const std::string hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const Digest abc = sha256_of(as_bytes("abc"));
    CHECK(paths.blob(abc) == "/var/lib/waggle/blobs/sha256/ba/" + hex);
    CHECK(paths.sidecar(abc) == "/var/lib/waggle/midstates/" + hex);
    CHECK(paths.pin(abc) == "/var/lib/waggle/pins/" + hex);
    // BLAKE2b-128 of "https://registry.example:443", by Python's hashlib.
    CHECK(paths.partial(abc, "https://registry.example:443") ==
          "/var/lib/waggle/partial/" + hex + "-2b975ed9df3ca058e5e5c80dd56ba373");
    const Digest sha512(DigestAlgorithm::sha512, Bytes(64, std::byte{0xab}));
    CHECK(paths.blob_directory(sha512) == "/var/lib/waggle/blobs/sha512/ab");
  }

  TEST_CASE("only whole names are understood") {
    const Digest abc = sha256_of(as_bytes("abc"));
    const Digest sha512(DigestAlgorithm::sha512, Bytes(64, std::byte{0xab}));
    CHECK(StorePaths::parse_hex(abc.hex()) == abc);
    CHECK(StorePaths::parse_hex(sha512.hex()) == sha512);
    CHECK_FALSE(StorePaths::parse_hex(abc.hex().substr(1)));
    CHECK_FALSE(StorePaths::parse_hex("BA" + abc.hex().substr(2)));
    CHECK_FALSE(StorePaths::parse_hex(""));
    const std::string partial = abc.hex() + "-" + std::string(32, '0');
    CHECK(StorePaths::is_partial_name(partial));
    CHECK_FALSE(StorePaths::is_partial_name(partial + "00"));
    CHECK_FALSE(StorePaths::is_partial_name(abc.hex()));
    CHECK_FALSE(StorePaths::is_partial_name(abc.hex() + "-" + std::string(32, 'g')));
    CHECK(StorePaths::is_temporary_name(abc.hex() + ".tmp12"));
    CHECK_FALSE(StorePaths::is_temporary_name("notes.tmp"));
    CHECK_FALSE(StorePaths::is_temporary_name(abc.hex()));
  }
}
