// The growing proof of a blob: hashed, linked, or both.
#include "transfer/running_proof.hpp"

#include "base/limits.hpp"
#include "transfer/proof.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::transfer;

namespace {

const Bytes& content() {
  static const Bytes bytes(4 * 256 * limits::KiB + 9, std::byte{0x5a});
  return bytes;
}
ByteView chunk_of(const BlobLayout& layout, std::uint32_t i) {
  return ByteView(content()).subspan(layout.chunk_offset(ChunkIndex{i}),
                                     layout.chunk_size(ChunkIndex{i}));
}
std::vector<Midstate> list_of(const BlobLayout& layout) {
  std::vector<Midstate> list;
  Sha256 hash;
  for (std::uint32_t i = 0; i + 1 < layout.chunk_count(); ++i) {
    hash.update(chunk_of(layout, i));
    list.push_back(hash.midstate());
  }
  return list;
}

}  // namespace

TEST_SUITE("transfer/running_proof") {
  TEST_CASE("hashing chunk after chunk proves the blob and collects its list") {
    const BlobLayout layout(content().size());
    RunningProof proof(sha256_of(content()), layout);
    Bitfield have(layout.chunk_count());
    have.set(1);
    CHECK_FALSE(proof.advance(have));
    for (std::uint32_t i = 0; i < layout.chunk_count(); ++i) have.set(i);
    for (std::uint32_t i = 0; i < layout.chunk_count(); ++i) {
      const auto job = proof.advance(have);
      REQUIRE(job);
      CHECK(to_value(job->chunk) == i);
      CHECK_FALSE(proof.advance(have));  // one outstanding
      const LinkHash hash = hash_link(job->begin, layout, job->chunk, chunk_of(layout, i));
      proof.hashed(job->chunk, hash.end, hash.digest);
    }
    CHECK(proof.verdict() == RunningProof::Verdict::proven);
    const auto list = list_of(layout);
    CHECK(std::equal(list.begin(), list.end(), proof.midstates().begin(), proof.midstates().end()));
  }

  TEST_CASE("links that fit the running state need no hashing, others do") {
    const BlobLayout layout(content().size());
    const auto list = list_of(layout);
    RunningProof proof(sha256_of(content()), layout);
    const Bitfield have(layout.chunk_count(), true);
    for (std::uint32_t i = 0; i < layout.chunk_count(); ++i) {
      const LinkProof link = link_proof(list, layout, ChunkIndex{i});
      Midstate begin = link.begin;
      if (i == 2) begin.bytes[0] ^= std::byte{1};  // verified against another list
      proof.add_link(ChunkIndex{i}, begin, link.is_last ? std::nullopt : std::optional(link.end));
    }
    const auto job = proof.advance(have);
    REQUIRE(job);
    CHECK(job->chunk == ChunkIndex{2});
    proof.hashed(job->chunk, list[2], std::nullopt);
    CHECK_FALSE(proof.advance(have));
    CHECK(proof.verdict() == RunningProof::Verdict::proven);
  }

  TEST_CASE("another digest at the end refutes, an unexpected answer changes nothing") {
    const BlobLayout layout(3);
    RunningProof proof(sha256_of(as_bytes("abc")), layout);
    proof.hashed(ChunkIndex{0}, std::nullopt, sha256_of(as_bytes("abc")));
    CHECK(proof.verdict() == RunningProof::Verdict::open);
    REQUIRE(proof.advance(Bitfield(1, true)));
    proof.hashed(ChunkIndex{0}, std::nullopt, sha256_of(as_bytes("abd")));
    CHECK(proof.verdict() == RunningProof::Verdict::refuted);
  }
}
