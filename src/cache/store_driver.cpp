// The store's work while it runs; what it does at start is in store_recovery_driver.cpp.
#include "cache/store_driver.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::cache {

Result<void> BlobFile::read(std::uint64_t offset, MutableByteView out) const {
  if (offset > size_ || out.size() > size_ - offset) return CacheError::invalid;
  return file_.pread_exactly(out, offset);
}

void BlobFile::drop_cached(std::uint64_t offset, std::uint64_t size) const {
  if (size_ >= limits::fadvise_bytes_min) file_.advise(offset, size, FileAdvice::drop);
}

class StoreDriver::Claim {
 public:
  /// Empty (false) when the partial is open or claimed elsewhere.
  Claim(StoreDriver& store, const PartialKey& key) : store_(store), key_(key) {
    const std::lock_guard lock(store_.mutex_);
    const auto open = store_.open_.find(key_);
    const bool alive = open != store_.open_.end() && !open->second.expired();
    owned_ = !alive && store_.claimed_.insert(key_).second;
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() {
    if (!owned_) return;
    const std::lock_guard lock(store_.mutex_);
    store_.claimed_.erase(key_);
  }
  explicit operator bool() const { return owned_; }

 private:
  StoreDriver& store_;
  const PartialKey key_;
  bool owned_ = false;
};

Result<std::unique_ptr<StoreDriver>> StoreDriver::open(const std::string& data_dir, FileOps& ops) {
  std::unique_ptr<StoreDriver> store(new StoreDriver(data_dir, ops));
  if (const auto made = ops.make_directory(data_dir); !made) return made.error();
  auto lock_file = File::open(ops, store->paths_.lock(), OpenMode::create);
  if (!lock_file) return lock_file.error();
  if (const auto locked = lock_file->lock(); !locked) return locked.error();
  store->lock_file_ = std::move(*lock_file);
  if (const auto made = store->make_layout(); !made) return made.error();
  return store;
}

Result<void> StoreDriver::make_layout() {
  for (const auto& directory : {paths_.blobs(), paths_.algorithm(DigestAlgorithm::sha256),
                                paths_.algorithm(DigestAlgorithm::sha512), paths_.partials(),
                                paths_.sidecars(), paths_.pins()}) {
    if (const auto made = ops_.make_directory(directory); !made) return made.error();
  }
  if (const auto synced = ops_.sync_directory(paths_.blobs()); !synced) return synced.error();
  return ops_.sync_directory(paths_.root());
}

Result<std::optional<FileStat>> StoreDriver::find(const std::string& path) {
  const auto stat = ops_.stat(path);
  if (stat) return std::optional<FileStat>(*stat);
  if (stat.error() == CacheError::not_found) return std::optional<FileStat>();
  return stat.error();
}

Result<PartialHandle> StoreDriver::begin(const Digest& digest, const std::string& origin,
                                         std::uint64_t size) {
  if (size > limits::blob_bytes_max || origin.size() > limits::origin_bytes_max) {
    return CacheError::invalid;
  }
  const PartialKey key(digest, origin);
  const Claim claim(*this, key);
  if (!claim) return CacheError::busy;
  const auto complete = find(paths_.blob(digest));
  if (!complete) return complete.error();
  if (*complete) return CacheError::already_stored;
  return open_partial(key, size);
}

Result<PartialHandle> StoreDriver::open_partial(const PartialKey& key, std::uint64_t size) {
  const std::string directory = paths_.partial(key.first, key.second);
  const auto existing = find(directory);
  if (!existing) return existing.error();
  if (!*existing) {
    const std::lock_guard lock(mutex_);
    if (partial_count_ >= limits::partials_max) return CacheError::limit_exceeded;
    ++partial_count_;
  }
  const JournalHeader header{.digest = key.first, .origin = key.second, .size = size};
  PartialHandle partial(new Partial(ops_, directory, header));
  const auto opened = partial->open_files();
  if (!opened) {
    if (!*existing && delete_partial_files(directory)) {
      const std::lock_guard lock(mutex_);
      --partial_count_;
    }
    return opened.error();
  }
  const std::lock_guard lock(mutex_);
  open_[key] = partial;
  return partial;
}

Result<void> StoreDriver::commit(const PartialHandle& partial,
                                 std::span<const Midstate> midstates) {
  if (midstates.size() > partial->layout().chunk_count()) return CacheError::invalid;
  const std::lock_guard commit_lock(partial->commit_mutex_);
  if (const auto sealed = partial->seal(); !sealed) {
    if (partial->phase() == Partial::Phase::closed) static_cast<void>(discard(*partial));
    return sealed;
  }
  if (partial->phase() == Partial::Phase::sealed) {
    // Before the rename: whoever sees the blob can also see its proven size.
    const auto noted = write_midstates({.digest = partial->digest(),
                                        .size = partial->layout().size(),
                                        .midstates = {midstates.begin(), midstates.end()}});
    if (!noted) return noted;
  }
  if (const auto published = publish(*partial); !published) return published;
  partial->set_phase(Partial::Phase::committed);
  // What is left are the journal and its directory; recover() would remove them as well.
  static_cast<void>(delete_partial_files(partial->directory_));
  forget(*partial);
  return {};
}

Result<void> StoreDriver::publish(Partial& partial) {
  const std::string directory = paths_.blob_directory(partial.digest());
  if (partial.phase() == Partial::Phase::sealed) {
    if (const auto made = ops_.make_directory(directory); !made) return made.error();
    const auto renamed =
        ops_.rename(partial.directory_ + partial_data_name, paths_.blob(partial.digest()));
    if (!renamed) return renamed.error();
    partial.set_phase(Partial::Phase::renamed);
    // Only now: a partial that cannot be committed today must be writable when it is resumed. Not
    // worth failing for.
    static_cast<void>(partial.data_.set_read_only());
  }
  if (const auto synced = ops_.sync_directory(directory); !synced) return synced.error();
  const auto synced = ops_.sync_directory(paths_.algorithm(partial.digest().algorithm()));
  if (!synced) return synced.error();
  if (partial.layout().size() >= limits::fadvise_bytes_min) {
    partial.data_.advise(0, partial.layout().size(), FileAdvice::drop);
  }
  return {};
}

Result<void> StoreDriver::close(const PartialHandle& partial) {
  const std::lock_guard commit_lock(partial->commit_mutex_);
  if (!partial->retire()) return {};
  const std::lock_guard lock(mutex_);
  open_.erase({partial->digest(), partial->origin()});
  return {};
}

Result<void> StoreDriver::abandon(const PartialHandle& partial) {
  const std::lock_guard commit_lock(partial->commit_mutex_);
  const Partial::Phase phase = partial->phase();
  if (phase == Partial::Phase::committed || phase == Partial::Phase::retired) {
    return CacheError::closed;
  }
  partial->set_phase(Partial::Phase::closed);
  return discard(*partial);
}

Result<void> StoreDriver::discard(Partial& partial) {
  // A handle that was closed before may outlive a newer partial of the same name: its files are
  // not ours.
  if (!is_current(partial)) return {};
  const auto deleted = delete_partial_files(partial.directory_);
  if (deleted) forget(partial);
  return deleted;
}

Result<void> StoreDriver::remove_partial(const Digest& digest, const std::string& origin) {
  const PartialKey key(digest, origin);
  const Claim claim(*this, key);
  if (!claim) return CacheError::busy;
  const std::string directory = paths_.partial(digest, origin);
  const auto existing = ops_.stat(directory);
  if (!existing) return existing.error();
  if (const auto deleted = delete_partial_files(directory); !deleted) return deleted;
  const std::lock_guard lock(mutex_);
  open_.erase(key);
  if (partial_count_ > 0) --partial_count_;
  return {};
}

Result<void> StoreDriver::delete_partial_files(const std::string& directory) {
  // The journal first: without it nothing can be resumed, however far this gets.
  Result<void> result;
  const auto note = [&result](const Result<void>& step) {
    if (!step && step.error() != CacheError::not_found && result) result = step;
  };
  note(ops_.unlink(directory + partial_journal_name));
  note(ops_.unlink(directory + partial_data_name));
  note(ops_.remove_directory(directory));
  return result;
}

bool StoreDriver::is_current(const Partial& partial) {
  const std::lock_guard lock(mutex_);
  const auto open = open_.find({partial.digest(), partial.origin()});
  return open != open_.end() && open->second.lock().get() == &partial;
}

void StoreDriver::forget(const Partial& partial) {
  const std::lock_guard lock(mutex_);
  open_.erase({partial.digest(), partial.origin()});
  if (partial_count_ > 0) --partial_count_;
}

Result<BlobHandle> StoreDriver::open_blob(const Digest& digest) {
  const std::string path = paths_.blob(digest);
  auto file = File::open(ops_, path, OpenMode::read);
  if (!file) return file.error();
  const auto stat = ops_.stat(path);
  if (!stat) return stat.error();
  if (!stat->regular) return CacheError::corrupt;
  if (stat->size >= limits::fadvise_bytes_min) {
    file->advise(0, stat->size, FileAdvice::sequential);
  }
  return std::make_shared<const BlobFile>(std::move(*file), stat->size);
}

Result<void> StoreDriver::remove(const Digest& digest) {
  if (const auto gone = ops_.unlink(paths_.blob(digest)); !gone) return gone;
  // A pin left behind would only pin a later copy.
  static_cast<void>(ops_.unlink(paths_.pin(digest)));
  return {};
}

Result<void> StoreDriver::touch(const Digest& digest) { return ops_.touch(paths_.blob(digest)); }

Result<void> StoreDriver::set_pinned(const Digest& digest, bool pinned) {
  if (pinned) {
    const auto file = File::open(ops_, paths_.pin(digest), OpenMode::create);
    if (!file) return file.error();
  } else {
    const auto gone = ops_.unlink(paths_.pin(digest));
    if (!gone && gone.error() != CacheError::not_found) return gone;
  }
  return ops_.sync_directory(paths_.pins());
}

Result<MidstateList> StoreDriver::read_midstates(const Digest& digest) {
  const std::string path = paths_.sidecar(digest);
  auto file = File::open(ops_, path, OpenMode::read);
  if (!file) return file.error();
  const auto stat = ops_.stat(path);
  if (!stat) return stat.error();
  constexpr std::uint64_t bytes_max =
      sidecar_head_bytes_max + 8 + limits::chunks_per_blob_max * sizeof(Midstate::bytes);
  if (stat->regular && stat->size <= bytes_max) {
    Bytes bytes(stat->size);
    const auto read = file->pread_exactly(bytes, 0);
    if (!read && read.error() != CacheError::corrupt) return read.error();
    auto list = decode_sidecar(bytes);
    if (list && list->digest == digest) return std::move(*list);
  }
  if (ops_.unlink(path) && sidecar_count_ > 0) --sidecar_count_;
  return CacheError::corrupt;
}

Result<void> StoreDriver::write_midstates(const MidstateList& list) {
  if (list.size > limits::blob_bytes_max ||
      list.midstates.size() > BlobLayout(list.size).chunk_count()) {
    return CacheError::invalid;
  }
  const std::string path = paths_.sidecar(list.digest);
  const auto existing = find(path);
  if (!existing) return existing.error();
  const std::string temporary = path + ".tmp" + std::to_string(++temporary_count_);
  auto written = write_sidecar(temporary, encode_sidecar(list));
  if (written) written = ops_.rename(temporary, path);
  if (!written) {
    static_cast<void>(ops_.unlink(temporary));
    return written;
  }
  if (!*existing && ++sidecar_count_ > limits::sidecars_max) {
    // An eighth at once, so that the listing is rare. Failing to prune fails nobody's commit.
    static_cast<void>(prune_sidecars(limits::sidecars_max / 8 * 7));
  }
  return ops_.sync_directory(paths_.sidecars());
}

Result<void> StoreDriver::write_sidecar(const std::string& temporary, const Bytes& bytes) {
  auto file = File::open(ops_, temporary, OpenMode::truncate);
  if (!file) return file.error();
  if (const auto written = file->pwrite(bytes, 0); !written) return written;
  return file->sync();
}

Result<DiskStats> StoreDriver::disk_stats() { return ops_.disk_stats(paths_.root()); }

}  // namespace waggle::cache
