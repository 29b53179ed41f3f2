// Upstream fetches for the exchange: one coroutine per StartFetch, chunk by chunk from the TLS
// buffer to the store.
#pragma once

#include "base/ids.hpp"
#include "base/prng.hpp"
#include "mirror/content_source.hpp"
#include "mirror/error.hpp"
#include "mirror/upstream_driver.hpp"
#include "node/payload_driver.hpp"
#include "node/trouble_log.hpp"
#include "ops/metrics.hpp"
#include "transfer/exchange.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace waggle::node {

/// Where and as what a swarm's blob is found upstream: as its client named it.
struct FetchTarget {
  std::string registry;
  std::string repository;
  mirror::BlobRequest::Kind kind = mirror::BlobRequest::Kind::blob;
  std::optional<mirror::UrlSource> url;  ///< instead: a client's own URL, in memory only
  ops::Protocol protocol = ops::Protocol::oci;
  [[nodiscard]] bool same_way(const FetchTarget& other) const;
};

/// Why upstream did not deliver, for the clients that wait.
struct FetchFailure {
  boost::system::error_code error;
  std::string refused;  ///< host:port, when the error is a refusal
};

/// Counts the request that `head` answers; a pause kept by this node was none.
void count_answer(ops::Metrics& metrics, const Result<mirror::UpstreamHead>& head);

/// Runs an input on the core at the present time, then drains it.
using CoreInput = std::function<void(const std::function<void(TimePoint, transfer::Exchange&)>&)>;

/// All calls on the strand. Every started fetch ends in exactly one fetch_ended, canceled ones too.
class FetchDriver {
 public:
  FetchDriver(boost::asio::any_io_executor strand, mirror::UpstreamDriver& upstream,
              PayloadDriver& payload, ops::Metrics& metrics, CoreInput input);

  /// One more way to the swarm's blob, tried before the older ones; one that upstream denies is
  /// dropped. At most limits::fetch_targets_max are kept.
  /// @return true when it is new and the ways before it had failed: the core may try again
  bool add_target(SwarmId swarm, FetchTarget target);
  [[nodiscard]] FetchFailure failure(SwarmId swarm) const;
  void start(const transfer::StartFetch& command);
  void cancel(FetchId fetch);
  /// The swarm's file is open: a fetch that waited for the size may go on.
  void blob_opened(SwarmId swarm);
  /// Relayed bytes left: a fetch whose chunks wait to be passed on may go on.
  void relay_moved();
  void swarm_closed(SwarmId swarm) { ways_.erase(swarm); }
  void stop();
  /// Upstream's bytes did not have their digest: said in the log.
  void note_wrong_bytes(SwarmId swarm);

 private:
  struct Fetch;
  struct Ways {
    std::deque<FetchTarget> targets;  ///< newest first
    FetchFailure failure;             ///< of the last one that failed
  };
  [[nodiscard]] bool next_way(Fetch& fetch, const FetchFailure& failure);
  boost::asio::awaitable<void> run(std::shared_ptr<Fetch> fetch);
  [[nodiscard]] static mirror::UpstreamTarget upstream_target(const Fetch& fetch,
                                                              const mirror::ByteRange& range);
  boost::asio::awaitable<Result<mirror::UpstreamHead>> ask(std::shared_ptr<Fetch> fetch,
                                                           mirror::ByteRange range);
  boost::asio::awaitable<Result<mirror::UpstreamHead>> ask_all_ways(std::shared_ptr<Fetch> fetch,
                                                                    mirror::ByteRange range);
  boost::asio::awaitable<std::optional<transfer::FetchEnd>> open_body(std::shared_ptr<Fetch> fetch);
  boost::asio::awaitable<std::optional<transfer::FetchEnd>> resume(std::shared_ptr<Fetch> fetch,
                                                                   std::uint64_t next,
                                                                   boost::system::error_code why);
  boost::asio::awaitable<Result<std::size_t>> read(std::shared_ptr<Fetch> fetch,
                                                   MutableByteView room);
  [[nodiscard]] transfer::FetchEnd end_of_status(const Fetch& fetch,
                                                 const mirror::UpstreamHead& head);
  [[nodiscard]] transfer::FetchEnd end_of_error(const Fetch& fetch,
                                                const boost::system::error_code& error);
  void note(const FetchTarget& target, std::string what, std::string about, std::string remedy);
  boost::asio::awaitable<transfer::FetchEnd> transfer_body(std::shared_ptr<Fetch> fetch);
  [[nodiscard]] bool note_received(Fetch& fetch, ChunkIndex chunk, std::size_t filled,
                                   std::size_t count);
  [[nodiscard]] bool is_relay_full();
  boost::asio::awaitable<void> wait_for_relay(std::shared_ptr<Fetch> fetch);
  boost::asio::awaitable<bool> wait(std::shared_ptr<Fetch> fetch, std::function<bool()> ready);
  void deliver_chunk(const std::shared_ptr<Fetch>& fetch, ChunkIndex chunk,
                     std::shared_ptr<const Bytes> bytes);

  boost::asio::any_io_executor strand_;
  mirror::UpstreamDriver& upstream_;
  PayloadDriver& payload_;
  ops::Metrics& metrics_;
  CoreInput input_;
  std::map<SwarmId, Ways> ways_;
  std::map<FetchId, std::shared_ptr<Fetch>> fetches_;
  TroubleLog troubles_;
  Prng prng_;  ///< for the jitter of resumes
};

}  // namespace waggle::node
