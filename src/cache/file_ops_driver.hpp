// The only door to the file system: every system call of the store, one virtual function each, so that tests can fail
// the Nth of them or lose what was not synced.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace waggle::cache {

enum class OpenMode : std::uint8_t {
  read,    ///< existing file, read only
  update,  ///< existing file, read and write
  create,  ///< read and write; made (0644) when absent, kept when present
  truncate,  ///< read and write; made when absent, emptied when present
};

struct FileStat {
  std::uint64_t size = 0;
  std::int64_t modified = 0;  ///< wall clock [s since the epoch]
  bool regular = false;       ///< a plain file: not a directory, link or device
  bool directory = false;
};

struct DiskStats {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;  ///< as an unprivileged process may use
};

enum class FileAdvice : std::uint8_t { sequential, drop };

/// Blocking, thread-safe. Errors are CacheErrors; EINTR is retried inside.
class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual Result<int> open(const std::string& path, OpenMode mode) = 0;
  virtual void close(int file) = 0;
  /// Fewer bytes than asked only at the end of the file.
  virtual Result<std::size_t> pread(int file, MutableByteView out, std::uint64_t offset) = 0;
  /// All of `bytes`, or an error and an unknown part of them.
  virtual Result<void> pwrite(int file, ByteView bytes, std::uint64_t offset) = 0;
  virtual Result<void> truncate(int file, std::uint64_t size) = 0;
  virtual Result<void> sync(int file) = 0;
  virtual Result<void> sync_directory(const std::string& path) = 0;
  virtual Result<void> set_read_only(int file) = 0;  ///< mode 0444
  virtual Result<void> touch(const std::string& path) = 0;  ///< modification time = now
  virtual Result<FileStat> stat(const std::string& path) = 0;  ///< does not follow links
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> unlink(const std::string& path) = 0;
  virtual Result<void> remove_directory(const std::string& path) = 0;
  /// Success also when the directory is there.
  virtual Result<void> make_directory(const std::string& path) = 0;
  /// Names in the directory without "." and "..", sorted.
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;
  /// Takes the whole-file lock of `file` without waiting; `locked` when someone else has it. Ends with close().
  virtual Result<void> lock(int file) = 0;
  virtual Result<DiskStats> disk_stats(const std::string& path) = 0;
  virtual void advise(int file, std::uint64_t offset, std::uint64_t size, FileAdvice advice) = 0;
};

/// The operating system's. One per process is enough; it has no state.
class PosixFileOps final : public FileOps {
 public:
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
};

/// The shared PosixFileOps.
[[nodiscard]] FileOps& posix_file_ops();

/// A descriptor of a FileOps that is closed with its owner.
class File {
 public:
  File() = default;
  File(FileOps& ops, int descriptor) : ops_(&ops), descriptor_(descriptor) {}
  File(File&& other) noexcept : ops_(other.ops_), descriptor_(other.descriptor_) { other.ops_ = nullptr; }
  File& operator=(File&& other) noexcept;
  ~File() { reset(); }

  [[nodiscard]] static Result<File> open(FileOps& ops, const std::string& path, OpenMode mode);
  void reset();
  [[nodiscard]] bool is_open() const { return ops_ != nullptr; }
  [[nodiscard]] int descriptor() const { return descriptor_; }
  Result<std::size_t> pread(MutableByteView out, std::uint64_t offset) const;
  /// `corrupt` when the file ends before `out` is full.
  Result<void> pread_exactly(MutableByteView out, std::uint64_t offset) const;
  Result<void> pwrite(ByteView bytes, std::uint64_t offset) const;
  Result<void> truncate(std::uint64_t size) const;
  Result<void> sync() const;
  Result<void> set_read_only() const;
  Result<void> lock() const;
  void advise(std::uint64_t offset, std::uint64_t size, FileAdvice advice) const;

 private:
  FileOps* ops_ = nullptr;
  int descriptor_ = -1;
};

}  // namespace waggle::cache
