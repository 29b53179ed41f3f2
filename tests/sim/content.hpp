// Symbolic content: a blob is a name and a size, a chunk's bytes are a variant number (0 = the true
// ones), and hashes are functions of both. Verdicts follow from them as they would from real bytes.
#pragma once

#include "base/blob_layout.hpp"
#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/sha256.hpp"
#include "transfer/exchange.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace waggle::sim {

using Variant = std::uint32_t;
inline constexpr Variant true_bytes = 0;

struct Blob {
  Digest digest;
  std::uint64_t size = 0;
  [[nodiscard]] BlobLayout layout() const { return BlobLayout(size); }
};

/// The blob of this name.
[[nodiscard]] Blob make_blob(const std::string& name, std::uint64_t size);

/// Whether `chunk` covers the same bytes when the blob is taken for `other_size` bytes long.
[[nodiscard]] bool same_chunk(const Blob& blob, std::uint64_t other_size, ChunkIndex chunk);

/// Plain sha256 of a chunk's bytes, symbolically.
[[nodiscard]] std::array<std::byte, 32> chunk_sha256(const Digest& blob, ChunkIndex chunk,
                                                     Variant variant);
/// The midstate before chunk `chunk` of the true blob; chunk 0's is the real initial value.
[[nodiscard]] Midstate true_midstate(const Digest& blob, std::uint32_t chunk);
/// The list a prover of the true blob has.
[[nodiscard]] std::vector<Midstate> true_midstates(const Blob& blob);

/// What hashing (blob, chunk, variant) from `begin` gives: the next true midstate (or the digest at
/// the end) when everything is true, something else otherwise.
struct LinkEnd {
  std::optional<Midstate> end;
  std::optional<Digest> digest;
};
[[nodiscard]] LinkEnd hash_link(const Digest& blob, const BlobLayout& layout, ChunkIndex chunk,
                                Variant variant, const Midstate& begin);
/// What VerifyChunk finds.
[[nodiscard]] bool proves(const transfer::ChunkProof& proof, const Digest& blob,
                          const BlobLayout& layout, ChunkIndex chunk, Variant variant);

}  // namespace waggle::sim
