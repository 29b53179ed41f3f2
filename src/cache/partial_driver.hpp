// One blob in progress on disk: a sparse data file and its journal of verified chunks.
// Made by StoreDriver::begin. Format: docs/cache-format.md.
#pragma once

#include "base/bitfield.hpp"
#include "base/blob_layout.hpp"
#include "base/sha256.hpp"
#include "cache/error.hpp"
#include "cache/file_ops_driver.hpp"
#include "cache/journal.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace waggle::cache {

/// A chunk that a resume found in the journal. Its bytes are checked against the journal when first
/// read.
struct HeldChunk {
  ChunkIndex chunk{};
  ProofKind kind = ProofKind::linked;
  Bytes proof;
  std::optional<Midstate> end;  ///< its link, when one was added
};

/// Thread-safe: calls may come from several threads at once, also for different chunks of the same
/// blob. Blocking. Dropping the last handle keeps the files for a later begin();
/// StoreDriver::abandon deletes them.
class Partial {
 public:
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() = default;

  [[nodiscard]] const Digest& digest() const { return header_.digest; }
  [[nodiscard]] const std::string& origin() const { return header_.origin; }
  [[nodiscard]] const BlobLayout& layout() const { return layout_; }
  /// What the resume found, ascending; empty for a new partial. Moves the list out: the second call
  /// gives nothing.
  [[nodiscard]] std::vector<HeldChunk> take_resumed();
  /// A snapshot of the chunks held now.
  [[nodiscard]] Bitfield held() const;

  /// Stores a chunk the caller has verified: data first, then the journal record. On success it
  /// survives kill -9 (a crash of the machine may lose it; the checksum finds that out). A chunk
  /// that is held and was checked is success and not written. Errors: invalid (index, size of
  /// `bytes`, proof over limits::journal_proof_bytes_max), busy (the same chunk is being written by
  /// another thread), disk_full, io, closed, limit_exceeded (journal full: abandon). After an error
  /// the chunk is not held and may be written again.
  Result<void> write_chunk(ChunkIndex chunk, ByteView bytes, ProofKind kind, ByteView proof);
  /// Reads out.size() bytes from `offset`; every chunk touched must be held. The first read of a
  /// resumed chunk checks it whole. Errors: invalid, not_held, corrupt (the chunk was dropped: see
  /// take_dropped), io, closed.
  Result<void> read(std::uint64_t offset, MutableByteView out);
  /// As read() without reading: checks what a resume found and nobody has read yet.
  Result<void> check(std::uint64_t offset, std::uint64_t size);
  /// True when check() would have nothing to do: no I/O. @pre offset + size <= layout().size()
  [[nodiscard]] bool is_checked(std::uint64_t offset, std::uint64_t size) const;
  /// The whole chunk.
  Result<Bytes> read_chunk(ChunkIndex chunk);
  /// Journals the end midstate of a held chunk. Errors: as write_chunk; not_held.
  Result<void> add_link(ChunkIndex chunk, const Midstate& end);
  /// Chunks that failed their checksum since the last call; they are no longer held.
  [[nodiscard]] std::vector<ChunkIndex> take_dropped();
  /// The data file's descriptor, for sendfile of held chunks that were written or read by this
  /// process.
  [[nodiscard]] int fd() const { return data_.descriptor(); }

 private:
  friend class StoreDriver;
  enum class ChunkState : std::uint8_t { absent, writing, unchecked, held };
  /// retired: nothing more is written here, another handle may; sealed: data synced, nothing more
  /// is written; renamed: the data file lies in blobs/; closed: the files are gone.
  enum class Phase : std::uint8_t { open, retired, sealed, renamed, committed, closed };

  Partial(FileOps& ops, std::string directory, JournalHeader header);
  /// Resumes what lies in `directory_`, or starts anew when that is nothing or not this blob.
  Result<void> open_files();
  Result<void> resume(JournalState state);
  Result<void> create();
  /// Appends a record that writer_ has just made; takes it back on failure. `mutex_` is held.
  Result<void> append(const Bytes& record, std::uint64_t chain_before);
  Result<void> check_chunk(ChunkIndex chunk);
  void drop(ChunkIndex chunk);
  void settle(ChunkIndex chunk, bool stored);
  /// Checks every chunk, then syncs the data; `commit_mutex_` is held.
  Result<void> seal();
  /// open -> retired, once no write is under way. False when the partial was not open.
  bool retire();
  [[nodiscard]] Phase phase() const;
  void set_phase(Phase phase);

  FileOps& ops_;
  const std::string directory_;
  const JournalHeader header_;
  const BlobLayout layout_;
  File data_;
  File journal_;
  std::mutex commit_mutex_;  // one commit or abandon at a time; taken before mutex_

  mutable std::mutex mutex_;  // guards everything below
  Phase phase_ = Phase::open;
  std::size_t writers_ = 0;
  std::condition_variable written_;  // writers_ became 0
  JournalWriter writer_;
  std::uint64_t journal_bytes_ = 0;
  std::vector<ChunkState> states_;
  std::vector<std::uint64_t> checksums_;
  std::size_t held_count_ = 0;  // unchecked ones included
  std::vector<HeldChunk> resumed_;
  std::vector<ChunkIndex> dropped_;
};

using PartialHandle = std::shared_ptr<Partial>;

/// Names inside a partial's directory.
inline constexpr const char* partial_data_name = "/data";
inline constexpr const char* partial_journal_name = "/journal";

/// Replays the journal in `directory` and checks that its data file has the journalled size.
/// Errors: not_found (no journal or no data), corrupt (nothing to resume from), io, denied.
[[nodiscard]] Result<JournalState> read_partial(FileOps& ops, const std::string& directory);

}  // namespace waggle::cache
