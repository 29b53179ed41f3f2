// Resumable SHA-256 against NIST vectors and OpenSSL's EVP.
#include "base/sha256.hpp"

#include "base/prng.hpp"

#include <doctest/doctest.h>

using namespace waggle;

namespace {

Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  Prng prng(seed);
  Bytes bytes(size);
  for (auto& b : bytes) b = static_cast<std::byte>(prng.next() & 0xffU);
  return bytes;
}

}  // namespace

TEST_SUITE("base/sha256") {
  TEST_CASE("NIST vectors: FIPS 180-2 appendix B") {
    Sha256 abc;
    abc.update(as_bytes("abc"));
    CHECK(abc.finish().hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    Sha256 two_blocks;
    two_blocks.update(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"));
    CHECK(two_blocks.finish().hex() ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(Sha256().finish().hex() ==
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    Sha256 million;
    for (int i = 0; i < 1000; ++i) million.update(as_bytes(std::string(1000, 'a')));
    CHECK(million.finish().hex() ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }

  TEST_CASE("every split at a block boundary resumes to the digest that EVP gives") {
    for (const std::size_t size : {0U, 1U, 63U, 64U, 65U, 640U, 1000U}) {
      const Bytes bytes = random_bytes(size, size + 1);
      for (std::size_t cut = 0; cut <= size; cut += 64) {
        CAPTURE(size);
        CAPTURE(cut);
        Sha256 head;
        head.update(ByteView(bytes).first(cut));
        Sha256 tail(head.midstate(), cut);
        tail.update(ByteView(bytes).subspan(cut));
        CHECK(tail.finish() == sha256_of(bytes));
      }
    }
  }

  TEST_CASE("the length counter survives resuming beyond 512 MiB, where its high word starts") {
    // Padding depends on the bit length: resuming with the length must give another digest than
    // resuming at zero, and the same one as going on without a break.
    const Bytes block = random_bytes(64, 9);
    const std::uint64_t far = std::uint64_t{1} << 30U;
    Sha256 whole(sha256_initial_midstate(), far);
    whole.update(block);
    whole.update(block);
    Sha256 first(sha256_initial_midstate(), far);
    first.update(block);
    Sha256 second(first.midstate(), first.length());
    second.update(block);
    CHECK(second.finish() == whole.finish());
    Sha256 near(first.midstate(), 64);
    near.update(block);
    CHECK(near.finish() != whole.finish());
  }

  TEST_CASE("the first midstate is the initial hash value") {
    CHECK(Sha256().midstate() == sha256_initial_midstate());
    CHECK(to_hex(sha256_initial_midstate().bytes).substr(0, 16) == "6a09e667bb67ae85");
  }

  TEST_CASE("finish leaves the object able to go on") {
    Sha256 hash;
    hash.update(as_bytes("a"));
    CHECK(hash.finish() == sha256_of(as_bytes("a")));
    hash.update(as_bytes("bc"));
    CHECK(hash.finish() == sha256_of(as_bytes("abc")));
  }
}
