// What the mirror asks of this node: readers on local blobs and on swarms, tags, and requests
// passed on to upstream.
#pragma once

#include "cache/store_driver.hpp"
#include "mirror/content_source.hpp"
#include "mirror/error.hpp"
#include "mirror/upstream_driver.hpp"
#include "node/config.hpp"
#include "node/distributor.hpp"
#include "node/fetch_driver.hpp"
#include "node/payload_driver.hpp"
#include "ops/metrics.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace waggle::node {

/// For logs.
[[nodiscard]] const char* to_text(transfer::SwarmError error);

class LocalReader;
class SwarmReader;

/// Everything the content side needs from the node; all outlive it.
struct ContentDeps {
  Distributor& distributor;
  PayloadDriver& payload;
  FetchDriver& fetches;
  mirror::UpstreamDriver& upstream;
  ops::Metrics& metrics;
  CoreInput input;
  std::function<TimePoint()> now;
  std::function<std::uint64_t()> wall_ms;
};

/// All calls on the strand.
class ContentDriver final : public mirror::ContentSource {
 public:
  ContentDriver(boost::asio::any_io_executor strand, const Config::Mirror& config,
                const std::string& cluster_name, ContentDeps deps);
  ~ContentDriver() override;

  // mirror::ContentSource
  [[nodiscard]] bool ready() const override;
  [[nodiscard]] bool draining() const override { return draining_; }
  [[nodiscard]] std::optional<mirror::BlobInfo> known(const Digest& digest) const override;
  [[nodiscard]] std::unique_ptr<mirror::BlobReader> open(const mirror::BlobRequest& request,
                                                         const mirror::RangeSpec* range) override;
  [[nodiscard]] std::unique_ptr<mirror::BlobReader> open_url(
      const mirror::UrlSource& source, const mirror::RangeSpec* range) override;
  void async_resolve_tag(const mirror::TagRequest& request,
                         mirror::Callback<mirror::ResolvedTag> done) override;
  void async_forward(const mirror::ForwardRequest& request,
                     mirror::Callback<mirror::ForwardResponse> done) override;

  // Events of the core.
  void swarm_size(SwarmId swarm, std::uint64_t size);
  void chunk_ready(SwarmId swarm, ChunkIndex chunk, transfer::ChunkSource source);
  void swarm_proven(SwarmId swarm);
  /// From now on nothing of it is given out before its proof.
  void swarm_tainted(SwarmId swarm);
  void swarm_failed(SwarmId swarm, transfer::SwarmError error);
  /// `discard`: its bytes were worthless; readers that gave some of them out are cut, the others
  /// wait on.
  void swarm_closed(SwarmId swarm, bool discard);
  void set_draining() { draining_ = true; }

 private:
  friend class SizeReader;
  friend class SwarmReader;
  friend class LocalReader;
  friend class UrlReader;
  /// What readers need to know of an open swarm.
  struct Swarm {
    std::optional<BlobLayout> layout;
    std::vector<transfer::ChunkSource> sources;
    Bitfield present;
    bool proven = false;
    bool tainted = false;  ///< only proven bytes may be given out
    bool closed = false;   ///< the core is done with it; its last reader's leaving forgets it
    ops::Protocol protocol = ops::Protocol::oci;  ///< of the client that opened it
    std::set<ReaderId> readers;
  };
  struct TagLookup {
    TimePoint since;
    std::optional<Result<mirror::ResolvedTag>> result;
    std::vector<mirror::Callback<mirror::ResolvedTag>> waiting;
  };

  /// Runs `work` on the strand and hands its result over, unless this object is gone by then.
  template <typename T>
  void answer(boost::asio::awaitable<Result<T>> work, mirror::Callback<T> done);
  /// HEAD of the blob upstream.
  void async_size(const mirror::BlobRequest& request, mirror::Callback<mirror::BlobInfo> done);
  boost::asio::awaitable<Result<mirror::BlobInfo>> ask_size(mirror::BlobRequest request);
  [[nodiscard]] std::optional<SwarmId> open_swarm(const mirror::BlobRequest& request,
                                                  const std::string& origin);
  void sweep(const transfer::Exchange& exchange);
  void wake(SwarmId swarm);
  void forget_if_done(SwarmId swarm);
  [[nodiscard]] std::uint64_t name_key(const mirror::TagRequest& request) const;
  boost::asio::awaitable<Result<mirror::ResolvedTag>> resolve_upstream(mirror::TagRequest request);
  boost::asio::awaitable<void> resolve(std::string key, mirror::TagRequest request);
  [[nodiscard]] std::optional<mirror::ResolvedTag> resolve_by_name(
      const mirror::TagRequest& request) const;
  boost::asio::awaitable<Result<mirror::ForwardResponse>> forward(mirror::ForwardRequest request);

  boost::asio::any_io_executor strand_;
  const Config::Mirror& config_;
  IdKey id_key_;
  ContentDeps deps_;
  std::map<SwarmId, Swarm> swarms_;
  std::map<ReaderId, SwarmReader*> readers_;
  std::map<std::string, TagLookup> tags_;
  std::uint64_t next_reader_ = 1;
  std::size_t swept_at_ = 0;
  bool draining_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace waggle::node
