// POSIX behind FileOps. errno becomes a CacheError here and nowhere else.
#include "cache/file_ops_driver.hpp"

#include "cache/error.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace waggle::cache {
namespace {

CacheError from_errno(int number) {
  switch (number) {
    case ENOSPC:
    case EDQUOT: return CacheError::disk_full;
    case ENOENT:
    case ENOTDIR: return CacheError::not_found;
    case EACCES:
    case EPERM:
    case EROFS: return CacheError::denied;
    default: return CacheError::io;
  }
}

/// Calls `call` until a signal does not interrupt it.
template <typename Call>
auto retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

Result<void> checked(int result) {
  if (result < 0) return from_errno(errno);
  return {};
}

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::read: return O_RDONLY;
    case OpenMode::update: return O_RDWR;
    case OpenMode::create: return O_RDWR | O_CREAT;
    case OpenMode::truncate: return O_RDWR | O_CREAT | O_TRUNC;
  }
  return O_RDONLY;
}

}  // namespace

Result<int> PosixFileOps::open(const std::string& path, OpenMode mode) {
  const int flags = open_flags(mode) | O_CLOEXEC | O_NOFOLLOW;
  const int file = retried([&] { return ::open(path.c_str(), flags, 0644); });
  if (file < 0) return from_errno(errno);
  return file;
}

void PosixFileOps::close(int file) { ::close(file); }

Result<std::size_t> PosixFileOps::pread(int file, MutableByteView out, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto rest = out.subspan(done);
    const auto count = retried([&] {
      return ::pread(file, rest.data(), rest.size(), static_cast<off_t>(offset + done));
    });
    if (count < 0) return from_errno(errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<void> PosixFileOps::pwrite(int file, ByteView bytes, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto rest = bytes.subspan(done);
    const auto count = retried([&] {
      return ::pwrite(file, rest.data(), rest.size(), static_cast<off_t>(offset + done));
    });
    if (count < 0) return from_errno(errno);
    done += static_cast<std::size_t>(count);
  }
  return {};
}

Result<void> PosixFileOps::truncate(int file, std::uint64_t size) {
  return checked(retried([&] { return ::ftruncate(file, static_cast<off_t>(size)); }));
}

Result<void> PosixFileOps::sync(int file) {
  return checked(retried([&] { return ::fsync(file); }));
}

Result<void> PosixFileOps::sync_directory(const std::string& path) {
  const int directory =
      retried([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (directory < 0) return from_errno(errno);
  const auto result = checked(retried([&] { return ::fsync(directory); }));
  ::close(directory);
  return result;
}

Result<void> PosixFileOps::set_read_only(int file) {
  return checked(retried([&] { return ::fchmod(file, 0444); }));
}

Result<void> PosixFileOps::touch(const std::string& path) {
  return checked(::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW));
}

Result<FileStat> PosixFileOps::stat(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) < 0) return from_errno(errno);
  return FileStat{.size = static_cast<std::uint64_t>(info.st_size),
                  .modified = info.st_mtim.tv_sec,
                  .regular = S_ISREG(info.st_mode),
                  .directory = S_ISDIR(info.st_mode)};
}

Result<void> PosixFileOps::rename(const std::string& from, const std::string& to) {
  return checked(::rename(from.c_str(), to.c_str()));
}

Result<void> PosixFileOps::unlink(const std::string& path) {
  return checked(::unlink(path.c_str()));
}

Result<void> PosixFileOps::remove_directory(const std::string& path) {
  return checked(::rmdir(path.c_str()));
}

Result<void> PosixFileOps::make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return {};
  if (errno != EEXIST) return from_errno(errno);
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) return from_errno(errno);
  if (!S_ISDIR(info.st_mode)) return CacheError::io;
  return {};
}

Result<std::vector<std::string>> PosixFileOps::list(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
  if (!directory) return from_errno(errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    std::string name(entry->d_name);
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return from_errno(errno);
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> PosixFileOps::lock(int file) {
  if (retried([&] { return ::flock(file, LOCK_EX | LOCK_NB); }) == 0) return {};
  if (errno == EWOULDBLOCK) return CacheError::locked;
  return from_errno(errno);
}

Result<DiskStats> PosixFileOps::disk_stats(const std::string& path) {
  struct statvfs info {};
  if (retried([&] { return ::statvfs(path.c_str(), &info); }) < 0) return from_errno(errno);
  return DiskStats{.total_bytes = std::uint64_t{info.f_blocks} * info.f_frsize,
                   .free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize};
}

void PosixFileOps::advise(int file, std::uint64_t offset, std::uint64_t size, FileAdvice advice) {
  // A hint: where the file system knows none, nothing is lost.
  static_cast<void>(::posix_fadvise(
      file, static_cast<off_t>(offset), static_cast<off_t>(size),
      advice == FileAdvice::sequential ? POSIX_FADV_SEQUENTIAL : POSIX_FADV_DONTNEED));
}

FileOps& posix_file_ops() {
  static PosixFileOps ops;
  return ops;
}

File& File::operator=(File&& other) noexcept {
  if (this == &other) return *this;
  reset();
  ops_ = other.ops_;
  descriptor_ = other.descriptor_;
  other.ops_ = nullptr;
  return *this;
}

Result<File> File::open(FileOps& ops, const std::string& path, OpenMode mode) {
  const auto descriptor = ops.open(path, mode);
  if (!descriptor) return descriptor.error();
  return File(ops, *descriptor);
}

void File::reset() {
  if (ops_ != nullptr) ops_->close(descriptor_);
  ops_ = nullptr;
}

Result<std::size_t> File::pread(MutableByteView out, std::uint64_t offset) const {
  return ops_->pread(descriptor_, out, offset);
}

Result<void> File::pread_exactly(MutableByteView out, std::uint64_t offset) const {
  const auto count = ops_->pread(descriptor_, out, offset);
  if (!count) return count.error();
  if (*count != out.size()) return CacheError::corrupt;
  return {};
}

Result<void> File::pwrite(ByteView bytes, std::uint64_t offset) const {
  return ops_->pwrite(descriptor_, bytes, offset);
}
Result<void> File::truncate(std::uint64_t size) const { return ops_->truncate(descriptor_, size); }
Result<void> File::sync() const { return ops_->sync(descriptor_); }
Result<void> File::set_read_only() const { return ops_->set_read_only(descriptor_); }
Result<void> File::lock() const { return ops_->lock(descriptor_); }

void File::advise(std::uint64_t offset, std::uint64_t size, FileAdvice advice) const {
  ops_->advise(descriptor_, offset, size, advice);
}

}  // namespace waggle::cache
