// The journal of a partial blob and the midstate sidecar of a proven one, as bytes. Pure codec: no files here.
// Format: docs/cache-format.md.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/sha256.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::cache {

/// XXH3-64 with a seed: guards against bit rot and torn writes, never against people. About 10 GB/s.
[[nodiscard]] std::uint64_t checksum(ByteView bytes, std::uint64_t seed = 0);

/// Why a held chunk is believed.
enum class ProofKind : std::uint8_t {
  crec = 1,    ///< a signed record of the node that took it from upstream; the proof bytes are that record
  linked = 2,  ///< it links two midstates of a list; proof bytes are empty or the caller's own
  own = 3,     ///< this node took it from upstream; the proof bytes are its own record
};

/// What the journal names the blob by.
struct JournalHeader {
  Digest digest;
  std::string origin;  ///< at most limits::origin_bytes_max
  std::uint64_t size = 0;
  bool operator==(const JournalHeader&) const = default;
};

struct JournalChunk {
  std::uint64_t checksum = 0;  ///< of the chunk's bytes, seed 0
  ProofKind kind = ProofKind::linked;
  Bytes proof;  ///< at most limits::journal_proof_bytes_max
  bool operator==(const JournalChunk&) const = default;
};

/// A journal replayed: the state after its longest valid prefix.
struct JournalState {
  JournalHeader header;
  std::map<ChunkIndex, JournalChunk> chunks;  ///< later records replace earlier ones; drops erase
  std::map<ChunkIndex, Midstate> links;       ///< end midstate of a chunk
  std::uint64_t valid_bytes = 0;              ///< length of the prefix; append here
  std::uint64_t chain = 0;                    ///< checksum of the last valid record; seeds the next
  bool operator==(const JournalState&) const = default;
};

/// Writes records. Each carries its length and a checksum seeded by its predecessor's, so a record is only ever valid
/// at its place in its own journal.
class JournalWriter {
 public:
  /// Starts a journal; the first record must be header().
  JournalWriter() = default;
  /// Goes on after a replay.
  explicit JournalWriter(std::uint64_t chain) : chain_(chain) {}

  /// @pre header.origin and sizes are within limits (each call below likewise)
  [[nodiscard]] Bytes header(const JournalHeader& header);
  [[nodiscard]] Bytes chunk(ChunkIndex index, const JournalChunk& chunk);
  [[nodiscard]] Bytes link(ChunkIndex index, const Midstate& end);
  [[nodiscard]] Bytes drop(ChunkIndex index);
  [[nodiscard]] std::uint64_t chain() const { return chain_; }
  /// Takes back the last record (its append failed): the next one is chained to `chain` again.
  void rewind(std::uint64_t chain) { chain_ = chain; }

 private:
  [[nodiscard]] Bytes seal(ByteView payload);
  std::uint64_t chain_ = 0;
};

/// Replays a journal: the longest valid prefix counts, a torn tail is ignored.
/// Errors: truncated or malformed when not even the header is whole; unsupported for another format version;
/// limit_exceeded when `bytes` exceeds limits::journal_bytes_max. Cost O(bytes).
[[nodiscard]] Result<JournalState> replay_journal(ByteView bytes);

/// What outlives the copy: the size and the midstates at chunk boundaries of a blob whose digest was proven here.
struct MidstateList {
  Digest digest;
  std::uint64_t size = 0;
  std::vector<Midstate> midstates;  ///< at most one per chunk; empty when there are none to keep
  bool operator==(const MidstateList&) const = default;
};

inline constexpr std::size_t sidecar_head_bytes_max = 96;

/// @pre midstates.size() <= chunk count of the size
[[nodiscard]] Bytes encode_sidecar(const MidstateList& list);
/// Strict: every byte of `bytes` is accounted for. truncated, malformed, unsupported, limit_exceeded.
[[nodiscard]] Result<MidstateList> decode_sidecar(ByteView bytes);
/// Reads digest and size from the first sidecar_head_bytes_max bytes (or all, if fewer); midstates stay empty.
[[nodiscard]] Result<MidstateList> decode_sidecar_head(ByteView bytes);

}  // namespace waggle::cache
