// What the store's tests share: blobs made from a seed, and calls that must succeed.
#pragma once

#include "base/blob_layout.hpp"
#include "base/digest.hpp"
#include "base/prng.hpp"
#include "cache/store_driver.hpp"
#include "result_strings.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace waggle::cache {

inline Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  Prng prng(seed);
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t word = prng.next();
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

/// A blob whose bytes, digest, links and proofs all follow from (size, seed).
struct TestBlob {
  TestBlob(std::uint64_t size, std::uint64_t seed)
      : bytes(random_bytes(size, seed)), digest(sha256_of(bytes)), layout(size) {
    for (std::uint32_t i = 0; i + 1 < layout.chunk_count(); ++i) midstates.push_back(midstate(i));
  }
  [[nodiscard]] ByteView chunk(std::uint32_t index) const {
    return ByteView(bytes).subspan(layout.chunk_offset(ChunkIndex{index}),
                                   layout.chunk_size(ChunkIndex{index}));
  }
  [[nodiscard]] Bytes proof(std::uint32_t index) const { return random_bytes(100 + index, index); }
  /// Any 32 bytes do: the store keeps midstates without judging them.
  [[nodiscard]] Midstate midstate(std::uint32_t index) const {
    Midstate state;
    const Bytes random = random_bytes(32, bytes.size() + index);
    std::copy(random.begin(), random.end(), state.bytes.begin());
    return state;
  }
  [[nodiscard]] std::uint32_t chunk_count() const { return layout.chunk_count(); }

  Bytes bytes;
  Digest digest;
  BlobLayout layout;
  std::vector<Midstate> midstates;
};

inline const std::string test_origin = "https://registry.example:443";

inline std::unique_ptr<StoreDriver> must_open(const std::string& root, FileOps& ops) {
  auto store = StoreDriver::open(root, ops);
  REQUIRE_MESSAGE(store, store.error().message());
  return std::move(*store);
}

inline Result<void> write(const PartialHandle& partial, const TestBlob& blob, std::uint32_t index) {
  return partial->write_chunk(ChunkIndex{index}, blob.chunk(index), ProofKind::crec,
                              blob.proof(index));
}

inline Result<void> write_missing(const PartialHandle& partial, const TestBlob& blob) {
  for (std::uint32_t i = 0; i < blob.chunk_count(); ++i) {
    if (const auto written = write(partial, blob, i); !written) return written;
  }
  return {};
}

/// begin, write, commit.
inline Result<void> store_whole(StoreDriver& store, const TestBlob& blob) {
  const auto partial = store.begin(blob.digest, test_origin, blob.bytes.size());
  if (!partial) return partial.error();
  if (const auto written = write_missing(*partial, blob); !written) return written;
  return store.commit(*partial, blob.midstates);
}

/// The complete blob's bytes; nullopt when there is none.
inline std::optional<Bytes> read_whole(StoreDriver& store, const Digest& digest) {
  const auto handle = store.open_blob(digest);
  if (!handle) return std::nullopt;
  Bytes bytes((*handle)->size());
  if (!(*handle)->read(0, bytes)) return std::nullopt;
  return bytes;
}

}  // namespace waggle::cache
