// The fetch coroutine: head, size, chunks, end.
#include "node/fetch_driver.hpp"

#include "base/limits.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
using transfer::FetchEnd;

constexpr std::size_t read_bytes = 256 * limits::KiB;
/// Chunks hashed or written at once; beyond, the body waits, and TCP's window slows upstream.
constexpr std::size_t chunks_in_store_max = 4;
constexpr std::uint64_t progress_bytes = 256 * limits::KiB;

FetchEnd::Kind kind_of(const boost::system::error_code& error) {
  if (error == mirror::MirrorError::canceled) return FetchEnd::Kind::canceled;
  // What this node refuses another may be allowed: like a credential that is not here.
  if (error == mirror::MirrorError::no_credential || error == mirror::MirrorError::refused_host ||
      error == mirror::MirrorError::refused_address) {
    return FetchEnd::Kind::unauthorized;
  }
  return FetchEnd::Kind::failed;
}

FetchEnd end_of_status(const mirror::UpstreamHead& head) {
  if (head.status == 401 || head.status == 403) return {FetchEnd::Kind::unauthorized, {}};
  if (head.status == 404 || head.status == 410) return {FetchEnd::Kind::not_found, {}};
  if (head.status == 429 || head.status == 503)
    return {FetchEnd::Kind::throttled, head.retry_after};
  return {FetchEnd::Kind::failed, {}};
}

}  // namespace

struct FetchDriver::Fetch {
  Fetch(asio::any_io_executor strand, transfer::StartFetch start, FetchTarget where)
      : command(std::move(start)), target(std::move(where)), wake(strand) {
    wake.expires_at(asio::steady_timer::time_point::max());
  }
  transfer::StartFetch command;
  FetchTarget target;
  std::unique_ptr<mirror::UpstreamRequest> request;
  asio::steady_timer wake;  ///< cancelled to say: look again
  bool canceled = false;
  bool store_failed = false;
  std::size_t in_store = 0;
  BlobLayout layout;
  std::uint64_t at = 0;        ///< next byte of the blob
  std::uint64_t stop = 0;      ///< where the body ends
  std::uint64_t received = 0;  ///< body bytes
  std::uint64_t reported = 0;  ///< of them told to the core
};

FetchDriver::FetchDriver(asio::any_io_executor strand, mirror::UpstreamDriver& upstream,
                         PayloadDriver& payload, ops::Metrics& metrics, CoreInput input)
    : strand_(std::move(strand)),
      upstream_(upstream),
      payload_(payload),
      metrics_(metrics),
      input_(std::move(input)) {}

bool FetchTarget::same_way(const FetchTarget& other) const {
  if (url.has_value() != other.url.has_value()) return false;
  if (url) return url->url == other.url->url && url->authorization == other.url->authorization;
  return registry == other.registry && repository == other.repository && kind == other.kind;
}

bool FetchDriver::add_target(SwarmId swarm, FetchTarget target) {
  Ways& ways = ways_[swarm];
  const bool failed = static_cast<bool>(ways.failure.error);
  const auto same = [&](const FetchTarget& other) { return other.same_way(target); };
  const bool is_new = std::erase_if(ways.targets, same) == 0;
  ways.targets.push_front(std::move(target));
  if (ways.targets.size() > limits::fetch_targets_max) ways.targets.pop_back();
  return is_new && failed;
}

FetchFailure FetchDriver::failure(SwarmId swarm) const {
  const auto found = ways_.find(swarm);
  return found == ways_.end() ? FetchFailure{} : found->second.failure;
}

/// The fetch's way failed: takes it off the list when it was denied. @return true with another way
bool FetchDriver::next_way(Fetch& fetch, const FetchFailure& failure) {
  const auto found = ways_.find(fetch.command.swarm);
  if (found == ways_.end()) return false;
  found->second.failure = failure;
  const auto kind = kind_of(failure.error);
  const bool denied =
      kind == FetchEnd::Kind::unauthorized || failure.error == mirror::MirrorError::not_found;
  if (!denied) return false;
  auto& targets = found->second.targets;
  std::erase_if(targets, [&](const FetchTarget& other) { return other.same_way(fetch.target); });
  if (targets.empty()) return false;
  fetch.target = targets.front();
  return true;
}

void FetchDriver::start(const transfer::StartFetch& command) {
  const auto ways = ways_.find(command.swarm);
  const bool known = ways != ways_.end() && !ways->second.targets.empty();
  auto fetch = std::make_shared<Fetch>(strand_, command,
                                       known ? ways->second.targets.front() : FetchTarget{});
  fetches_[command.fetch] = fetch;
  asio::co_spawn(strand_, run(std::move(fetch)), asio::detached);
}

void FetchDriver::cancel(FetchId id) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  found->second->canceled = true;
  if (found->second->request) found->second->request->cancel();
  found->second->wake.cancel();
}

void FetchDriver::blob_opened(SwarmId swarm) {
  for (auto& [id, fetch] : fetches_) {
    if (fetch->command.swarm == swarm) fetch->wake.cancel();
  }
}

void FetchDriver::stop() {
  for (auto& [id, fetch] : fetches_) {
    fetch->canceled = true;
    if (fetch->request) fetch->request->cancel();
    fetch->wake.cancel();
  }
}

asio::awaitable<bool> FetchDriver::wait(std::shared_ptr<Fetch> fetch, std::function<bool()> ready) {
  while (!fetch->canceled && !fetch->store_failed && !ready()) {
    boost::system::error_code woken;
    fetch->wake.expires_at(asio::steady_timer::time_point::max());
    co_await fetch->wake.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
  co_return !fetch->canceled && !fetch->store_failed;
}

asio::awaitable<void> FetchDriver::run(std::shared_ptr<Fetch> fetch) {
  FetchEnd end = co_await transfer_body(fetch);
  if (fetch->canceled) end = {FetchEnd::Kind::canceled, {}};
  fetch->request.reset();
  fetches_.erase(fetch->command.fetch);
  input_([&](TimePoint now, transfer::Exchange& exchange) {
    exchange.fetch_ended(now, fetch->command.fetch, end);
  });
}

mirror::UpstreamTarget FetchDriver::upstream_target(const Fetch& fetch) {
  const auto& command = fetch.command;
  mirror::UpstreamTarget target;
  const std::uint64_t length = command.length == 0 ? limits::extent_bytes : command.length;
  const mirror::RangeSpec range{mirror::RangeSpec::Kind::closed, command.offset,
                                command.offset + length - 1, 0};
  if (fetch.target.url) {
    target.url = fetch.target.url->url;
    target.authorization = fetch.target.url->authorization;
    target.range = range;
    return target;
  }
  target.registry = fetch.target.registry;
  target.repository = fetch.target.repository;
  if (fetch.target.kind == mirror::BlobRequest::Kind::manifest) {
    target.path_and_query =
        mirror::manifest_path(target.repository, command.key.digest.to_string());
    target.accept = mirror::manifest_accept;
    return target;
  }
  target.path_and_query = mirror::blob_path(target.repository, command.key.digest);
  target.range = range;
  return target;
}

// The head of the first way that is not denied. Each is asked once.
asio::awaitable<Result<mirror::UpstreamHead>> FetchDriver::ask_upstream(
    std::shared_ptr<Fetch> fetch) {
  for (;;) {
    fetch->request = upstream_.get(upstream_target(*fetch));
    auto head = co_await fetch->request->start();
    metrics_.count_upstream_request(head ? head->status : 0);
    const auto error = head ? mirror::error_of_status(head->status) : head.error();
    const auto ways = ways_.find(fetch->command.swarm);
    if (!error && ways != ways_.end()) ways->second.failure = {};
    if (fetch->canceled || !error || (head && head->status == 416)) co_return head;
    if (!next_way(*fetch, {error, fetch->request->refused()})) co_return head;
  }
}

// The head, the size it teaches, and the file to write to. nullopt: the body may follow.
asio::awaitable<std::optional<FetchEnd>> FetchDriver::open_body(std::shared_ptr<Fetch> fetch) {
  const auto& command = fetch->command;
  const auto started = co_await ask_upstream(fetch);
  if (!started) co_return FetchEnd{kind_of(started.error()), {}};
  // An empty blob has no first byte: that range cannot be satisfied, and the answer says why.
  const bool empty =
      started->status == 416 && started->content_range && started->content_range->total == 0U;
  if (started->status != 200 && started->status != 206 && !empty) {
    co_return end_of_status(*started);
  }
  transfer::FetchHead head;
  head.status = started->status;
  head.whole = started->status == 200;
  if (head.whole) {
    head.total_size = started->content_length;
  } else if (started->content_range) {
    head.total_size = started->content_range->total;
    const auto& range = started->content_range->range;
    if (range && range->first != command.offset) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  }
  input_([&](TimePoint now, transfer::Exchange& exchange) {
    exchange.fetch_head(now, command.fetch, head);
  });
  if (!head.total_size) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  const auto opened = [this, &command] { return payload_.partial(command.swarm) != nullptr; };
  if (!co_await wait(fetch, opened)) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  fetch->layout = payload_.partial(command.swarm)->layout();
  if (fetch->layout.size() != *head.total_size) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  // Whole chunks only: the ranges asked for begin and end at chunk boundaries.
  const std::uint64_t asked = command.length == 0 ? limits::extent_bytes : command.length;
  fetch->at = head.whole ? 0 : command.offset;
  fetch->stop = head.whole ? *head.total_size : std::min(*head.total_size, command.offset + asked);
  co_return std::nullopt;
}

asio::awaitable<FetchEnd> FetchDriver::transfer_body(std::shared_ptr<Fetch> fetch) {
  if (const auto end = co_await open_body(fetch)) co_return *end;
  do {
    const ChunkIndex chunk = fetch->layout.chunk_at(fetch->at);
    Bytes bytes(fetch->layout.chunk_size(chunk));
    for (std::size_t filled = 0; filled < bytes.size();) {
      const auto room =
          MutableByteView(bytes).subspan(filled, std::min(read_bytes, bytes.size() - filled));
      const auto count = co_await fetch->request->read_some(room);
      if (!count) co_return FetchEnd{kind_of(count.error()), {}};
      if (*count == 0) co_return FetchEnd{FetchEnd::Kind::failed, {}};
      filled += *count;
      note_received(*fetch, *count);
    }
    fetch->at += bytes.size();
    if (!co_await wait(fetch, [&fetch] { return fetch->in_store < chunks_in_store_max; })) break;
    deliver_chunk(fetch, chunk, std::move(bytes));
  } while (fetch->at < fetch->stop);
  // The body's end gives the connection back to the pool.
  std::array<std::byte, 1> rest{};
  if (!fetch->canceled && fetch->at >= fetch->stop) (void)co_await fetch->request->read_some(rest);
  const bool stored = co_await wait(fetch, [&fetch] { return fetch->in_store == 0; });
  co_return FetchEnd{stored ? FetchEnd::Kind::complete : FetchEnd::Kind::failed, {}};
}

void FetchDriver::note_received(Fetch& fetch, std::size_t count) {
  fetch.received += count;
  metrics_.add_bytes(fetch.target.protocol, ops::ByteSource::upstream, count);
  if (fetch.received - fetch.reported < progress_bytes) return;
  fetch.reported = fetch.received;
  input_([&](TimePoint now, transfer::Exchange& exchange) {
    exchange.fetch_progress(now, fetch.command.fetch, fetch.received);
  });
}

void FetchDriver::deliver_chunk(const std::shared_ptr<Fetch>& fetch, ChunkIndex chunk,
                                Bytes bytes) {
  ++fetch->in_store;
  auto shared = std::make_shared<const Bytes>(std::move(bytes));
  payload_.hash_chunk(
      shared, [this, fetch, chunk, shared](const PayloadDriver::Sha256Bytes& sha256) {
        Bytes record;
        input_([&](TimePoint, transfer::Exchange& exchange) {
          record = exchange.make_crec(fetch->command.swarm, chunk, sha256);
        });
        payload_.store_chunk(fetch->command.swarm, chunk, shared, std::move(record),
                             [this, fetch, chunk, sha256](transfer::ChunkVerdict verdict) {
                               --fetch->in_store;
                               if (verdict != transfer::ChunkVerdict::ok)
                                 fetch->store_failed = true;
                               input_([&](TimePoint now, transfer::Exchange& exchange) {
                                 exchange.fetch_chunk(now, fetch->command.fetch, chunk, sha256,
                                                      verdict);
                               });
                               fetch->wake.cancel();
                             });
      });
}

}  // namespace waggle::node
