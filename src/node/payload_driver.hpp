// Bytes of blobs between network, memory and disk, for the exchange's commands: reassembly buffers
// on the strand, hashing and files on a worker pool. Results come back on the strand.
#pragma once

#include "base/blob_layout.hpp"
#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "cache/store_driver.hpp"
#include "transfer/exchange.hpp"
#include "transfer/tcp_driver.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace waggle::node {

/// All calls and callbacks on the strand, unless stated. Callbacks are never called from inside the
/// call.
class PayloadDriver {
 public:
  using Sha256Bytes = std::array<std::byte, 32>;

  /// @param store  must outlive the object
  /// @param threads  workers, >= 1
  PayloadDriver(boost::asio::any_io_executor strand, cache::StoreDriver& store,
                std::size_t threads);
  /// Waits for running jobs; their callbacks are dropped.
  ~PayloadDriver();

  /// The workers, for jobs of others. They end with this object.
  [[nodiscard]] boost::asio::any_io_executor workers() { return pool_.get_executor(); }

  void create_blob(const transfer::CreateBlob& command,
                   std::function<void(std::optional<std::vector<transfer::StoredChunk>>)> done);
  /// Where a block of a chunk whose buffer there is already lies in it; empty when there is none.
  /// Valid until the chunk is verified or dropped.
  [[nodiscard]] MutableByteView block_place(SwarmId swarm, ChunkIndex chunk, SessionId source,
                                            std::uint32_t offset, std::uint32_t length);
  /// Copies a block into the buffer of (swarm, chunk, source), unless it lies in its place there.
  /// Blocks beyond the chunk are ignored.
  void receive_block(SwarmId swarm, ChunkIndex chunk, SessionId source, std::uint32_t offset,
                     ByteView data);
  /// The buffer of a chunk that comes from upstream, while it fills: block_source() reads it. Until
  /// drop_buffer().
  void lend_buffer(SwarmId swarm, ChunkIndex chunk, std::shared_ptr<const Bytes> bytes);
  /// The hash only when the command wants it. No answer once the blob was closed.
  void verify_chunk(const transfer::VerifyChunk& command,
                    std::function<void(transfer::ChunkVerdict, std::optional<transfer::ChunkSha256>,
                                       std::vector<transfer::ChunkSha256>)>
                        done);
  void drop_buffer(const transfer::DropBuffer& command);
  /// Plain sha256 of a whole chunk that came from upstream.
  void hash_chunk(std::shared_ptr<const Bytes> bytes, std::function<void(Sha256Bytes)> done);
  /// Stores a whole chunk that came from upstream, journalled with `record` (its CREC).
  /// @param partial  the file for which it was fetched: the swarm may have another by now
  void store_chunk(cache::PartialHandle partial, ChunkIndex chunk,
                   std::shared_ptr<const Bytes> bytes, Bytes record,
                   std::function<void(transfer::ChunkVerdict)> done);
  /// No answer once the blob was closed.
  void hash_link(const transfer::HashLink& command,
                 std::function<void(std::optional<Midstate>, std::optional<Digest>)> done);
  void commit_blob(const transfer::CommitBlob& command, std::function<void(bool)> done);
  /// Also while create_blob is under way: the next create_blob of the same key finds it closed.
  void close_blob(const transfer::CloseBlob& command);
  void load_midstates(const Digest& digest,
                      std::function<void(std::optional<std::vector<Midstate>>)> done);
  void remove_blob(const Digest& digest);
  void remove_partial(const Digest& digest, const std::string& origin);
  void touch(const Digest& digest);

  /// Reads the block when the session is about to send it. What comes from a buffer stays in
  /// memory until then, whatever becomes of the buffer.
  [[nodiscard]] transfer::PayloadSource block_source(const transfer::SendBlock& command);
  /// The file behind a swarm; nullptr until create_blob answered, and after close_blob.
  [[nodiscard]] cache::PartialHandle partial(SwarmId swarm) const;
  /// Fills `buffer` from a partial or complete blob on a worker. `buffer` must live until `done`.
  void read(cache::PartialHandle partial, std::uint64_t offset, MutableByteView buffer,
            std::function<void(Result<void>)> done);
  void read(cache::BlobHandle blob, std::uint64_t offset, MutableByteView buffer,
            std::function<void(Result<void>)> done);
  /// Checks what a resume found there, on a worker: then it may be sent from the file.
  void check(cache::PartialHandle partial, std::uint64_t offset, std::uint64_t size,
             std::function<void(Result<void>)> done);
  [[nodiscard]] Result<cache::BlobHandle> open_blob(const Digest& digest);

 private:
  using BufferKey = std::tuple<SwarmId, ChunkIndex, SessionId>;
  /// A chunk on its way in: every byte of it is written before any is read, so it is not zeroed.
  struct Buffer {
    explicit Buffer(std::size_t bytes_in_it)
        : bytes(std::make_unique_for_overwrite<std::byte[]>(bytes_in_it)), size(bytes_in_it) {}
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    [[nodiscard]] MutableByteView view() const { return {bytes.get(), size}; }
  };
  /// A partial from create_blob to close_blob.
  struct Open {
    BlobLayout layout;             ///< blocks may come before the file is there
    cache::PartialHandle made;     ///< touched only by jobs on lifecycle_
    cache::PartialHandle partial;  ///< touched only on strand_; empty until create_blob answered
  };

  /// `job` on any worker, then `done` with its result on the strand.
  template <typename Job, typename Done>
  void run(Job job, Done done);
  /// As run, but `done` only while the swarm has the file that it has now.
  template <typename Job, typename Done>
  void run_for(SwarmId swarm, Job job, Done done);
  template <typename Executor, typename Job, typename Done>
  void run_on(const Executor& executor, Job job, Done done);

  boost::asio::any_io_executor strand_;
  cache::StoreDriver& store_;
  std::map<SwarmId, std::shared_ptr<Open>> open_;
  std::map<BufferKey, std::shared_ptr<Buffer>> buffers_;
  std::map<BufferKey, std::shared_ptr<const Bytes>> lent_;
  std::map<Digest, cache::BlobHandle>
      served_;  ///< complete blobs being uploaded, at most served_max, oldest use out
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  boost::asio::thread_pool pool_;
  /// Begins and ends of partials in the order they were asked for: a key that is closed and opened
  /// again must not meet itself.
  boost::asio::strand<boost::asio::thread_pool::executor_type> lifecycle_;
};

}  // namespace waggle::node
