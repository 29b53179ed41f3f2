// What this node's cache holds, as memory: complete blobs, partials, room promised to downloads, and who is using what.
// A core: told of every change by the node, it touches no disk. Eviction (eviction.hpp) reads it.
#pragma once

#include "base/bitfield.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "cache/error.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace waggle::cache {

/// A copy on disk: a complete blob (no origin) or a partial of one origin.
struct CopyKey {
  Digest digest;
  std::optional<std::string> origin;
  auto operator<=>(const CopyKey&) const = default;
};

/// One copy. `size` is the blob's; `bytes` what is on disk now; `reserved` what is promised beyond that.
struct CopyEntry {
  std::uint64_t size = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reserved = 0;
  Bitfield held;             ///< chunks; empty for a complete blob
  TimePoint last_use{};
  std::uint32_t users = 0;   ///< open readers and active swarms
  bool pinned = false;       ///< complete blobs only
  bool redundant = false;    ///< another store on this machine has it too: first to go
};

/// Invariant: bytes() + reserved() is what the disk will hold when every download under way is complete; begin()
/// never lets it pass the quota. Every call costs O(log copies) unless said otherwise. Deterministic.
class Catalog {
 public:
  /// @param quota_bytes  of everything in the store; downloads that would pass it are refused
  explicit Catalog(std::uint64_t quota_bytes) : quota_bytes_(quota_bytes) {}

  [[nodiscard]] std::uint64_t quota_bytes() const { return quota_bytes_; }
  /// A smaller quota takes effect on new downloads at once, on what is stored by eviction.
  void set_quota_bytes(std::uint64_t quota_bytes) { quota_bytes_ = quota_bytes; }
  /// Bytes on disk, all copies.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// Bytes promised to downloads and not written yet.
  [[nodiscard]] std::uint64_t reserved() const { return reserved_; }

  /// A complete blob that was found at start. Counts even beyond the quota: it is there.
  void add_blob(const Digest& digest, std::uint64_t size, TimePoint last_use, bool pinned = false);
  /// A partial that was found at start; holds no reservation until begin().
  /// @pre held.size() is the chunk count of `size`
  void add_partial(const Digest& digest, const std::string& origin, std::uint64_t size, Bitfield held,
                   TimePoint last_use);

  /// Starts or resumes a download: reserves what is missing and retains the partial. A partial of another size is
  /// forgotten first. Errors: limit_exceeded when the quota has no room (make room, or stream without storing);
  /// already_stored; busy (already begun); invalid (size over limits::blob_bytes_max).
  Result<void> begin(TimePoint now, const Digest& digest, const std::string& origin, std::uint64_t size);
  /// The chunk is stored: its bytes move from reserved to held. A chunk already held changes nothing.
  /// @pre the partial is begun and has that chunk
  void chunk_stored(TimePoint now, const Digest& digest, const std::string& origin, ChunkIndex chunk);
  /// The chunk was found corrupt. @pre as chunk_stored
  void chunk_dropped(const Digest& digest, const std::string& origin, ChunkIndex chunk);
  /// The download pauses: its reservation ends, its chunks stay for a resume. No-op when there is none.
  void end(TimePoint now, const Digest& digest, const std::string& origin);
  /// The partial became the complete blob, retained by nobody. @pre the partial is begun and holds every chunk
  void commit(TimePoint now, const Digest& digest, const std::string& origin, bool pinned = false);
  /// The copy is gone from disk (evicted, removed, abandoned). False when there was none.
  bool erase(const CopyKey& key);

  /// A reader opens the complete blob; it will not be evicted until released. False when there is none.
  bool retain(TimePoint now, const Digest& digest);
  /// @pre retained
  void release(TimePoint now, const Digest& digest);
  /// Notes a use. False when there is no complete blob.
  bool touch(TimePoint now, const Digest& digest);
  bool set_pinned(const Digest& digest, bool pinned);
  bool set_redundant(const Digest& digest, bool redundant);

  // Memory reads; pointers live until the next call that changes the catalog.
  [[nodiscard]] const CopyEntry* find_blob(const Digest& digest) const;
  [[nodiscard]] const CopyEntry* find_partial(const Digest& digest, const std::string& origin) const;
  /// All copies, ordered by key: for lists and pages.
  [[nodiscard]] const std::map<CopyKey, CopyEntry>& copies() const { return copies_; }
  [[nodiscard]] std::size_t blob_count() const { return blob_count_; }

  /// A copy in order of eviction among its equals.
  struct UseKey {
    TimePoint last_use;
    CopyKey copy;
    auto operator<=>(const UseKey&) const = default;
  };
  /// All copies, least recently used first.
  [[nodiscard]] const std::set<UseKey>& by_use() const { return by_use_; }

  /// Recounts everything and asserts that it agrees. O(copies x chunks).
  void check_invariants() const;

 private:
  using Copies = std::map<CopyKey, CopyEntry>;
  Copies::iterator find_begun(const Digest& digest, const std::string& origin);
  void insert(CopyKey key, CopyEntry entry);
  void use(Copies::iterator copy, TimePoint now);
  bool erase(Copies::iterator copy);

  std::uint64_t quota_bytes_;
  std::uint64_t bytes_ = 0;
  std::uint64_t reserved_ = 0;
  std::size_t blob_count_ = 0;
  Copies copies_;
  std::set<UseKey> by_use_;
};

}  // namespace waggle::cache
