// The in-memory file system.
#include "memory_file_ops.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace waggle::cache {
namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

MemoryFileOps::MemoryFileOps(const std::string& root) {
  const auto inode = std::make_shared<Inode>();
  inode->directory = true;
  live_[root] = durable_[root] = inode;
}

bool MemoryFileOps::NameChange::touches(const std::string& directory) const {
  return (!from.empty() && parent_of(from) == directory) ||
         (!to.empty() && parent_of(to) == directory);
}

void MemoryFileOps::fail_at(std::uint64_t ordinal, CacheError error) {
  operations_ = 0;
  fault_at_ = ordinal;
  fault_error_ = error;
  halts_ = false;
}

void MemoryFileOps::halt_at(std::uint64_t ordinal) {
  fail_at(ordinal, CacheError::io);
  halts_ = true;
}

void MemoryFileOps::clear_faults() { fail_at(never, CacheError::io); }

std::optional<CacheError> MemoryFileOps::fault() {
  const std::uint64_t ordinal = operations_++;
  if (ordinal == fault_at_ || (halts_ && ordinal > fault_at_)) return fault_error_;
  return std::nullopt;
}

void MemoryFileOps::apply(Bytes& content, const Change& change) {
  if (!change.bytes) {
    content.resize(change.offset);
    return;
  }
  content.resize(std::max<std::size_t>(content.size(), change.offset + change.bytes->size()));
  std::copy(change.bytes->begin(), change.bytes->end(),
            content.begin() + static_cast<std::ptrdiff_t>(change.offset));
}

void MemoryFileOps::apply(Names& names, const NameChange& change) {
  if (!change.from.empty()) names.erase(change.from);
  if (!change.to.empty()) names[change.to] = change.inode;
}

void MemoryFileOps::change_names(NameChange change) {
  apply(live_, change);
  pending_names_.push_back(std::move(change));
}

void MemoryFileOps::change_data(Inode& inode, Change change) {
  apply(inode.live, change);
  inode.pending.push_back(std::move(change));
  inode.modified = ++clock_;
}

bool MemoryFileOps::has_children(const std::string& path) const {
  const auto next = live_.upper_bound(path + "/");
  return next != live_.end() && next->first.starts_with(path + "/");
}

void MemoryFileOps::crash(Prng& prng) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::size_t> kept;  // directory -> how many of all changes came before its log ends
  for (std::size_t i = 0; i < pending_names_.size(); ++i) {
    const NameChange& change = pending_names_[i];
    const std::string directory = parent_of(change.to.empty() ? change.from : change.to);
    const auto end = kept.try_emplace(directory, prng.below(pending_names_.size() + 1)).first;
    if (i < end->second) apply(durable_, change);
  }
  // A name in a directory that was lost is out of reach. Parents sort before their children.
  for (auto name = durable_.begin(); name != durable_.end();) {
    const std::string parent = parent_of(name->first);
    name = parent.empty() || durable_.contains(parent) ? std::next(name) : durable_.erase(name);
  }
  pending_names_.clear();
  live_ = durable_;
  files_.clear();
  for (auto& [path, inode] : live_) {
    for (auto& change : inode->pending) {
      if (prng.chance(0.5)) continue;
      if (change.bytes && prng.chance(0.3)) change.bytes->resize(prng.below(change.bytes->size() + 1));
      apply(inode->durable, change);
    }
    inode->pending.clear();
    inode->live = inode->durable;
    inode->locked = false;
  }
  fault_at_ = never;
  halts_ = false;
}

void MemoryFileOps::rot(const std::string& path, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const InodePtr inode = live_.at(path);
  inode->live.at(offset) ^= std::byte{1};
  if (offset < inode->durable.size()) inode->durable[offset] ^= std::byte{1};
}

Result<int> MemoryFileOps::open(const std::string& path, OpenMode mode) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  auto found = live_.find(path);
  if (found == live_.end()) {
    if (mode == OpenMode::read || mode == OpenMode::update) return CacheError::not_found;
    if (!live_.contains(parent_of(path))) return CacheError::not_found;
    change_names({.from = {}, .to = path, .inode = std::make_shared<Inode>()});
    found = live_.find(path);
    found->second->modified = ++clock_;
  }
  if (mode == OpenMode::truncate) change_data(*found->second, {.offset = 0, .bytes = {}});
  files_.emplace(next_file_, OpenFile{.inode = found->second, .locks = false});
  return next_file_++;
}

void MemoryFileOps::close(int file) {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(file);
  if (found == files_.end()) return;  // closed by the crash
  if (found->second.locks) found->second.inode->locked = false;
  files_.erase(found);
}

Result<std::size_t> MemoryFileOps::pread(int file, MutableByteView out, std::uint64_t offset) {
  std::size_t count = 0;
  {
    const std::lock_guard lock(mutex_);
    if (const auto error = fault()) return *error;
    const Bytes& live = files_.at(file).inode->live;
    if (offset < live.size()) count = std::min<std::size_t>(out.size(), live.size() - offset);
    if (count > 0) std::copy_n(live.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
  }
  if (after_read_) std::exchange(after_read_, {})();
  return count;
}

Result<void> MemoryFileOps::pwrite(int file, ByteView bytes, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const auto error = fault();
  if (error && halts_) return *error;
  const auto part = error ? bytes.first(bytes.size() / 2) : bytes;
  change_data(*files_.at(file).inode, {.offset = offset, .bytes = to_bytes(part)});
  if (error) return *error;
  return {};
}

Result<void> MemoryFileOps::truncate(int file, std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  change_data(*files_.at(file).inode, {.offset = size, .bytes = {}});
  return {};
}

Result<void> MemoryFileOps::sync(int file) {
  const std::lock_guard lock(mutex_);
  Inode& inode = *files_.at(file).inode;
  if (const auto error = fault()) {
    if (!halts_) inode.pending.clear();
    return *error;
  }
  for (const auto& change : inode.pending) apply(inode.durable, change);
  inode.pending.clear();
  return {};
}

Result<void> MemoryFileOps::sync_directory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  std::vector<NameChange> rest;
  for (auto& change : pending_names_) {
    if (change.touches(path)) {
      apply(durable_, change);
    } else {
      rest.push_back(std::move(change));
    }
  }
  pending_names_ = std::move(rest);
  return {};
}

Result<void> MemoryFileOps::set_read_only(int) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  return {};
}

Result<void> MemoryFileOps::touch(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  const auto found = live_.find(path);
  if (found == live_.end()) return CacheError::not_found;
  found->second->modified = ++clock_;
  return {};
}

Result<FileStat> MemoryFileOps::stat(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  const auto found = live_.find(path);
  if (found == live_.end()) return CacheError::not_found;
  const Inode& inode = *found->second;
  return FileStat{.size = inode.live.size(),
                  .modified = inode.modified,
                  .regular = !inode.directory,
                  .directory = inode.directory};
}

Result<void> MemoryFileOps::rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  if (!live_.contains(from) || !live_.contains(parent_of(to))) return CacheError::not_found;
  change_names({.from = from, .to = to, .inode = live_.at(from)});
  return {};
}

Result<void> MemoryFileOps::unlink(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  const auto found = live_.find(path);
  if (found == live_.end()) return CacheError::not_found;
  if (found->second->directory) return CacheError::io;
  change_names({.from = path, .to = {}, .inode = {}});
  return {};
}

Result<void> MemoryFileOps::remove_directory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  if (!live_.contains(path)) return CacheError::not_found;
  if (has_children(path)) return CacheError::io;
  change_names({.from = path, .to = {}, .inode = {}});
  return {};
}

Result<void> MemoryFileOps::make_directory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  const auto found = live_.find(path);
  if (found != live_.end()) {
    if (!found->second->directory) return CacheError::io;
    return {};
  }
  const auto inode = std::make_shared<Inode>();
  inode->directory = true;
  change_names({.from = {}, .to = path, .inode = inode});
  return {};
}

Result<std::vector<std::string>> MemoryFileOps::list(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  if (!live_.contains(path)) return CacheError::not_found;
  std::vector<std::string> names;
  const std::string prefix = path + "/";
  for (auto entry = live_.upper_bound(prefix);
       entry != live_.end() && entry->first.starts_with(prefix); ++entry) {
    const std::string name = entry->first.substr(prefix.size());
    if (name.find('/') == std::string::npos) names.push_back(name);
  }
  return names;
}

Result<void> MemoryFileOps::lock(int file) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  OpenFile& open = files_.at(file);
  if (open.inode->locked) return CacheError::locked;
  open.inode->locked = open.locks = true;
  return {};
}

Result<DiskStats> MemoryFileOps::disk_stats(const std::string&) {
  const std::lock_guard lock(mutex_);
  if (const auto error = fault()) return *error;
  return disk_stats_;
}

void MemoryFileOps::advise(int, std::uint64_t, std::uint64_t, FileAdvice) {}

}  // namespace waggle::cache
