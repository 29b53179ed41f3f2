// The cache on disk: complete blobs, partial blobs, midstate sidecars and pins under one data
// directory. Blocking POSIX calls behind FileOps; meant for a worker pool. Layout and formats:
// docs/cache-format.md.
#pragma once

#include "cache/error.hpp"
#include "cache/file_ops_driver.hpp"
#include "cache/journal.hpp"
#include "cache/partial_driver.hpp"
#include "cache/store_paths.hpp"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace waggle::cache {

/// A complete blob, open for reading; goes on working after remove(). Thread-safe.
class BlobFile {
 public:
  BlobFile(File file, std::uint64_t size) : file_(std::move(file)), size_(size) {}
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// For sendfile; lives as long as this object.
  [[nodiscard]] int fd() const { return file_.descriptor(); }
  /// Fills `out` from `offset`. Errors: invalid (beyond the end), corrupt (the file is shorter than
  /// it was), io.
  Result<void> read(std::uint64_t offset, MutableByteView out) const;
  /// Tells the kernel that this range will not be read again soon; does nothing below
  /// limits::fadvise_bytes_min.
  void drop_cached(std::uint64_t offset, std::uint64_t size) const;

 private:
  File file_;
  std::uint64_t size_;
};
using BlobHandle = std::shared_ptr<const BlobFile>;

struct StoredBlob {
  Digest digest;
  std::uint64_t size = 0;
  std::int64_t last_use = 0;  ///< wall clock of the commit or the last touch() [s since the epoch]
  bool pinned = false;
};
struct StoredPartial {
  Digest digest;
  std::string origin;
  std::uint64_t size = 0;
  Bitfield held;  ///< journalled chunks; each is checked when first read
  std::uint64_t held_bytes = 0;
  std::int64_t last_use = 0;  ///< wall clock of the last write [s since the epoch]
};
struct Recovered {
  std::vector<StoredBlob> blobs;        ///< ascending by digest
  std::vector<StoredPartial> partials;  ///< ascending by (digest, origin)
  std::vector<Digest> pins;             ///< ascending; also of digests that are not stored
  std::size_t removed = 0;              ///< leftovers of crashes that were deleted
};

/// Thread-safe. One process per data directory. Errors are CacheErrors; nothing throws.
class StoreDriver {
 public:
  /// Makes the directories and takes the lock. Errors: locked, denied, disk_full, io.
  /// @param ops  must outlive the store and every handle
  [[nodiscard]] static Result<std::unique_ptr<StoreDriver>> open(const std::string& data_dir,
                                                                 FileOps& ops = posix_file_ops());

  /// What is on disk, after removing leftovers of crashes. Call once, before begin(). Cost: one
  /// stat per blob and one journal replay per partial. A complete blob counts when it was renamed
  /// into place and has its proven size.
  [[nodiscard]] Result<Recovered> recover();

  /// Creates or resumes the partial of (digest, origin). A partial of another size is replaced.
  /// Errors: already_stored, busy (it is open: neither closed nor its handles dropped), invalid
  /// (origin or size over limits), limit_exceeded (limits::partials_max), disk_full, io.
  [[nodiscard]] Result<PartialHandle> begin(const Digest& digest, const std::string& origin,
                                            std::uint64_t size);
  // The calls on a partial, for callers that hold only the store.
  Result<void> write_chunk(const PartialHandle& partial, ChunkIndex chunk, ByteView bytes,
                           ProofKind kind, ByteView proof) {
    return partial->write_chunk(chunk, bytes, kind, proof);
  }
  Result<void> read(const PartialHandle& partial, std::uint64_t offset, MutableByteView out) {
    return partial->read(offset, out);
  }
  Result<Bytes> read_chunk(const PartialHandle& partial, ChunkIndex chunk) {
    return partial->read_chunk(chunk);
  }
  Result<void> add_link(const PartialHandle& partial, ChunkIndex chunk, const Midstate& end) {
    return partial->add_link(chunk, end);
  }
  /// Makes the blob complete and durable: checks resumed chunks nobody has read yet, syncs the
  /// data, writes the sidecar, renames into blobs/, syncs the directories. Reads through the handle
  /// go on working, writes are closed. May be called again after an error other than closed.
  /// @pre the caller has proven the digest
  /// @param midstates  at chunk boundaries, at most one per chunk; may be empty
  /// Errors: incomplete, corrupt (chunks were dropped, see take_dropped; fetch them and commit
  /// again), disk_full, io (when the data could not be synced the partial is damaged and removed:
  /// later calls say closed), invalid.
  Result<void> commit(const PartialHandle& partial, std::span<const Midstate> midstates);
  /// Ends the writing: waits for a write under way, then begin() may resume the partial. The handle
  /// goes on reading what it held; its writes, commit and abandon say closed. No-op when the
  /// partial is committed or abandoned.
  Result<void> close(const PartialHandle& partial);
  /// Closes the partial for everyone and deletes its files. Later calls on the handle say closed.
  Result<void> abandon(const PartialHandle& partial);
  /// Deletes a partial that nobody has open. Errors: busy, not_found, io.
  Result<void> remove_partial(const Digest& digest, const std::string& origin);

  /// Errors: not_found, io, corrupt (not a plain file).
  [[nodiscard]] Result<BlobHandle> open_blob(const Digest& digest);
  /// Deletes a complete blob and its pin; open handles go on reading, the sidecar stays. Errors:
  /// not_found, io.
  Result<void> remove(const Digest& digest);
  /// Notes the use on disk, so that eviction's order outlives a restart. Errors: not_found, io.
  Result<void> touch(const Digest& digest);
  /// Pins outlive a restart. Pinning a digest that is not stored is allowed.
  Result<void> set_pinned(const Digest& digest, bool pinned);

  /// Errors: not_found, corrupt (the sidecar was removed), io.
  [[nodiscard]] Result<MidstateList> read_midstates(const Digest& digest);
  /// Durable when it returns. Beyond limits::sidecars_max the oldest without a copy go first.
  Result<void> write_midstates(const MidstateList& list);

  /// Of the file system below the data directory.
  [[nodiscard]] Result<DiskStats> disk_stats();
  [[nodiscard]] const std::string& data_dir() const { return paths_.root(); }

 private:
  using PartialKey = std::pair<Digest, std::string>;
  /// The exclusive right to touch the files of a partial that nobody has open; given back on
  /// destruction.
  class Claim;

  StoreDriver(const std::string& root, FileOps& ops) : paths_(root), ops_(ops) {}

  Result<void> make_layout();
  Result<void> recover_blobs(Recovered& found);
  Result<void> recover_blob(const std::string& path, const Digest& digest, Recovered& found);
  Result<void> recover_partials(Recovered& found);
  Result<void> recover_partial(const std::string& directory, Recovered& found);
  Result<void> recover_sidecars(Recovered& found);
  Result<void> recover_pins(Recovered& found);
  /// nullopt when there is no file at `path`.
  [[nodiscard]] Result<std::optional<FileStat>> find(const std::string& path);
  [[nodiscard]] Result<PartialHandle> open_partial(const PartialKey& key, std::uint64_t size);
  Result<void> publish(Partial& partial);
  Result<void> delete_partial_files(const std::string& directory);
  /// Deletes the files of a closed partial, unless a newer one has its name; `commit_mutex_` is
  /// held.
  Result<void> discard(Partial& partial);
  /// True when the partial is the one registered under its name.
  [[nodiscard]] bool is_current(const Partial& partial);
  /// @pre is_current
  void forget(const Partial& partial);
  Result<void> write_sidecar(const std::string& temporary, const Bytes& bytes);
  Result<void> prune_sidecars(std::size_t keep);
  /// The proven size that the sidecar remembers; nullopt without a readable one.
  [[nodiscard]] std::optional<std::uint64_t> proven_size(const Digest& digest);

  const StorePaths paths_;
  FileOps& ops_;
  File lock_file_;
  std::atomic<std::uint64_t> temporary_count_{0};
  std::atomic<std::size_t> sidecar_count_{0};
  std::mutex mutex_;  // guards what follows
  std::map<PartialKey, std::weak_ptr<Partial>> open_;
  std::set<PartialKey> claimed_;
  std::size_t partial_count_ = 0;
};

}  // namespace waggle::cache
