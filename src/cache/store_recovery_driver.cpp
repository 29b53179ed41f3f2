// What the store does at start: find what is there, trust what was renamed into place, remove what crashes left.
#include "base/limits.hpp"
#include "cache/store_driver.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace waggle::cache {

Result<Recovered> StoreDriver::recover() {
  Recovered found;
  // Sidecars first: they hold the sizes that blobs are checked against.
  for (const auto step : {&StoreDriver::recover_sidecars, &StoreDriver::recover_blobs,
                          &StoreDriver::recover_partials, &StoreDriver::recover_pins}) {
    if (const auto done = (this->*step)(found); !done) return done.error();
  }
  std::sort(found.blobs.begin(), found.blobs.end(),
            [](const auto& a, const auto& b) { return a.digest < b.digest; });
  std::sort(found.partials.begin(), found.partials.end(), [](const auto& a, const auto& b) {
    return std::tie(a.digest, a.origin) < std::tie(b.digest, b.origin);
  });
  const std::lock_guard lock(mutex_);
  partial_count_ = found.partials.size();
  return found;
}

Result<void> StoreDriver::recover_blobs(Recovered& found) {
  for (const auto algorithm : {DigestAlgorithm::sha256, DigestAlgorithm::sha512}) {
    const std::string root = paths_.algorithm(algorithm);
    const auto prefixes = ops_.list(root);
    if (!prefixes) return prefixes.error();
    for (const auto& prefix : *prefixes) {
      const std::string directory = root + "/" + prefix;
      const auto stat = ops_.stat(directory);
      if (!stat) return stat.error();
      if (!stat->directory) continue;
      const auto names = ops_.list(directory);
      if (!names) return names.error();
      for (const auto& name : *names) {
        const auto digest = StorePaths::parse_hex(name);
        // What is called otherwise, or lies elsewhere, is not ours.
        if (!digest || paths_.blob(*digest) != directory + "/" + name) continue;
        const auto done = recover_blob(directory + "/" + name, *digest, found);
        if (!done) return done.error();
      }
    }
  }
  return {};
}

Result<void> StoreDriver::recover_blob(const std::string& path, const Digest& digest,
                                       Recovered& found) {
  const auto stat = ops_.stat(path);
  if (!stat) return stat.error();
  if (!stat->regular) return {};
  const auto proven = proven_size(digest);
  if (proven && *proven != stat->size) {
    if (const auto gone = ops_.unlink(path); !gone) return gone.error();
    ++found.removed;
    return {};
  }
  found.blobs.push_back({.digest = digest, .size = stat->size, .last_use = stat->modified});
  return {};
}

std::optional<std::uint64_t> StoreDriver::proven_size(const Digest& digest) {
  const auto file = File::open(ops_, paths_.sidecar(digest), OpenMode::read);
  if (!file) return std::nullopt;
  Bytes bytes(sidecar_head_bytes_max);
  const auto count = file->pread(bytes, 0);
  if (!count) return std::nullopt;
  const auto head = decode_sidecar_head(ByteView(bytes).first(*count));
  if (!head || head->digest != digest) return std::nullopt;
  return head->size;
}

Result<void> StoreDriver::recover_partials(Recovered& found) {
  const auto names = ops_.list(paths_.partials());
  if (!names) return names.error();
  for (const auto& name : *names) {
    if (!StorePaths::is_partial_name(name)) continue;
    const auto done = recover_partial(paths_.partials() + "/" + name, found);
    if (!done) return done.error();
  }
  return {};
}

Result<void> StoreDriver::recover_partial(const std::string& directory, Recovered& found) {
  const auto state = read_partial(ops_, directory);
  // A journal that lies under another name, or whose blob is complete by now, is a leftover like an unreadable one.
  bool keep = state && paths_.partial(state->header.digest, state->header.origin) == directory;
  if (keep) {
    const auto complete = find(paths_.blob(state->header.digest));
    if (!complete) return complete.error();
    keep = !complete->has_value();
  }
  if (!keep) {
    if (const auto gone = delete_partial_files(directory); !gone) return gone.error();
    ++found.removed;
    return {};
  }
  const BlobLayout layout(state->header.size);
  StoredPartial partial{.digest = state->header.digest,
                        .origin = state->header.origin,
                        .size = state->header.size,
                        .held = Bitfield(layout.chunk_count()),
                        .held_bytes = 0,
                        .last_use = 0};
  for (const auto& entry : state->chunks) {
    partial.held.set(to_value(entry.first));
    partial.held_bytes += layout.chunk_size(entry.first);
  }
  const auto journal = ops_.stat(directory + partial_journal_name);
  if (!journal) return journal.error();
  partial.last_use = journal->modified;
  found.partials.push_back(std::move(partial));
  return {};
}

Result<void> StoreDriver::recover_sidecars(Recovered& found) {
  const auto names = ops_.list(paths_.sidecars());
  if (!names) return names.error();
  std::size_t count = 0;
  for (const auto& name : *names) {
    if (StorePaths::is_temporary_name(name)) {
      const auto gone = ops_.unlink(paths_.sidecars() + "/" + name);
      if (!gone) return gone.error();
      ++found.removed;
    } else if (StorePaths::parse_hex(name)) {
      ++count;
    }
  }
  sidecar_count_ = count;
  if (count > limits::sidecars_max) return prune_sidecars(limits::sidecars_max);
  return {};
}

Result<void> StoreDriver::prune_sidecars(std::size_t keep) {
  const auto names = ops_.list(paths_.sidecars());
  if (!names) return names.error();
  std::vector<std::pair<std::int64_t, std::string>> candidates;  // (modified, path)
  std::size_t count = 0;
  for (const auto& name : *names) {
    const auto digest = StorePaths::parse_hex(name);
    if (!digest) continue;
    ++count;
    const auto copy = find(paths_.blob(*digest));
    if (!copy) return copy.error();
    if (*copy) continue;
    const std::string path = paths_.sidecar(*digest);
    const auto stat = ops_.stat(path);
    if (stat) candidates.emplace_back(stat->modified, path);
  }
  std::sort(candidates.begin(), candidates.end());
  for (const auto& candidate : candidates) {
    if (count <= keep) break;
    if (const auto gone = ops_.unlink(candidate.second); !gone) return gone.error();
    --count;
  }
  sidecar_count_ = count;
  return {};
}

Result<void> StoreDriver::recover_pins(Recovered& found) {
  const auto names = ops_.list(paths_.pins());
  if (!names) return names.error();
  for (const auto& name : *names) {
    if (const auto digest = StorePaths::parse_hex(name)) found.pins.push_back(*digest);
  }
  std::sort(found.pins.begin(), found.pins.end());
  for (auto& blob : found.blobs) {
    blob.pinned = std::binary_search(found.pins.begin(), found.pins.end(), blob.digest);
  }
  return {};
}

}  // namespace waggle::cache
