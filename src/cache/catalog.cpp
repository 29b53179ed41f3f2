// Bookkeeping of copies; every change goes through insert, use and erase so that the sums stay right.
#include "cache/catalog.hpp"

#include "base/assert.hpp"
#include "base/blob_layout.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::cache {
namespace {

std::uint64_t bytes_of(const Bitfield& held, const BlobLayout& layout) {
  std::uint64_t bytes = 0;
  for (auto i = held.find(true); i; i = held.find(true, *i + 1)) {
    bytes += layout.chunk_size(ChunkIndex{static_cast<std::uint32_t>(*i)});
  }
  return bytes;
}

}  // namespace

void Catalog::insert(CopyKey key, CopyEntry entry) {
  erase(key);
  bytes_ += entry.bytes;
  reserved_ += entry.reserved;
  if (!key.origin) ++blob_count_;
  by_use_.insert({entry.last_use, key});
  copies_.emplace(std::move(key), std::move(entry));
}

bool Catalog::erase(Copies::iterator copy) {
  if (copy == copies_.end()) return false;
  bytes_ -= copy->second.bytes;
  reserved_ -= copy->second.reserved;
  if (!copy->first.origin) --blob_count_;
  by_use_.erase({copy->second.last_use, copy->first});
  copies_.erase(copy);
  return true;
}

bool Catalog::erase(const CopyKey& key) { return erase(copies_.find(key)); }

void Catalog::use(Copies::iterator copy, TimePoint now) {
  by_use_.erase({copy->second.last_use, copy->first});
  copy->second.last_use = std::max(copy->second.last_use, now);
  by_use_.insert({copy->second.last_use, copy->first});
}

void Catalog::add_blob(const Digest& digest, std::uint64_t size, TimePoint last_use, bool pinned) {
  CopyEntry entry;
  entry.size = entry.bytes = size;
  entry.last_use = last_use;
  entry.pinned = pinned;
  insert({digest, std::nullopt}, std::move(entry));
}

void Catalog::add_partial(const Digest& digest, const std::string& origin, std::uint64_t size,
                          Bitfield held, TimePoint last_use) {
  const BlobLayout layout(size);
  WAGGLE_ASSERT(held.size() == layout.chunk_count());
  CopyEntry entry;
  entry.size = size;
  entry.bytes = bytes_of(held, layout);
  entry.held = std::move(held);
  entry.last_use = last_use;
  insert({digest, origin}, std::move(entry));
}

Result<void> Catalog::begin(TimePoint now, const Digest& digest, const std::string& origin,
                            std::uint64_t size) {
  if (size > limits::blob_bytes_max) return CacheError::invalid;
  if (find_blob(digest) != nullptr) return CacheError::already_stored;
  auto copy = copies_.find({digest, origin});
  if (copy != copies_.end() && copy->second.users > 0) return CacheError::busy;
  if (copy != copies_.end() && copy->second.size != size) {
    erase(copy);
    copy = copies_.end();
  }
  const std::uint64_t held_bytes = copy == copies_.end() ? 0 : copy->second.bytes;
  const std::uint64_t missing = size - held_bytes;
  const std::uint64_t promised = bytes_ + reserved_;
  if (promised > quota_bytes_ || missing > quota_bytes_ - promised) {
    return CacheError::limit_exceeded;
  }
  if (copy == copies_.end()) {
    add_partial(digest, origin, size, Bitfield(BlobLayout(size).chunk_count()), now);
    copy = copies_.find({digest, origin});
  }
  copy->second.reserved = missing;
  copy->second.users = 1;
  reserved_ += missing;
  use(copy, now);
  return {};
}

Catalog::Copies::iterator Catalog::find_begun(const Digest& digest, const std::string& origin) {
  const auto copy = copies_.find({digest, origin});
  WAGGLE_ASSERT(copy != copies_.end() && copy->second.users > 0);
  return copy;
}

void Catalog::chunk_stored(TimePoint now, const Digest& digest, const std::string& origin,
                           ChunkIndex chunk) {
  const auto copy = find_begun(digest, origin);
  CopyEntry& entry = copy->second;
  if (!entry.held.set(to_value(chunk))) return;
  const std::uint64_t size = BlobLayout(entry.size).chunk_size(chunk);
  entry.bytes += size;
  entry.reserved -= size;
  bytes_ += size;
  reserved_ -= size;
  use(copy, now);
}

void Catalog::chunk_dropped(const Digest& digest, const std::string& origin, ChunkIndex chunk) {
  CopyEntry& entry = find_begun(digest, origin)->second;
  if (!entry.held.reset(to_value(chunk))) return;
  const std::uint64_t size = BlobLayout(entry.size).chunk_size(chunk);
  entry.bytes -= size;
  entry.reserved += size;
  bytes_ -= size;
  reserved_ += size;
}

void Catalog::end(TimePoint now, const Digest& digest, const std::string& origin) {
  const auto copy = copies_.find({digest, origin});
  if (copy == copies_.end() || copy->second.users == 0) return;
  reserved_ -= std::exchange(copy->second.reserved, 0);
  copy->second.users = 0;
  use(copy, now);
}

void Catalog::commit(TimePoint now, const Digest& digest, const std::string& origin, bool pinned) {
  const auto copy = find_begun(digest, origin);
  WAGGLE_ASSERT(copy->second.held.all());
  const std::uint64_t size = copy->second.size;
  erase(copy);
  // Another origin's swarm may have completed the same blob while this one ran: its readers go on.
  const auto there = copies_.find({digest, std::nullopt});
  if (there == copies_.end()) return add_blob(digest, size, now, pinned);
  there->second.pinned = there->second.pinned || pinned;
  use(there, now);
}

bool Catalog::retain(TimePoint now, const Digest& digest) {
  const auto copy = copies_.find({digest, std::nullopt});
  if (copy == copies_.end()) return false;
  ++copy->second.users;
  use(copy, now);
  return true;
}

void Catalog::release(TimePoint now, const Digest& digest) {
  const auto copy = copies_.find({digest, std::nullopt});
  if (copy == copies_.end()) return;  // removed by an operator while it was read
  WAGGLE_ASSERT(copy->second.users > 0);
  --copy->second.users;
  use(copy, now);
}

bool Catalog::touch(TimePoint now, const Digest& digest) {
  const auto copy = copies_.find({digest, std::nullopt});
  if (copy == copies_.end()) return false;
  use(copy, now);
  return true;
}

bool Catalog::set_pinned(const Digest& digest, bool pinned) {
  const auto copy = copies_.find({digest, std::nullopt});
  if (copy == copies_.end()) return false;
  copy->second.pinned = pinned;
  return true;
}

bool Catalog::set_redundant(const Digest& digest, bool redundant) {
  const auto copy = copies_.find({digest, std::nullopt});
  if (copy == copies_.end()) return false;
  copy->second.redundant = redundant;
  return true;
}

const CopyEntry* Catalog::find_blob(const Digest& digest) const {
  const auto copy = copies_.find({digest, std::nullopt});
  return copy == copies_.end() ? nullptr : &copy->second;
}

const CopyEntry* Catalog::find_partial(const Digest& digest, const std::string& origin) const {
  const auto copy = copies_.find({digest, origin});
  return copy == copies_.end() ? nullptr : &copy->second;
}

void Catalog::check_invariants() const {
  std::uint64_t bytes = 0;
  std::uint64_t reserved = 0;
  std::size_t blobs = 0;
  for (const auto& [key, entry] : copies_) {
    bytes += entry.bytes;
    reserved += entry.reserved;
    WAGGLE_ASSERT(by_use_.contains({entry.last_use, key}));
    if (!key.origin) {
      ++blobs;
      WAGGLE_ASSERT(entry.bytes == entry.size && entry.reserved == 0);
      continue;
    }
    const BlobLayout layout(entry.size);
    WAGGLE_ASSERT(entry.held.size() == layout.chunk_count());
    WAGGLE_ASSERT(entry.bytes == bytes_of(entry.held, layout));
    WAGGLE_ASSERT(entry.reserved == (entry.users > 0 ? entry.size - entry.bytes : 0));
  }
  WAGGLE_ASSERT(bytes == bytes_ && reserved == reserved_ && blobs == blob_count_);
  WAGGLE_ASSERT(by_use_.size() == copies_.size());
}

}  // namespace waggle::cache
