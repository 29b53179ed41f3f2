// Choosing the way to a blob, and names.
#include "node/content_driver.hpp"

#include "node/reader_driver.hpp"
#include "node/url_reader_driver.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
using mirror::MirrorError;

constexpr Duration tag_fresh = std::chrono::seconds(5);
constexpr std::size_t sweep_min = 16;
constexpr std::size_t tag_lookups_max = 4096;  ///< beyond: finished ones are forgotten

ops::Protocol protocol_of(const mirror::BlobRequest& request) {
  return request.from_url ? ops::Protocol::overlaybd : ops::Protocol::oci;
}

ops::ByteSource to_metric(transfer::ChunkSource source) {
  switch (source) {
    case transfer::ChunkSource::local:
      return ops::ByteSource::local;
    case transfer::ChunkSource::peer:
      return ops::ByteSource::peer;
    case transfer::ChunkSource::upstream:
      return ops::ByteSource::upstream;
  }
  return ops::ByteSource::local;
}

/// A reader whose way ended before it began.
class FailedReader final : public mirror::BlobReader {
 public:
  explicit FailedReader(boost::system::error_code error) : error_(error) {}
  void async_open(mirror::Callback<mirror::BlobInfo> done) override { done(error_); }
  void async_read(std::uint64_t, MutableByteView, mirror::Callback<std::size_t> done) override {
    done(error_);
  }

 private:
  boost::system::error_code error_;
};

/// Upstream did not answer at all, or with its own trouble: names from the cluster may stand in.
bool upstream_is_down(const boost::system::error_code& error) {
  return error == MirrorError::timeout || error == MirrorError::connect_failed ||
         error == MirrorError::resolve_failed || error == MirrorError::unavailable ||
         error == MirrorError::proxy_failed || error == MirrorError::short_body ||
         error == MirrorError::protocol;
}

}  // namespace

const char* to_text(transfer::SwarmError error) {
  switch (error) {
    case transfer::SwarmError::not_found:
      return "upstream does not have it";
    case transfer::SwarmError::unauthorized:
      return "upstream wants a credential that nobody here has";
    case transfer::SwarmError::unreachable:
      return "nobody holds it and upstream cannot be reached";
    case transfer::SwarmError::bad_upstream:
      return "upstream's bytes do not match the digest";
    case transfer::SwarmError::too_large:
      return "larger than any blob may be";
    case transfer::SwarmError::unsupported:
      return "no length, or a digest algorithm without proofs";
    case transfer::SwarmError::store_failed:
      return "the store refused it (disk full or failing?)";
  }
  return "unknown";
}

ContentDriver::ContentDriver(asio::any_io_executor strand, const Config::Mirror& config,
                             const std::string& cluster_name, ContentDeps deps)
    : strand_(std::move(strand)),
      config_(config),
      id_key_(IdKey::for_cluster(cluster_name)),
      deps_(std::move(deps)) {}

ContentDriver::~ContentDriver() { *alive_ = false; }

bool ContentDriver::ready() const { return !draining_ && deps_.distributor.ready(deps_.now()); }

std::optional<mirror::BlobInfo> ContentDriver::known(const Digest& digest) const {
  if (const cache::CopyEntry* blob = deps_.distributor.catalog().find_blob(digest)) {
    return mirror::BlobInfo{blob->size, mirror::Source::local};
  }
  const TimePoint began = deps_.now();
  const auto size = deps_.distributor.gossip().content_size(digest);
  deps_.metrics.count_lookup(size.has_value(), deps_.now() - began);
  if (!size) return std::nullopt;
  return mirror::BlobInfo{*size, mirror::Source::peer};
}

std::unique_ptr<mirror::BlobReader> ContentDriver::open(const mirror::BlobRequest& request,
                                                        const mirror::RangeSpec* range) {
  if (deps_.distributor.catalog().find_blob(request.digest) != nullptr) {
    if (auto blob = deps_.payload.open_blob(request.digest)) {
      deps_.distributor.retain(deps_.now(), request.digest);
      deps_.payload.touch(request.digest);
      return std::make_unique<LocalReader>(*std::move(blob), request.digest, protocol_of(request),
                                           *this);
    }
    deps_.input([&](TimePoint at, transfer::Exchange&) {
      deps_.distributor.content_lost(at, request.digest);
    });
  }
  const auto origin = request.from_url ? deps_.upstream.origin_of_url(request.from_url->url)
                                       : deps_.upstream.origin_of(request.registry);
  if (!origin) return std::make_unique<FailedReader>(origin.error());
  if (config_.on_miss == "not_found" && deps_.distributor.holders_of(request.digest).empty()) {
    // overlaybd has nobody else to ask.
    if (request.from_url) return open_url(*request.from_url, range);
    return std::make_unique<FailedReader>(MirrorError::not_found);
  }
  if (request.size_only) return std::make_unique<SizeReader>(*this, request);
  const auto swarm = open_swarm(request, *origin);
  if (!swarm) return std::make_unique<FailedReader>(MirrorError::unavailable);
  if (deps_.distributor.exchange().is_tainted(deps_.now(), request.digest)) swarm_tainted(*swarm);
  const bool lazy = request.from_url && range != nullptr;
  if (lazy && config_.lazy_reads == "upstream") {
    // Beside it the swarm goes on, so that the blob is proven one day.
    return std::make_unique<UrlReader>(
        *this, *request.from_url, range,
        std::make_unique<SwarmReader>(*this, *swarm, ReaderId{next_reader_++}, range, lazy));
  }
  return std::make_unique<SwarmReader>(*this, *swarm, ReaderId{next_reader_++}, range, lazy);
}

std::optional<SwarmId> ContentDriver::open_swarm(const mirror::BlobRequest& request,
                                                 const std::string& origin) {
  std::optional<SwarmId> swarm;
  deps_.input([&](TimePoint at, transfer::Exchange& exchange) {
    swarm = deps_.distributor.open(at, {request.digest, origin});
    if (!swarm) return;
    const bool another_way =
        deps_.fetches.add_target(*swarm, {request.registry, request.repository, request.kind,
                                          request.from_url, protocol_of(request)});
    if (another_way) exchange.retry_upstream(at, *swarm);
    if (swarms_.size() >= swept_at_) sweep(exchange);
    const auto [state, is_new] = swarms_.try_emplace(*swarm);
    if (is_new) state->second.protocol = protocol_of(request);
  });
  return swarm;
}

std::unique_ptr<mirror::BlobReader> ContentDriver::open_url(const mirror::UrlSource& source,
                                                            const mirror::RangeSpec* range) {
  return std::make_unique<UrlReader>(*this, source, range, nullptr);
}

template <typename T>
void ContentDriver::answer(asio::awaitable<Result<T>> work, mirror::Callback<T> done) {
  asio::co_spawn(
      strand_,
      [](std::shared_ptr<bool> alive, asio::awaitable<Result<T>> running,
         mirror::Callback<T> callback) -> asio::awaitable<void> {
        auto result = co_await std::move(running);
        if (*alive) callback(std::move(result));
      }(alive_, std::move(work), std::move(done)),
      asio::detached);
}

void ContentDriver::async_size(const mirror::BlobRequest& request,
                               mirror::Callback<mirror::BlobInfo> done) {
  answer(ask_size(request), std::move(done));
}

asio::awaitable<Result<mirror::BlobInfo>> ContentDriver::ask_size(mirror::BlobRequest request) {
  mirror::UpstreamTarget target;
  target.registry = request.registry;
  target.repository = request.repository;
  target.path_and_query = mirror::blob_path(request.repository, request.digest);
  const auto upstream = deps_.upstream.head(std::move(target));
  const auto head = co_await upstream->start();
  count_answer(deps_.metrics, head);
  if (!head) co_return head.error();
  if (const auto error = mirror::error_of_status(head->status)) co_return error;
  if (!head->content_length) co_return MirrorError::unavailable;
  co_return mirror::BlobInfo{*head->content_length, mirror::Source::upstream};
}

void ContentDriver::wake(SwarmId swarm) {
  const auto found = swarms_.find(swarm);
  if (found == swarms_.end()) return;
  // A woken reader may finish and go: copy who is to be woken, look each up again.
  const std::vector<ReaderId> waiting(found->second.readers.begin(), found->second.readers.end());
  for (const ReaderId id : waiting) {
    asio::post(strand_, [this, alive = alive_, id] {
      if (!*alive) return;
      const auto reader = readers_.find(id);
      if (reader != readers_.end()) reader->second->advance();
    });
  }
}

void ContentDriver::swarm_size(SwarmId swarm, std::uint64_t size) {
  Swarm& state = swarms_[swarm];
  state.closed = false;  // after a refuted digest the same swarm starts over
  state.layout = BlobLayout(size);
  state.sources.assign(state.layout->chunk_count(), transfer::ChunkSource::local);
  state.present = Bitfield(state.layout->chunk_count());
  wake(swarm);
}

void ContentDriver::chunk_ready(SwarmId swarm, ChunkIndex chunk, transfer::ChunkSource source) {
  Swarm& state = swarms_[swarm];
  if (!state.layout || to_value(chunk) >= state.layout->chunk_count()) return;
  if (state.present.set(to_value(chunk)) && source != transfer::ChunkSource::upstream) {
    // Upstream bytes are counted as they arrive, also those that end up nowhere.
    deps_.metrics.add_bytes(state.protocol, to_metric(source), state.layout->chunk_size(chunk));
  }
  state.sources[to_value(chunk)] = source;
  wake(swarm);
}

void ContentDriver::swarm_proven(SwarmId swarm) {
  swarms_[swarm].proven = true;
  wake(swarm);
}

void ContentDriver::swarm_tainted(SwarmId swarm) { swarms_[swarm].tainted = true; }

void ContentDriver::swarm_failed(SwarmId swarm, transfer::SwarmError error) {
  if (error == transfer::SwarmError::bad_upstream) {
    deps_.metrics.count_verify_failure_upstream();
    deps_.fetches.note_wrong_bytes(swarm);
  }
  const auto found = swarms_.find(swarm);
  if (found == swarms_.end()) return;
  const std::vector<ReaderId> waiting(found->second.readers.begin(), found->second.readers.end());
  const FetchFailure failure = deps_.fetches.failure(swarm);
  for (const ReaderId id : waiting) {
    asio::post(strand_, [this, alive = alive_, id, error, failure] {
      if (!*alive) return;
      const auto reader = readers_.find(id);
      if (reader != readers_.end()) reader->second->fail(error_of(error), failure);
    });
  }
  // A swarm whose blob was never opened has nothing to close: this is its end.
  found->second.closed = true;
  deps_.fetches.swarm_closed(swarm);
  forget_if_done(swarm);
}

void ContentDriver::swarm_closed(SwarmId swarm, bool discard) {
  const auto found = swarms_.find(swarm);
  if (found == swarms_.end()) return;
  if (discard) {
    found->second.layout.reset();
    found->second.proven = false;
    for (const ReaderId id : found->second.readers) readers_.at(id)->discarded();
  }
  found->second.closed = true;
  forget_if_done(swarm);
}

// A swarm that ends before its size was known does so without a word.
void ContentDriver::sweep(const transfer::Exchange& exchange) {
  std::erase_if(swarms_, [&](const auto& entry) {
    const bool ended = entry.second.readers.empty() && !exchange.status(entry.first);
    if (ended) deps_.fetches.swarm_closed(entry.first);
    return ended;
  });
  swept_at_ = 2 * swarms_.size() + sweep_min;
}

void ContentDriver::forget_if_done(SwarmId swarm) {
  const auto found = swarms_.find(swarm);
  if (found != swarms_.end() && found->second.closed && found->second.readers.empty())
    swarms_.erase(found);
}

std::uint64_t ContentDriver::name_key(const mirror::TagRequest& request) const {
  return siphash(
      id_key_, as_bytes("tag:" + request.registry + "/" + request.repository + ":" + request.tag));
}

std::optional<mirror::ResolvedTag> ContentDriver::resolve_by_name(
    const mirror::TagRequest& request) const {
  const auto name = deps_.distributor.gossip().find_name(name_key(request));
  if (!name) return std::nullopt;
  return mirror::ResolvedTag{name->digest, name->size, name->media_type, mirror::Source::peer};
}

void ContentDriver::async_resolve_tag(const mirror::TagRequest& request,
                                      mirror::Callback<mirror::ResolvedTag> done) {
  if (config_.tags == "off") return done(MirrorError::not_found);
  if (config_.tags == "peers") {
    if (auto named = resolve_by_name(request)) return done(*std::move(named));
  }
  const std::string key = request.registry + "/" + request.repository + ":" + request.tag;
  const TimePoint now = deps_.now();
  if (tags_.size() >= tag_lookups_max) {
    std::erase_if(tags_, [](const auto& entry) { return entry.second.result.has_value(); });
  }
  auto [entry, is_new] = tags_.try_emplace(key);
  TagLookup& lookup = entry->second;
  if (!is_new && lookup.result && now - lookup.since < tag_fresh && *lookup.result)
    return done(*lookup.result);
  if (!is_new && !lookup.result) {
    lookup.waiting.push_back(std::move(done));
    return;
  }
  lookup = {now, std::nullopt, {}};
  lookup.waiting.push_back(std::move(done));
  asio::co_spawn(strand_, resolve(key, request), asio::detached);
}

asio::awaitable<void> ContentDriver::resolve(std::string key, mirror::TagRequest request) {
  const auto alive = alive_;
  auto result = co_await resolve_upstream(request);
  if (!*alive) co_return;
  if (result) {
    const auto known = deps_.distributor.gossip().find_name(name_key(request));
    if (!known || known->digest != result->digest) {
      deps_.input([&](TimePoint now, transfer::Exchange&) {
        deps_.distributor.announce_name(
            now, {name_key(request), result->digest, result->size, result->media_type},
            deps_.wall_ms());
      });
    }
  } else if (upstream_is_down(result.error())) {
    if (auto named = resolve_by_name(request)) result = *std::move(named);
  }
  TagLookup& lookup = tags_[key];
  lookup.since = deps_.now();
  lookup.result = result;
  for (auto& waiting : std::exchange(lookup.waiting, {})) waiting(result);
}

asio::awaitable<Result<mirror::ResolvedTag>> ContentDriver::resolve_upstream(
    mirror::TagRequest request) {
  mirror::UpstreamTarget target;
  target.registry = request.registry;
  target.repository = request.repository;
  target.path_and_query = mirror::manifest_path(request.repository, request.tag);
  target.accept = mirror::manifest_accept;
  const auto upstream = deps_.upstream.head(std::move(target));
  const auto head = co_await upstream->start();
  count_answer(deps_.metrics, head);
  if (!head) co_return head.error();
  if (const auto error = mirror::error_of_status(head->status)) co_return error;
  const auto digest = Digest::parse(head->docker_content_digest);
  if (!digest) co_return MirrorError::unavailable;
  co_return mirror::ResolvedTag{*digest, head->content_length.value_or(0), head->content_type,
                                mirror::Source::upstream};
}

void ContentDriver::async_forward(const mirror::ForwardRequest& request,
                                  mirror::Callback<mirror::ForwardResponse> done) {
  answer(forward(request), std::move(done));
}

asio::awaitable<Result<mirror::ForwardResponse>> ContentDriver::forward(
    mirror::ForwardRequest request) {
  mirror::UpstreamTarget target;
  target.registry = request.registry;
  target.repository = request.repository;
  target.path_and_query = request.path_and_query;
  target.accept = request.accept;
  const auto upstream =
      request.head ? deps_.upstream.head(std::move(target)) : deps_.upstream.get(std::move(target));
  const auto head = co_await upstream->start();
  count_answer(deps_.metrics, head);
  if (!head) co_return head.error();
  mirror::ForwardResponse response{head->status, head->content_type, head->link, {}};
  std::array<std::byte, 16 * limits::KiB> buffer{};
  while (!request.head) {
    const auto count = co_await upstream->read_some(buffer);
    if (!count) co_return count.error();
    if (*count == 0) break;
    if (response.body.size() + *count > limits::forward_body_bytes_max)
      co_return MirrorError::too_large;
    response.body += as_text(ByteView(buffer).first(*count));
  }
  co_return response;
}

}  // namespace waggle::node
