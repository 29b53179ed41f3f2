// A file system in memory that can fail its Nth operation, and lose on a crash what was not synced.
// Names are ordered within a directory only (of each a prefix survives), data is not ordered at all (any part of any
// unsynced write may survive). That is less than real file systems promise.
#pragma once

#include "base/prng.hpp"
#include "cache/error.hpp"
#include "cache/file_ops_driver.hpp"

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace waggle::cache {

class MemoryFileOps final : public FileOps {
 public:
  static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

  /// Holds one durable, empty directory: `root`.
  explicit MemoryFileOps(const std::string& root = "/d");

  /// The operation `ordinal` (0 = the next one) fails with `error`; a failed write leaves half of its bytes, a failed
  /// sync loses for good what it should have synced.
  void fail_at(std::uint64_t ordinal, CacheError error);
  /// From the operation `ordinal` on nothing happens any more: the machine is off.
  void halt_at(std::uint64_t ordinal);
  void clear_faults();
  /// True when the fault that was set has happened.
  [[nodiscard]] bool fault_happened() const { return operations_ > fault_at_; }
  /// The power comes back: unsynced metadata survives up to a random point, unsynced data at random.
  void crash(Prng& prng);
  /// Flips one bit of a file, durably. @pre the file exists and offset is inside
  void rot(const std::string& path, std::uint64_t offset);
  /// Called once, after the next pread has taken its bytes and before it returns: where another thread may come in.
  void after_next_read(std::function<void()> hook) { after_read_ = std::move(hook); }
  [[nodiscard]] std::size_t open_count() const { return files_.size(); }

  Result<int> open(const std::string& path, OpenMode mode) override;
  void close(int file) override;
  Result<std::size_t> pread(int file, MutableByteView out, std::uint64_t offset) override;
  Result<void> pwrite(int file, ByteView bytes, std::uint64_t offset) override;
  Result<void> truncate(int file, std::uint64_t size) override;
  Result<void> sync(int file) override;
  Result<void> sync_directory(const std::string& path) override;
  Result<void> set_read_only(int file) override;
  Result<void> touch(const std::string& path) override;
  Result<FileStat> stat(const std::string& path) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> unlink(const std::string& path) override;
  Result<void> remove_directory(const std::string& path) override;
  Result<void> make_directory(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Result<void> lock(int file) override;
  Result<DiskStats> disk_stats(const std::string& path) override;
  void advise(int file, std::uint64_t offset, std::uint64_t size, FileAdvice advice) override;

 private:
  struct Change {  // a write, or with no bytes a truncation to `offset`
    std::uint64_t offset = 0;
    std::optional<Bytes> bytes;
  };
  struct Inode {
    bool directory = false;
    bool locked = false;
    std::int64_t modified = 0;
    Bytes live;
    Bytes durable;
    std::vector<Change> pending;
  };
  using InodePtr = std::shared_ptr<Inode>;
  using Names = std::map<std::string, InodePtr>;
  struct NameChange {  // `from` empty: creation of `to`; `to` empty: removal of `from`; else a rename
    std::string from;
    std::string to;
    InodePtr inode;
    [[nodiscard]] bool touches(const std::string& directory) const;
  };
  struct OpenFile {
    InodePtr inode;
    bool locks = false;
  };

  [[nodiscard]] std::optional<CacheError> fault();
  static void apply(Bytes& content, const Change& change);
  static void apply(Names& names, const NameChange& change);
  void change_names(NameChange change);
  void change_data(Inode& inode, Change change);
  [[nodiscard]] bool has_children(const std::string& path) const;

  mutable std::mutex mutex_;
  Names live_;
  Names durable_;
  std::vector<NameChange> pending_names_;
  std::map<int, OpenFile> files_;
  int next_file_ = 3;
  std::int64_t clock_ = 1;
  std::uint64_t operations_ = 0;
  std::uint64_t fault_at_ = never;
  CacheError fault_error_ = CacheError::io;
  bool halts_ = false;
  std::function<void()> after_read_;
  const DiskStats disk_stats_{.total_bytes = 1U << 30U, .free_bytes = 1U << 29U};
};

}  // namespace waggle::cache
