// A partial's chunk states: absent -> writing -> held; a resume starts at unchecked, and the first
// read decides.
#include "cache/partial_driver.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::cache {
namespace {

Result<Bytes> read_whole(FileOps& ops, const std::string& path, std::uint64_t size_max) {
  auto file = File::open(ops, path, OpenMode::read);
  if (!file) return file.error();
  const auto stat = ops.stat(path);
  if (!stat) return stat.error();
  if (!stat->regular || stat->size > size_max) return CacheError::corrupt;
  Bytes bytes(stat->size);
  const auto read = file->pread_exactly(bytes, 0);
  if (!read) return read.error();
  return bytes;
}

}  // namespace

Result<JournalState> read_partial(FileOps& ops, const std::string& directory) {
  const auto bytes = read_whole(ops, directory + partial_journal_name, limits::journal_bytes_max);
  if (!bytes) return bytes.error();
  auto state = replay_journal(*bytes);
  if (!state) return CacheError::corrupt;
  const auto data = ops.stat(directory + partial_data_name);
  if (!data) return data.error();
  if (!data->regular || data->size != state->header.size) return CacheError::corrupt;
  return state;
}

Partial::Partial(FileOps& ops, std::string directory, JournalHeader header)
    : ops_(ops),
      directory_(std::move(directory)),
      header_(std::move(header)),
      layout_(header_.size),
      states_(layout_.chunk_count(), ChunkState::absent),
      checksums_(layout_.chunk_count(), 0) {}

Result<void> Partial::open_files() {
  auto state = read_partial(ops_, directory_);
  if (state && state->header == header_) return resume(std::move(*state));
  if (!state && state.error() != CacheError::not_found && state.error() != CacheError::corrupt) {
    return state.error();
  }
  return create();
}

Result<void> Partial::resume(JournalState state) {
  auto data = File::open(ops_, directory_ + partial_data_name, OpenMode::update);
  if (!data) return data.error();
  auto journal = File::open(ops_, directory_ + partial_journal_name, OpenMode::update);
  if (!journal) return journal.error();
  // The torn tail goes, so that nothing behind the next record is ever read again.
  if (const auto cut = journal->truncate(state.valid_bytes); !cut) return cut.error();
  data_ = std::move(*data);
  journal_ = std::move(*journal);
  writer_ = JournalWriter(state.chain);
  journal_bytes_ = state.valid_bytes;
  for (auto& [index, chunk] : state.chunks) {
    states_[to_value(index)] = ChunkState::unchecked;
    checksums_[to_value(index)] = chunk.checksum;
    HeldChunk held{.chunk = index, .kind = chunk.kind, .proof = std::move(chunk.proof), .end = {}};
    if (const auto link = state.links.find(index); link != state.links.end()) {
      held.end = link->second;
    }
    resumed_.push_back(std::move(held));
  }
  held_count_ = resumed_.size();
  return {};
}

Result<void> Partial::create() {
  if (const auto made = ops_.make_directory(directory_); !made) return made.error();
  // An emptied journal first: from here on what lay here before cannot be resumed.
  auto journal = File::open(ops_, directory_ + partial_journal_name, OpenMode::truncate);
  if (!journal) return journal.error();
  auto data = File::open(ops_, directory_ + partial_data_name, OpenMode::truncate);
  if (!data) return data.error();
  if (const auto sized = data->truncate(header_.size); !sized) return sized.error();
  const Bytes record = writer_.header(header_);
  if (const auto written = journal->pwrite(record, 0); !written) return written.error();
  journal_bytes_ = record.size();
  data_ = std::move(*data);
  journal_ = std::move(*journal);
  return {};
}

std::vector<HeldChunk> Partial::take_resumed() {
  const std::lock_guard lock(mutex_);
  return std::exchange(resumed_, {});
}

Bitfield Partial::held() const {
  const std::lock_guard lock(mutex_);
  Bitfield held(states_.size());
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i] == ChunkState::held || states_[i] == ChunkState::unchecked) held.set(i);
  }
  return held;
}

std::vector<ChunkIndex> Partial::take_dropped() {
  const std::lock_guard lock(mutex_);
  return std::exchange(dropped_, {});
}

Partial::Phase Partial::phase() const {
  const std::lock_guard lock(mutex_);
  return phase_;
}

void Partial::set_phase(Phase phase) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
}

bool Partial::retire() {
  std::unique_lock lock(mutex_);
  if (phase_ != Phase::open) return false;
  phase_ = Phase::retired;
  written_.wait(lock, [this] { return writers_ == 0; });
  return true;
}

Result<void> Partial::append(const Bytes& record, std::uint64_t chain_before) {
  Result<void> written = CacheError::limit_exceeded;
  if (journal_bytes_ + record.size() <= limits::journal_bytes_max) {
    written = journal_.pwrite(record, journal_bytes_);
  }
  if (written) {
    journal_bytes_ += record.size();
  } else {
    // What a failed write left behind is overwritten by the next record; the chain keeps the rest
    // of it invalid.
    writer_.rewind(chain_before);
  }
  return written;
}

void Partial::settle(ChunkIndex chunk, bool stored) {
  states_[to_value(chunk)] = stored ? ChunkState::held : ChunkState::absent;
  if (stored) ++held_count_;
}

Result<void> Partial::write_chunk(ChunkIndex chunk, ByteView bytes, ProofKind kind,
                                  ByteView proof) {
  const auto index = to_value(chunk);
  if (index >= layout_.chunk_count() || bytes.size() != layout_.chunk_size(chunk) ||
      proof.size() > limits::journal_proof_bytes_max) {
    return CacheError::invalid;
  }
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::closed) return CacheError::closed;
    if (states_[index] == ChunkState::held) return {};
    if (phase_ != Phase::open) return CacheError::closed;
    if (states_[index] == ChunkState::writing) return CacheError::busy;
    if (states_[index] == ChunkState::unchecked) --held_count_;
    states_[index] = ChunkState::writing;
    ++writers_;
  }
  JournalChunk record{.checksum = checksum(bytes), .kind = kind, .proof = to_bytes(proof)};
  auto written = data_.pwrite(bytes, layout_.chunk_offset(chunk));
  const std::lock_guard lock(mutex_);
  if (--writers_ == 0) written_.notify_all();
  if (written && phase_ != Phase::open) written = CacheError::closed;
  if (written) {
    const std::uint64_t before = writer_.chain();
    written = append(writer_.chunk(chunk, record), before);
  }
  checksums_[index] = record.checksum;
  settle(chunk, written.has_value());
  return written;
}

void Partial::drop(ChunkIndex chunk) {
  states_[to_value(chunk)] = ChunkState::absent;
  --held_count_;
  dropped_.push_back(chunk);
  if (phase_ == Phase::retired) return;  // the journal may be another handle's
  // Without this record a restart would find the same mismatch again: its failure costs nothing
  // else.
  const std::uint64_t before = writer_.chain();
  static_cast<void>(append(writer_.drop(chunk), before));
}

Result<void> Partial::check_chunk(ChunkIndex chunk) {
  const auto index = to_value(chunk);
  for (;;) {
    std::uint64_t expected = 0;
    {
      const std::lock_guard lock(mutex_);
      if (states_[index] == ChunkState::held) return {};
      if (states_[index] != ChunkState::unchecked) return CacheError::not_held;
      expected = checksums_[index];
    }
    Bytes bytes(layout_.chunk_size(chunk));
    const auto read = data_.pread_exactly(bytes, layout_.chunk_offset(chunk));
    const std::lock_guard lock(mutex_);
    if (states_[index] != ChunkState::unchecked) continue;  // another thread was faster
    if (read && checksum(bytes) == expected) {
      states_[index] = ChunkState::held;
      return {};
    }
    drop(chunk);
    if (!read) return read.error();
    return CacheError::corrupt;
  }
}

Result<void> Partial::check(std::uint64_t offset, std::uint64_t size) {
  if (offset > layout_.size() || size > layout_.size() - offset) return CacheError::invalid;
  if (phase() == Phase::closed) return CacheError::closed;
  if (size == 0) return {};
  const auto last = to_value(layout_.chunk_at(offset + size - 1));
  for (auto index = to_value(layout_.chunk_at(offset)); index <= last; ++index) {
    if (const auto good = check_chunk(ChunkIndex{index}); !good) return good;
  }
  return {};
}

bool Partial::is_checked(std::uint64_t offset, std::uint64_t size) const {
  WAGGLE_ASSERT(offset <= layout_.size() && size <= layout_.size() - offset);
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::closed) return false;
  if (size == 0) return true;
  const auto first = to_value(layout_.chunk_at(offset));
  const auto last = to_value(layout_.chunk_at(offset + size - 1));
  return std::all_of(states_.begin() + first, states_.begin() + last + 1,
                     [](ChunkState state) { return state == ChunkState::held; });
}

Result<void> Partial::read(std::uint64_t offset, MutableByteView out) {
  if (const auto checked = check(offset, out.size()); !checked || out.empty()) return checked;
  return data_.pread_exactly(out, offset);
}

Result<Bytes> Partial::read_chunk(ChunkIndex chunk) {
  if (to_value(chunk) >= layout_.chunk_count()) return CacheError::invalid;
  if (phase() == Phase::closed) return CacheError::closed;
  if (const auto good = check_chunk(chunk); !good) return good.error();
  Bytes bytes(layout_.chunk_size(chunk));
  const auto read = data_.pread_exactly(bytes, layout_.chunk_offset(chunk));
  if (!read) return read.error();
  return bytes;
}

Result<void> Partial::add_link(ChunkIndex chunk, const Midstate& end) {
  if (to_value(chunk) >= layout_.chunk_count()) return CacheError::invalid;
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::open) return CacheError::closed;
  const ChunkState state = states_[to_value(chunk)];
  if (state != ChunkState::held && state != ChunkState::unchecked) return CacheError::not_held;
  const std::uint64_t before = writer_.chain();
  return append(writer_.link(chunk, end), before);
}

Result<void> Partial::seal() {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::sealed || phase_ == Phase::renamed) return {};
    if (phase_ != Phase::open) return CacheError::closed;
    if (held_count_ != states_.size()) return CacheError::incomplete;
  }
  // All of them, so that the caller learns of every chunk to fetch again.
  Result<void> checked;
  for (std::uint32_t index = 0; index < layout_.chunk_count(); ++index) {
    const auto good = check_chunk(ChunkIndex{index});
    if (!good && checked) checked = good;
  }
  if (!checked) return checked;
  set_phase(Phase::sealed);
  const auto synced = data_.sync();
  if (!synced) {
    // After a failed fsync the page cache no longer tells what is on disk: nothing here may be
    // believed again.
    set_phase(Phase::closed);
  }
  return synced;
}

}  // namespace waggle::cache
