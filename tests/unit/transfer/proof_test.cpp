// Links and CRECs over real bytes and real signatures.
#include "transfer/proof.hpp"
#include "../identity_of.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using waggle::testing::identity_of;
using namespace waggle::transfer;

namespace {

/// A blob of 64 chunks of 256 KiB less a few bytes, its list and its digest.
struct Toy {
  Bytes bytes;
  BlobLayout layout;
  std::vector<Midstate> list;
  Digest digest;

  Toy() : bytes(16 * limits::MiB - 100), layout(bytes.size()) {
    Prng prng(7);
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      store_le(MutableByteView(bytes).subspan(i), prng.next());
    }
    digest = sha256_of(bytes);
    Sha256 hash;
    for (std::uint32_t i = 0; i + 1 < layout.chunk_count(); ++i) {
      hash.update(chunk(i));
      list.push_back(hash.midstate());
    }
  }
  [[nodiscard]] ByteView chunk(std::uint32_t i) const {
    return ByteView(bytes).subspan(layout.chunk_offset(ChunkIndex{i}),
                                   layout.chunk_size(ChunkIndex{i}));
  }
  [[nodiscard]] bool verifies(std::span<const Midstate> with, std::uint32_t i,
                              ByteView data) const {
    return verify_chunk(link_proof(with, layout, ChunkIndex{i}), digest, layout, ChunkIndex{i},
                        data);
  }
};

const Toy& toy() {
  static const Toy instance;
  return instance;
}

}  // namespace

TEST_SUITE("transfer/proof") {
  TEST_CASE("each of 64 links verifies alone, in any order") {
    REQUIRE(toy().layout.chunk_count() == 64);
    std::vector<std::uint32_t> order(64);
    for (std::uint32_t i = 0; i < 64; ++i) order[i] = 63 - i;
    for (const std::uint32_t i : order) CHECK(toy().verifies(toy().list, i, toy().chunk(i)));
    Prng prng(3);
    prng.shuffle(std::span(order));
    for (const std::uint32_t i : order) CHECK(toy().verifies(toy().list, i, toy().chunk(i)));
  }

  TEST_CASE("a flipped bit, a wrong length and a chunk in another place fail") {
    for (const std::uint32_t i : {0U, 31U, 63U}) {
      Bytes bad = to_bytes(toy().chunk(i));
      bad[bad.size() / 2] ^= std::byte{1};
      CHECK_FALSE(toy().verifies(toy().list, i, bad));
      bad[bad.size() / 2] ^= std::byte{1};
      CHECK(toy().verifies(toy().list, i, bad));
      bad.pop_back();
      CHECK_FALSE(toy().verifies(toy().list, i, bad));
    }
    CHECK_FALSE(toy().verifies(toy().list, 5, toy().chunk(6)));
    CHECK_FALSE(toy().verifies(toy().list, 6, toy().chunk(5)));
  }

  TEST_CASE("a forged entry breaks exactly the two links it joins") {
    std::vector<Midstate> forged = toy().list;
    forged[10].bytes[0] ^= std::byte{0x80};
    for (std::uint32_t i = 8; i < 14; ++i) {
      CHECK(toy().verifies(forged, i, toy().chunk(i)) == (i != 10 && i != 11));
    }
  }

  TEST_CASE("a list forged forwards over other bytes never reaches the digest") {
    // A liar replaces chunk 60 and recomputes every later state: only the last link tells.
    Toy lie = toy();
    lie.bytes[lie.layout.chunk_offset(ChunkIndex{60})] ^= std::byte{1};
    Sha256 hash;
    for (std::uint32_t i = 0; i < 63; ++i) {
      hash.update(lie.chunk(i));
      lie.list[i] = hash.midstate();
    }
    for (std::uint32_t i = 0; i < 63; ++i) CHECK(lie.verifies(lie.list, i, lie.chunk(i)));
    CHECK_FALSE(lie.verifies(lie.list, 63, lie.chunk(63)));
  }

  TEST_CASE("hashing links one after another gives the list and the digest") {
    Midstate running = sha256_initial_midstate();
    for (std::uint32_t i = 0; i < 63; ++i) {
      const LinkHash hash = hash_link(running, toy().layout, ChunkIndex{i}, toy().chunk(i));
      REQUIRE(hash.end == toy().list[i]);
      CHECK_FALSE(hash.digest);
      running = *hash.end;
    }
    const LinkHash last = hash_link(running, toy().layout, ChunkIndex{63}, toy().chunk(63));
    CHECK(last.digest == toy().digest);
    CHECK_FALSE(last.end);
  }

  TEST_CASE("one chunk and no bytes at all are proven by the digest alone") {
    const Digest empty =
        *Digest::parse("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(verify_chunk(link_proof({}, BlobLayout(0), ChunkIndex{0}), empty, BlobLayout(0),
                       ChunkIndex{0}, {}));
    // FIPS 180-4 example "abc".
    const Digest abc =
        *Digest::parse("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const BlobLayout layout(3);
    CHECK(verify_chunk(link_proof({}, layout, ChunkIndex{0}), abc, layout, ChunkIndex{0},
                       as_bytes("abc")));
    CHECK_FALSE(verify_chunk(link_proof({}, layout, ChunkIndex{0}), abc, layout, ChunkIndex{0},
                             as_bytes("abd")));
  }

  TEST_CASE("a CREC speaks for one cluster, origin, digest, size, chunk and hash only") {
    const Identity signer = identity_of(1);
    const CrecSubject subject{.cluster = "waggle",
                              .origin = "https://a:443",
                              .digest = toy().digest,
                              .size = toy().bytes.size(),
                              .chunk = ChunkIndex{4}};
    std::array<std::byte, 32> sha256{};
    const Digest hash = sha256_of(toy().chunk(4));
    std::copy(hash.bytes().begin(), hash.bytes().end(), sha256.begin());
    const Crec crec = Crec::make(signer, subject, sha256);
    CHECK(crec.is_valid(subject));
    CrecSubject other = subject;
    other.cluster = "wagglf";
    CHECK_FALSE(crec.is_valid(other));
    other = subject;
    other.origin = "https://b:443";
    CHECK_FALSE(crec.is_valid(other));
    other = subject;
    other.digest = sha256_of(as_bytes("x"));
    CHECK_FALSE(crec.is_valid(other));
    other = subject;
    ++other.size;
    CHECK_FALSE(crec.is_valid(other));
    other = subject;
    other.chunk = ChunkIndex{5};
    CHECK_FALSE(crec.is_valid(other));
    Crec changed = crec;
    changed.sha256[0] ^= std::byte{1};
    CHECK_FALSE(changed.is_valid(subject));
    changed = crec;
    changed.signer = identity_of(2).public_key();
    CHECK_FALSE(changed.is_valid(subject));
    CHECK(
        verify_chunk(CrecProof{sha256}, toy().digest, toy().layout, ChunkIndex{4}, toy().chunk(4)));
    CHECK_FALSE(
        verify_chunk(CrecProof{sha256}, toy().digest, toy().layout, ChunkIndex{4}, toy().chunk(5)));
  }

  TEST_CASE("a CREC record survives, any other length is malformed") {
    const Crec crec = Crec::make(identity_of(1), {.cluster = "c", .origin = "o", .digest = {}}, {});
    const Bytes record = crec.to_record();
    CHECK(*Crec::from_record(record) == crec);
    CHECK_FALSE(Crec::from_record(ByteView(record).first(127)).has_value());
    CHECK_FALSE(Crec::from_record({}).has_value());
  }

  TEST_CASE("a list signature covers cluster, digest, size and every entry, and is no CREC") {
    const Identity prover = identity_of(3);
    const auto signature =
        ListSignature::make(prover, "waggle", toy().digest, toy().bytes.size(), toy().list);
    CHECK(signature.is_valid("waggle", toy().digest, toy().bytes.size(), toy().list));
    CHECK_FALSE(signature.is_valid("other", toy().digest, toy().bytes.size(), toy().list));
    CHECK_FALSE(signature.is_valid("waggle", sha256_of({}), toy().bytes.size(), toy().list));
    CHECK_FALSE(signature.is_valid("waggle", toy().digest, toy().bytes.size() + 1, toy().list));
    std::vector<Midstate> changed = toy().list;
    std::swap(changed[1], changed[2]);
    CHECK_FALSE(signature.is_valid("waggle", toy().digest, toy().bytes.size(), changed));
    const Crec crossed{list_hash(toy().list), signature.prover, signature.signature};
    CHECK_FALSE(crossed.is_valid({.cluster = "waggle",
                                  .origin = "",
                                  .digest = toy().digest,
                                  .size = toy().bytes.size(),
                                  .chunk = ChunkIndex{0}}));
  }
}
