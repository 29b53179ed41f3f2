// How chunks prove themselves: midstate links from the initial value to the digest, and CRECs
// signed by the node that
// took a chunk from upstream. Pure functions and values. Format: docs/wire-session.md.
#pragma once

#include "base/blob_layout.hpp"
#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/sha256.hpp"
#include "transfer/exchange.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::transfer {

// A midstate list has chunk_count - 1 entries: entry i is the state after chunk i, so chunk i + 1
// begins with it.
// Chunk 0 begins with the initial value; the last chunk, padded, ends in the digest. One chunk: an
// empty list.

/// The state that chunk `chunk` begins with. @pre list has chunk_count - 1 entries
[[nodiscard]] Midstate link_begin(std::span<const Midstate> list, ChunkIndex chunk);
/// The proof of one chunk from a list. @pre list.size() + 1 == layout.chunk_count()
[[nodiscard]] LinkProof link_proof(std::span<const Midstate> list, const BlobLayout& layout,
                                   ChunkIndex chunk);

/// Checks the bytes of a chunk against its proof. Cost: one sha256 pass over `bytes`.
/// False when the length is not the chunk's.
[[nodiscard]] bool verify_chunk(const ChunkProof& proof, const Digest& digest,
                                const BlobLayout& layout, ChunkIndex chunk, ByteView bytes);

/// What HashLink asks for: the state after the chunk, or the digest of the blob when it is the
/// last.
struct LinkHash {
  std::optional<Midstate> end;
  std::optional<Digest> digest;
};
/// @pre bytes.size() is the chunk's size
[[nodiscard]] LinkHash hash_link(const Midstate& begin, const BlobLayout& layout, ChunkIndex chunk,
                                 ByteView bytes);

/// What a CREC is about.
struct CrecSubject {
  std::string_view cluster;
  std::string_view origin;
  Digest digest;
  std::uint64_t size = 0;
  ChunkIndex chunk{};
};
/// A signed statement "upstream gave me this chunk". @source DESIGN section 5, "Who may vouch"
struct Crec {
  std::array<std::byte, 32> sha256{};
  NodePublicKey signer;
  Signature signature;
  bool operator==(const Crec&) const = default;

  /// Cost about 36 us.
  [[nodiscard]] static Crec make(const Identity& identity, const CrecSubject& subject,
                                 const std::array<std::byte, 32>& sha256);
  /// Cost about 100 us: check once, keep the verdict.
  [[nodiscard]] bool is_valid(const CrecSubject& subject) const;
  /// 128 bytes: sha256, signer, signature. Kept in journals.
  [[nodiscard]] Bytes to_record() const;
  /// malformed when the length differs.
  [[nodiscard]] static Result<Crec> from_record(ByteView record);
};

/// A prover's statement "this list links the blob". The list itself is checked link by link.
struct ListSignature {
  NodePublicKey prover;
  Signature signature;
  bool operator==(const ListSignature&) const = default;

  [[nodiscard]] static ListSignature make(const Identity& identity, std::string_view cluster,
                                          const Digest& digest, std::uint64_t size,
                                          std::span<const Midstate> list);
  [[nodiscard]] bool is_valid(std::string_view cluster, const Digest& digest, std::uint64_t size,
                              std::span<const Midstate> list) const;
};

/// BLAKE2b-256 of a list: names it in signatures and when provers are compared.
[[nodiscard]] std::array<std::byte, 32> list_hash(std::span<const Midstate> list);

}  // namespace waggle::transfer
