// The two ways through a blob: a complete file of this node, and a swarm that is still filling.
#pragma once

#include "cache/store_driver.hpp"
#include "mirror/content_source.hpp"
#include "mirror/error.hpp"
#include "node/content_driver.hpp"

#include <memory>
#include <optional>

namespace waggle::node {

/// A blob that is complete here.
class LocalReader final : public mirror::BlobReader {
 public:
  /// @pre the catalog retains the blob for this reader
  LocalReader(cache::BlobHandle blob, const Digest& digest, ops::Protocol protocol,
              ContentDriver& content);
  ~LocalReader() override;
  void async_open(mirror::Callback<mirror::BlobInfo> done) override;
  void async_read(std::uint64_t offset, MutableByteView buffer,
                  mirror::Callback<std::size_t> done) override;
  [[nodiscard]] std::optional<int> complete_file_descriptor() const override { return blob_->fd(); }
  void file_bytes_sent(std::uint64_t bytes) override;

 private:
  cache::BlobHandle blob_;
  Digest digest_;
  ops::Protocol protocol_;
  ContentDriver& content_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// The size of a blob that neither this node nor the index knows: asked of upstream, nothing is
/// fetched.
class SizeReader final : public mirror::BlobReader {
 public:
  SizeReader(ContentDriver& content, mirror::BlobRequest request);
  ~SizeReader() override;
  void async_open(mirror::Callback<mirror::BlobInfo> done) override;
  void async_read(std::uint64_t offset, MutableByteView buffer,
                  mirror::Callback<std::size_t> done) override;

 private:
  ContentDriver& content_;
  mirror::BlobRequest request_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// A blob in a swarm. Gives out only verified chunks, and of a whole body the last
/// limits::held_tail_bytes only when the digest is proven.
class SwarmReader final : public mirror::BlobReader {
 public:
  /// @param range  as the client wrote it; a range from 0 (or none) holds the tail back
  /// @param lazy  a range on /blobs: never held back, and its chunk is fetched at once
  SwarmReader(ContentDriver& content, SwarmId swarm, ReaderId id, const mirror::RangeSpec* range,
              bool lazy);
  ~SwarmReader() override;
  void async_open(mirror::Callback<mirror::BlobInfo> done) override;
  void async_read(std::uint64_t offset, MutableByteView buffer,
                  mirror::Callback<std::size_t> done) override;
  [[nodiscard]] bool is_in_file() const override { return true; }
  void async_locate(std::uint64_t offset, std::uint64_t size_max,
                    mirror::Callback<mirror::FileSpan> done) override;

  [[nodiscard]] std::string refused() const override;
  [[nodiscard]] boost::system::error_code upstream_error() const override;

  /// Something changed in the swarm: goes on if it can.
  void advance();
  void fail(const boost::system::error_code& error, FetchFailure failure = {});
  /// The swarm's bytes turned out worthless. What was given out cannot be called back: then this
  /// reader ends.
  void discarded();

 private:
  [[nodiscard]] std::uint64_t readable_until(const ContentDriver::Swarm& swarm,
                                             std::uint64_t offset) const;
  [[nodiscard]] FetchFailure failure() const;
  void finish_open(const ContentDriver::Swarm& swarm);
  void move(std::uint64_t offset);
  void start_read(std::uint64_t bytes);
  void start_locate(std::uint64_t bytes);
  void located(Result<void> checked, std::uint64_t bytes);

  ContentDriver& content_;
  cache::PartialHandle partial_;  ///< kept: the swarm may close while this reads on
  SwarmId swarm_;
  ReaderId id_;
  std::optional<mirror::RangeSpec> range_;
  bool lazy_;
  std::uint64_t offset_ = 0;
  std::optional<boost::system::error_code> error_;
  FetchFailure failure_;  ///< as the swarm knew it when it ended
  mirror::Callback<mirror::BlobInfo> opening_;
  mirror::Callback<std::size_t> reading_;
  MutableByteView buffer_;
  mirror::Callback<mirror::FileSpan> locating_;
  cache::PartialHandle located_;  ///< keeps the descriptor that was given out open
  std::uint64_t span_bytes_max_ = 0;
  bool busy_ = false;
  bool gave_bytes_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// What a failed swarm tells its readers.
[[nodiscard]] mirror::MirrorError error_of(transfer::SwarmError error);

}  // namespace waggle::node
