// Blocks of a chunk are asked in order; they may come in any order.
#include "transfer/downloads.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

constexpr std::uint32_t block_bytes = static_cast<std::uint32_t>(limits::block_bytes);

std::uint32_t block_count(std::uint32_t size) { return (size + block_bytes - 1) / block_bytes; }

std::uint32_t block_length(std::uint32_t size, std::uint32_t block) {
  return std::min(block_bytes, size - block * block_bytes);
}

constexpr ChunkIndex first_chunk{0};

}  // namespace

void Downloads::start(SessionId session, const NodeId& node, ChunkIndex chunk, std::uint32_t size,
                      TimePoint now, TimePoint deadline) {
  WAGGLE_ASSERT(size > 0);
  Download download{.node = node, .size = size, .started = now, .deadline = deadline};
  download.received = Bitfield(block_count(size));
  const bool added = downloads_.emplace(Key{session, chunk}, std::move(download)).second;
  WAGGLE_ASSERT(added);
  auto& sources = by_chunk_[chunk];
  sources.insert(std::lower_bound(sources.begin(), sources.end(), session), session);
  bytes_ += size;
}

void Downloads::extend(SessionId session, TimePoint deadline) {
  for (auto it = downloads_.lower_bound({session, first_chunk});
       it != downloads_.end() && it->first.first == session; ++it) {
    if (it->second.state != Download::State::active) continue;
    it->second.deadline = std::max(it->second.deadline, deadline);
  }
}

std::optional<BlockRequest> Downloads::next_request(SessionId session) {
  for (auto it = downloads_.lower_bound({session, first_chunk});
       it != downloads_.end() && it->first.first == session; ++it) {
    Download& download = it->second;
    if (download.state != Download::State::active) continue;
    if (download.next_block >= block_count(download.size)) continue;
    const std::uint32_t block = download.next_block++;
    return BlockRequest{it->first.second, block * block_bytes, block_length(download.size, block)};
  }
  return std::nullopt;
}

Downloads::Block Downloads::block(SessionId session, ChunkIndex chunk, std::uint32_t offset,
                                  std::uint32_t length) {
  Download* download = find(session, chunk);
  if (download == nullptr || download->state == Download::State::verifying) return Block::unwanted;
  const std::uint32_t block = offset / block_bytes;
  if (offset % block_bytes != 0 || block >= download->next_block ||
      length != block_length(download->size, block)) {
    return Block::unwanted;
  }
  if (!download->received.set(block)) return Block::unwanted;
  if (!download->received.all()) return Block::stored;
  download->state = Download::State::verifying;
  return Block::complete;
}

std::uint32_t Downloads::make_late(SessionId session, ChunkIndex chunk) {
  Download* download = find(session, chunk);
  if (download == nullptr || download->state != Download::State::active) return 0;
  const std::uint32_t waiting = waiting_blocks(*download);
  download->state = Download::State::late;
  return waiting;
}

std::uint32_t Downloads::erase(SessionId session, ChunkIndex chunk) {
  const auto it = downloads_.find({session, chunk});
  if (it == downloads_.end()) return 0;
  const std::uint32_t waiting = waiting_blocks(it->second);
  bytes_ -= it->second.size;
  downloads_.erase(it);
  const auto sources = by_chunk_.find(chunk);
  std::erase(sources->second, session);
  if (sources->second.empty()) by_chunk_.erase(sources);
  return waiting;
}

Download* Downloads::find(SessionId session, ChunkIndex chunk) {
  const auto it = downloads_.find({session, chunk});
  return it == downloads_.end() ? nullptr : &it->second;
}

std::vector<ChunkIndex> Downloads::chunks_of(SessionId session) const {
  std::vector<ChunkIndex> chunks;
  for (auto it = downloads_.lower_bound({session, first_chunk});
       it != downloads_.end() && it->first.first == session; ++it) {
    chunks.push_back(it->first.second);
  }
  return chunks;
}

std::size_t Downloads::active_of(SessionId session) const {
  std::size_t count = 0;
  for (auto it = downloads_.lower_bound({session, first_chunk});
       it != downloads_.end() && it->first.first == session; ++it) {
    if (it->second.state == Download::State::active) ++count;
  }
  return count;
}

std::uint64_t Downloads::bytes_of(SessionId session) const {
  std::uint64_t bytes = 0;
  for (auto it = downloads_.lower_bound({session, first_chunk});
       it != downloads_.end() && it->first.first == session; ++it) {
    bytes += it->second.size;
  }
  return bytes;
}

std::vector<SessionId> Downloads::sources_of(ChunkIndex chunk) const {
  const auto it = by_chunk_.find(chunk);
  return it == by_chunk_.end() ? std::vector<SessionId>{} : it->second;
}

std::size_t Downloads::live_sources_of(ChunkIndex chunk) const {
  const auto it = by_chunk_.find(chunk);
  if (it == by_chunk_.end()) return 0;
  return static_cast<std::size_t>(
      std::count_if(it->second.begin(), it->second.end(), [&](SessionId session) {
        return downloads_.at({session, chunk}).state != Download::State::late;
      }));
}

std::size_t Downloads::active_sources_of(ChunkIndex chunk) const {
  const auto sources = sources_of(chunk);
  return static_cast<std::size_t>(
      std::count_if(sources.begin(), sources.end(), [&](SessionId session) {
        return downloads_.at({session, chunk}).state == Download::State::active;
      }));
}

std::vector<Downloads::Key> Downloads::overdue(TimePoint now) const {
  std::vector<Key> keys;
  for (const auto& [key, download] : downloads_) {
    if (!download.submitted && download.deadline <= now) keys.push_back(key);
  }
  return keys;
}

std::uint32_t Downloads::waiting_blocks(const Download& download) {
  if (download.state != Download::State::active) return 0;
  return download.next_block - static_cast<std::uint32_t>(download.received.count());
}

void Downloads::check_invariants() const {
  std::uint64_t bytes = 0;
  std::size_t sources = 0;
  for (const auto& [key, download] : downloads_) {
    bytes += download.size;
    WAGGLE_ASSERT(download.received.size() == block_count(download.size));
    WAGGLE_ASSERT(download.next_block <= download.received.size());
    const auto it = by_chunk_.find(key.second);
    WAGGLE_ASSERT(it != by_chunk_.end());
    WAGGLE_ASSERT(std::binary_search(it->second.begin(), it->second.end(), key.first));
  }
  for (const auto& [chunk, sessions] : by_chunk_) sources += sessions.size();
  WAGGLE_ASSERT(bytes == bytes_);
  WAGGLE_ASSERT(sources == downloads_.size());
}

}  // namespace waggle::transfer
