// Jobs on the pool, results on the strand.
#include "node/payload_driver.hpp"

#include "base/limits.hpp"

#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "base/sha256.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <thread>
#include <type_traits>
#include <utility>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
using transfer::ChunkVerdict;

constexpr std::size_t served_max = 64;
constexpr auto write_wait = std::chrono::milliseconds(1);
constexpr int write_waits_max = 5000;

/// True when `bytes` prove themselves as chunk `chunk` of the blob.
bool proves(const transfer::ChunkProof& proof, ByteView bytes, const BlobLayout& layout,
            ChunkIndex chunk, const Digest& digest) {
  if (const auto* crec = std::get_if<transfer::CrecProof>(&proof)) {
    const Digest actual = sha256_of(bytes);
    return std::equal(actual.bytes().begin(), actual.bytes().end(), crec->sha256.begin());
  }
  const auto& link = std::get<transfer::LinkProof>(proof);
  Sha256 hash(link.begin, layout.chunk_offset(chunk));
  hash.update(bytes);
  return link.is_last ? hash.finish() == digest : hash.midstate() == link.end;
}

struct Verified {
  ChunkVerdict verdict{};
  std::optional<transfer::ChunkSha256> hash;
  std::vector<transfer::ChunkSha256> blocks;
};

transfer::ChunkSha256 plain_hash(ByteView bytes) {
  transfer::ChunkSha256 hash{};
  const Digest digest = sha256_of(bytes);
  std::copy(digest.bytes().begin(), digest.bytes().end(), hash.begin());
  return hash;
}

std::vector<transfer::ChunkSha256> block_hashes(ByteView bytes) {
  std::vector<transfer::ChunkSha256> hashes;
  for (std::size_t at = 0; at < bytes.size(); at += limits::block_bytes) {
    hashes.push_back(plain_hash(
        bytes.subspan(at, std::min<std::size_t>(limits::block_bytes, bytes.size() - at))));
  }
  return hashes;
}

/// Stores a verified chunk. Two verified copies of one chunk may meet here (endgame): the second
/// waits until the first is on disk, and then finds the chunk held.
ChunkVerdict store(cache::Partial& partial, ChunkIndex chunk, ByteView bytes, cache::ProofKind kind,
                   ByteView record) {
  for (int i = 0; i < write_waits_max; ++i) {
    const auto stored = partial.write_chunk(chunk, bytes, kind, record);
    if (stored) return ChunkVerdict::ok;
    if (stored.error() != cache::CacheError::busy) break;
    std::this_thread::sleep_for(write_wait);
  }
  return ChunkVerdict::store_failed;
}

/// The midstate list of a complete blob, by one pass over it.
std::optional<std::vector<Midstate>> compute_midstates(const cache::BlobFile& blob,
                                                       const Digest& digest) {
  const BlobLayout layout(blob.size());
  std::vector<Midstate> midstates;
  Sha256 hash;
  Bytes bytes;
  for (std::uint32_t i = 0; i < layout.chunk_count(); ++i) {
    bytes.resize(layout.chunk_size(ChunkIndex{i}));
    if (!blob.read(layout.chunk_offset(ChunkIndex{i}), bytes)) return std::nullopt;
    hash.update(bytes);
    if (i + 1 < layout.chunk_count()) midstates.push_back(hash.midstate());
  }
  if (hash.finish() != digest) return std::nullopt;
  return midstates;
}

}  // namespace

PayloadDriver::PayloadDriver(asio::any_io_executor strand, cache::StoreDriver& store,
                             std::size_t threads)
    : strand_(std::move(strand)),
      store_(store),
      pool_(std::max<std::size_t>(1, threads)),
      lifecycle_(asio::make_strand(pool_)) {}

PayloadDriver::~PayloadDriver() {
  *alive_ = false;
  pool_.join();
}

template <typename Job, typename Done>
void PayloadDriver::run(Job job, Done done) {
  run_on(pool_.get_executor(), std::move(job), std::move(done));
}

template <typename Job, typename Done>
void PayloadDriver::run_for(SwarmId swarm, Job job, Done done) {
  const auto found = open_.find(swarm);
  run(std::move(job), [this, swarm, open = found == open_.end() ? nullptr : found->second,
                       done = std::move(done)](auto result) mutable {
    const auto now_open = open_.find(swarm);
    if (open && now_open != open_.end() && now_open->second == open) done(std::move(result));
  });
}

template <typename Executor, typename Job, typename Done>
void PayloadDriver::run_on(const Executor& executor, Job job, Done done) {
  asio::post(executor, [strand = strand_, alive = alive_, job = std::move(job),
                        done = std::move(done)]() mutable {
    auto result = job();
    asio::post(strand, [alive, done = std::move(done), result = std::move(result)]() mutable {
      if (*alive) done(std::move(result));
    });
  });
}

void PayloadDriver::create_blob(
    const transfer::CreateBlob& command,
    std::function<void(std::optional<std::vector<transfer::StoredChunk>>)> done) {
  const auto open = std::make_shared<Open>();
  open->layout = BlobLayout(command.size);
  open_[command.swarm] = open;
  run_on(
      lifecycle_,
      [&store = store_, open, key = command.key, size = command.size] {
        auto begun = store.begin(key.digest, key.origin, size);
        if (begun) open->made = *begun;
        return begun;
      },
      [open, done = std::move(done)](Result<cache::PartialHandle> partial) {
        if (!partial) return done(std::nullopt);
        std::vector<transfer::StoredChunk> held;
        for (auto& chunk : (*partial)->take_resumed()) {
          held.push_back({chunk.chunk, chunk.kind == cache::ProofKind::linked
                                           ? Bytes{}
                                           : std::move(chunk.proof)});
        }
        // Closed in the meantime: then nobody reads what is set here.
        open->partial = *std::move(partial);
        done(std::move(held));
      });
}

void PayloadDriver::receive_block(SwarmId swarm, ChunkIndex chunk, SessionId source,
                                  std::uint32_t offset, ByteView data) {
  const auto open = open_.find(swarm);
  if (open == open_.end()) return;
  const BlobLayout& layout = open->second->layout;
  if (to_value(chunk) >= layout.chunk_count()) return;
  const std::uint64_t chunk_size = layout.chunk_size(chunk);
  if (offset > chunk_size || data.size() > chunk_size - offset) return;
  auto& buffer = buffers_[{swarm, chunk, source}];
  if (!buffer) buffer = std::make_shared<Buffer>(chunk_size);
  const MutableByteView place = buffer->view().subspan(offset, data.size());
  if (place.data() != data.data()) std::copy(data.begin(), data.end(), place.begin());
}

void PayloadDriver::lend_buffer(SwarmId swarm, ChunkIndex chunk,
                                std::shared_ptr<const Bytes> bytes) {
  lent_[{swarm, chunk, transfer::fetch_source}] = std::move(bytes);
}

MutableByteView PayloadDriver::block_place(SwarmId swarm, ChunkIndex chunk, SessionId source,
                                           std::uint32_t offset, std::uint32_t length) {
  const auto found = buffers_.find({swarm, chunk, source});
  if (found == buffers_.end()) return {};
  const Buffer& buffer = *found->second;
  if (offset > buffer.size || length > buffer.size - offset) return {};
  return buffer.view().subspan(offset, length);
}

void PayloadDriver::drop_buffer(const transfer::DropBuffer& command) {
  buffers_.erase({command.swarm, command.chunk, command.source});
  lent_.erase({command.swarm, command.chunk, command.source});
}

void PayloadDriver::verify_chunk(
    const transfer::VerifyChunk& command,
    std::function<void(ChunkVerdict, std::optional<transfer::ChunkSha256>,
                       std::vector<transfer::ChunkSha256>)>
        done) {
  const auto partial = this->partial(command.swarm);
  const auto buffer = buffers_.find({command.swarm, command.chunk, command.source});
  if (!partial || (buffer == buffers_.end() && partial->layout().size() != 0)) {
    asio::post(strand_, [alive = alive_, done = std::move(done)] {
      if (*alive) done(ChunkVerdict::store_failed, std::nullopt, {});
    });
    return;
  }
  std::shared_ptr<Buffer> taken;
  if (buffer != buffers_.end()) {
    taken = std::move(buffer->second);
    buffers_.erase(buffer);
  }
  run_for(
      command.swarm,
      [partial, command, taken = std::move(taken)]() -> Verified {
        const ByteView bytes = taken ? taken->view() : MutableByteView{};
        Verified result;
        if (command.want_sha256) result.hash = plain_hash(bytes);
        const bool is_right =
            proves(command.proof, bytes, partial->layout(), command.chunk, partial->digest());
        if (command.want_blocks == transfer::BlockHashes::always ||
            (command.want_blocks == transfer::BlockHashes::if_wrong && !is_right)) {
          result.blocks = block_hashes(bytes);
        }
        if (!is_right) {
          result.verdict = ChunkVerdict::mismatch;
          return result;
        }
        const bool linked = std::holds_alternative<transfer::LinkProof>(command.proof);
        const auto kind = linked ? cache::ProofKind::linked : cache::ProofKind::crec;
        result.verdict = store(*partial, command.chunk, bytes, kind, command.record);
        return result;
      },
      [done = std::move(done)](Verified verified) {
        done(verified.verdict, verified.hash, std::move(verified.blocks));
      });
}

void PayloadDriver::hash_chunk(std::shared_ptr<const Bytes> bytes,
                               std::function<void(Sha256Bytes)> done) {
  run([bytes = std::move(bytes)] { return plain_hash(*bytes); }, std::move(done));
}

void PayloadDriver::store_chunk(cache::PartialHandle partial, ChunkIndex chunk,
                                std::shared_ptr<const Bytes> bytes, Bytes record,
                                std::function<void(ChunkVerdict)> done) {
  run(
      [partial = std::move(partial), chunk, bytes = std::move(bytes), record = std::move(record)] {
        if (!partial) return ChunkVerdict::store_failed;
        return store(*partial, chunk, *bytes, cache::ProofKind::own, record);
      },
      std::move(done));
}

void PayloadDriver::hash_link(
    const transfer::HashLink& command,
    std::function<void(std::optional<Midstate>, std::optional<Digest>)> done) {
  using Ends = std::pair<std::optional<Midstate>, std::optional<Digest>>;
  run_for(
      command.swarm,
      [partial = this->partial(command.swarm), command]() -> Ends {
        if (!partial) return {};
        const auto bytes = partial->read_chunk(command.chunk);
        if (!bytes) return {};
        const BlobLayout& layout = partial->layout();
        Sha256 hash(command.begin, layout.chunk_offset(command.chunk));
        hash.update(*bytes);
        if (to_value(command.chunk) + 1 == layout.chunk_count())
          return {std::nullopt, hash.finish()};
        return {hash.midstate(), std::nullopt};
      },
      [done = std::move(done)](Ends ends) { done(ends.first, ends.second); });
}

void PayloadDriver::commit_blob(const transfer::CommitBlob& command,
                                std::function<void(bool)> done) {
  run(
      [&store = store_, partial = this->partial(command.swarm), midstates = command.midstates] {
        return partial && store.commit(partial, midstates).has_value();
      },
      std::move(done));
}

void PayloadDriver::close_blob(const transfer::CloseBlob& command) {
  const auto is_of_swarm = [&command](const auto& buffer) {
    return std::get<0>(buffer.first) == command.swarm;
  };
  std::erase_if(buffers_, is_of_swarm);
  std::erase_if(lent_, is_of_swarm);
  const auto found = open_.find(command.swarm);
  if (found == open_.end()) return;
  run_on(
      lifecycle_,
      [&store = store_, open = found->second, discard = command.discard] {
        if (!open->made) return false;
        return (discard ? store.abandon(open->made) : store.close(open->made)).has_value();
      },
      [](bool) {});
  open_.erase(found);
}

void PayloadDriver::load_midstates(const Digest& digest,
                                   std::function<void(std::optional<std::vector<Midstate>>)> done) {
  run(
      [&store = store_, digest]() -> std::optional<std::vector<Midstate>> {
        auto list = store.read_midstates(digest);
        if (list) return std::move(list->midstates);
        const auto blob = store.open_blob(digest);
        if (!blob) return std::nullopt;
        auto midstates = compute_midstates(**blob, digest);
        if (midstates) {
          // Keeping the list is an economy; failing to is no error.
          (void)store.write_midstates({digest, (*blob)->size(), *midstates});
        }
        return midstates;
      },
      std::move(done));
}

void PayloadDriver::remove_blob(const Digest& digest) {
  served_.erase(digest);
  run([&store = store_, digest] { return store.remove(digest).has_value(); }, [](bool) {});
}

void PayloadDriver::remove_partial(const Digest& digest, const std::string& origin) {
  run_on(
      lifecycle_,
      [&store = store_, digest, origin] {
        return store.remove_partial(digest, origin).has_value();
      },
      [](bool) {});
}

void PayloadDriver::touch(const Digest& digest) {
  run([&store = store_, digest] { return store.touch(digest).has_value(); }, [](bool) {});
}

transfer::PayloadSource PayloadDriver::block_source(const transfer::SendBlock& command) {
  if (command.source) {
    const BufferKey key{command.swarm.value_or(SwarmId{}), command.chunk, *command.source};
    if (const auto lent = lent_.find(key); lent != lent_.end()) {
      return transfer::payload_of(lent->second, command.offset);
    }
    if (const auto own = buffers_.find(key); own != buffers_.end()) {
      return [buffer = own->second, at = command.offset](MutableByteView out) -> Result<void> {
        const ByteView bytes = buffer->view().subspan(at, out.size());
        std::copy(bytes.begin(), bytes.end(), out.begin());
        return {};
      };
    }
    const auto gone =
        boost::system::errc::make_error_code(boost::system::errc::no_such_file_or_directory);
    return [gone](MutableByteView) -> Result<void> { return boost::system::error_code(gone); };
  }
  if (command.swarm) {
    if (const auto partial = this->partial(*command.swarm)) {
      const std::uint64_t at = partial->layout().chunk_offset(command.chunk) + command.offset;
      return [partial, at](MutableByteView out) { return partial->read(at, out); };
    }
  }
  auto blob = open_blob(command.digest);
  if (!blob) return [error = blob.error()](MutableByteView) -> Result<void> { return error; };
  const std::uint64_t at = BlobLayout((*blob)->size()).chunk_offset(command.chunk) + command.offset;
  return [blob = *std::move(blob), at](MutableByteView out) { return blob->read(at, out); };
}

cache::PartialHandle PayloadDriver::partial(SwarmId swarm) const {
  const auto found = open_.find(swarm);
  return found == open_.end() ? nullptr : found->second->partial;
}

void PayloadDriver::read(cache::PartialHandle partial, std::uint64_t offset, MutableByteView buffer,
                         std::function<void(Result<void>)> done) {
  run([partial = std::move(partial), offset, buffer] { return partial->read(offset, buffer); },
      std::move(done));
}

void PayloadDriver::read(cache::BlobHandle blob, std::uint64_t offset, MutableByteView buffer,
                         std::function<void(Result<void>)> done) {
  run([blob = std::move(blob), offset, buffer] { return blob->read(offset, buffer); },
      std::move(done));
}

void PayloadDriver::check(cache::PartialHandle partial, std::uint64_t offset, std::uint64_t size,
                          std::function<void(Result<void>)> done) {
  run([partial = std::move(partial), offset, size] { return partial->check(offset, size); },
      std::move(done));
}

Result<cache::BlobHandle> PayloadDriver::open_blob(const Digest& digest) {
  const auto found = served_.find(digest);
  if (found != served_.end()) return found->second;
  auto blob = store_.open_blob(digest);
  if (blob) {
    if (served_.size() >= served_max) served_.erase(served_.begin());
    served_[digest] = *blob;
  }
  return blob;
}

}  // namespace waggle::node
