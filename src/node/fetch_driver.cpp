// The fetch coroutine: head, size, chunks, end.
#include "node/fetch_driver.hpp"

#include "base/limits.hpp"
#include "mirror/upstream_body.hpp"
#include "mirror/url.hpp"

#include <spdlog/spdlog.h>
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
constexpr auto relay_look = std::chrono::milliseconds(50);
constexpr Duration resume_delay = std::chrono::milliseconds(100);  ///< doubled while in vain

FetchEnd::Kind kind_of(const boost::system::error_code& error) {
  if (error == mirror::MirrorError::canceled) return FetchEnd::Kind::canceled;
  // What this node refuses another may be allowed: like a credential that is not here.
  if (error == mirror::MirrorError::no_credential || error == mirror::MirrorError::refused_host ||
      error == mirror::MirrorError::refused_address) {
    return FetchEnd::Kind::unauthorized;
  }
  return FetchEnd::Kind::failed;
}

/// Never more of a client's URL than its host: the rest may hold a signature.
std::string host_of(const FetchTarget& target) {
  if (!target.url) return target.registry;
  const auto url = mirror::Url::parse(target.url->url);
  return url ? url->origin.authority() : std::string();
}

TimePoint steady_now() { return TimePoint(std::chrono::steady_clock::now().time_since_epoch()); }

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
  bool waits_for_relay = false;
  std::size_t in_store = 0;
  BlobLayout layout;
  std::uint64_t at = 0;        ///< next byte of the blob
  std::uint64_t stop = 0;      ///< where the body ends
  std::uint64_t received = 0;  ///< body bytes
  std::uint64_t reported = 0;  ///< of them told to the core
  bool whole = false;          ///< upstream knows no ranges: a body that breaks off is lost
  std::size_t resumes = 0;
  std::size_t vain_resumes = 0;     ///< in a row that brought next to nothing
  std::uint64_t before_resume = 0;  ///< `received` at the last one
};

FetchDriver::FetchDriver(asio::any_io_executor strand, mirror::UpstreamDriver& upstream,
                         PayloadDriver& payload, ops::Metrics& metrics, CoreInput input)
    : strand_(std::move(strand)),
      upstream_(upstream),
      payload_(payload),
      metrics_(metrics),
      input_(std::move(input)),
      prng_(static_cast<std::uint64_t>(steady_now().time_since_epoch().count())) {}

void count_answer(ops::Metrics& metrics, const Result<mirror::UpstreamHead>& head) {
  if (!head || !head->paused) metrics.count_upstream_request(head ? head->status : 0);
}

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

mirror::UpstreamTarget FetchDriver::upstream_target(const Fetch& fetch,
                                                    const mirror::ByteRange& range) {
  const auto& command = fetch.command;
  mirror::UpstreamTarget target;
  const mirror::RangeSpec closed{mirror::RangeSpec::Kind::closed, range.first, range.last, 0};
  if (fetch.target.url) {
    target.url = fetch.target.url->url;
    target.authorization = fetch.target.url->authorization;
    target.range = closed;
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
  target.range = closed;
  return target;
}

asio::awaitable<Result<mirror::UpstreamHead>> FetchDriver::ask(std::shared_ptr<Fetch> fetch,
                                                               mirror::ByteRange range) {
  fetch->request = upstream_.get(upstream_target(*fetch, range));
  auto head = co_await fetch->request->start();
  count_answer(metrics_, head);
  co_return head;
}

// The head of the first way that is not denied. Each is asked once.
asio::awaitable<Result<mirror::UpstreamHead>> FetchDriver::ask_all_ways(
    std::shared_ptr<Fetch> fetch, mirror::ByteRange range) {
  for (;;) {
    auto head = co_await ask(fetch, range);
    const auto error = head ? mirror::error_of_status(head->status) : head.error();
    const auto ways = ways_.find(fetch->command.swarm);
    if (!error && ways != ways_.end()) ways->second.failure = {};
    if (fetch->canceled || !error || (head && head->status == 416)) co_return head;
    if (!next_way(*fetch, {error, fetch->request->refused()})) co_return head;
  }
}

FetchEnd FetchDriver::end_of_status(const Fetch& fetch, const mirror::UpstreamHead& head) {
  const std::string status = "HTTP " + std::to_string(head.status);
  const std::string blob = fetch.command.key.digest.to_string();
  if (head.status == 401 || head.status == 403) {
    if (head.redirected) {
      note(fetch.target, "it redirects to an address that refuses", status + ", " + blob,
           "compare the clocks of the registry and its storage");
      return {FetchEnd::Kind::failed, {}};
    }
    note(fetch.target, "it wants a credential, or another one", status + ", " + blob,
         "set upstream.registries or upstream.docker_config");
    return {FetchEnd::Kind::unauthorized, {}};
  }
  if (head.status == 404 || head.status == 410) return {FetchEnd::Kind::not_found, {}};
  if (head.status == 429 || head.status == 503) {
    const auto seconds = to_seconds(head.retry_after.value_or(Duration::zero()));
    note(fetch.target, "it is overloaded or limits us",
         status + ", Retry-After " + std::to_string(static_cast<unsigned>(seconds)) + " s",
         "raise its limits, or give waggle a credential with higher ones");
    return {FetchEnd::Kind::throttled, head.retry_after};
  }
  note(fetch.target, "it fails", status + ", " + blob, "look at the registry's own log");
  return {FetchEnd::Kind::failed, {}};
}

FetchEnd FetchDriver::end_of_error(const Fetch& fetch, const boost::system::error_code& error) {
  const auto kind = kind_of(error);
  if (kind == FetchEnd::Kind::canceled) return {kind, {}};
  const std::string blob = fetch.command.key.digest.to_string();
  if (error == mirror::MirrorError::protocol) {
    note(fetch.target, "its answers are no HTTP/1.1, or their lengths contradict each other", blob,
         "look at the registry and at what stands before it");
  } else if (error == mirror::MirrorError::tls_failed) {
    note(fetch.target, "its certificate is not trusted, or TLS fails", blob,
         "set ca_file in upstream.registries");
  } else {
    note(fetch.target, "it does not deliver", error.message() + ", " + blob,
         "check the network, a proxy or firewall on the way, and the registry");
  }
  return {kind, {}};
}

void FetchDriver::note(const FetchTarget& target, std::string what, std::string about,
                       std::string remedy) {
  const auto line = troubles_.note(
      steady_now(), {host_of(target), std::move(what), std::move(about), std::move(remedy)});
  if (line) spdlog::warn("{}", *line);
}

void FetchDriver::note_wrong_bytes(SwarmId swarm) {
  const auto ways = ways_.find(swarm);
  if (ways == ways_.end() || ways->second.targets.empty()) return;
  const FetchTarget& target = ways->second.targets.front();
  note(target, "its bytes do not have the digest asked for", target.repository,
       "look for a broken cache or proxy before it, or a damaged blob in it");
}

// The head, the size it teaches, and the file to write to. nullopt: the body may follow.
asio::awaitable<std::optional<FetchEnd>> FetchDriver::open_body(std::shared_ptr<Fetch> fetch) {
  const auto& command = fetch->command;
  const std::uint64_t length = command.length == 0 ? limits::extent_bytes : command.length;
  const mirror::ByteRange asked{command.offset, command.offset + length - 1};
  const auto started = co_await ask_all_ways(fetch, asked);
  if (!started) co_return end_of_error(*fetch, started.error());
  // An empty blob has no first byte: that range cannot be satisfied, and the answer says why.
  const bool empty =
      started->status == 416 && started->content_range && started->content_range->total == 0U;
  if (started->status != 200 && started->status != 206 && !empty) {
    co_return end_of_status(*fetch, *started);
  }
  const auto body = mirror::read_upstream_body(started->status, started->content_length,
                                               started->content_range, asked);
  if (!body) co_return end_of_error(*fetch, body.error());
  transfer::FetchHead head;
  head.status = started->status;
  head.whole = fetch->whole = body->whole;
  head.total_size = body->total;
  input_([&](TimePoint now, transfer::Exchange& exchange) {
    exchange.fetch_head(now, command.fetch, head);
  });
  if (!head.total_size) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  const auto opened = [this, &command] { return payload_.partial(command.swarm) != nullptr; };
  if (!co_await wait(fetch, opened)) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  fetch->layout = payload_.partial(command.swarm)->layout();
  if (fetch->layout.size() != *head.total_size) co_return FetchEnd{FetchEnd::Kind::failed, {}};
  // Whole chunks only: the ranges asked for begin and end at chunk boundaries.
  fetch->at = body->first;
  fetch->stop = head.whole ? *head.total_size : std::min(*head.total_size, asked.last + 1);
  co_return std::nullopt;
}

asio::awaitable<Result<std::size_t>> FetchDriver::read(std::shared_ptr<Fetch> fetch,
                                                       MutableByteView room) {
  const auto count = co_await fetch->request->read_some(room);
  if (count && *count == 0) co_return mirror::MirrorError::short_body;
  co_return count;
}

// A body that broke off is asked for again from its next byte, a few times. nullopt: it goes on.
asio::awaitable<std::optional<FetchEnd>> FetchDriver::resume(std::shared_ptr<Fetch> fetch,
                                                             std::uint64_t next,
                                                             boost::system::error_code why) {
  if (fetch->canceled || why == mirror::MirrorError::canceled) co_return end_of_error(*fetch, why);
  const bool in_vain = fetch->resumes > 0 &&
                       fetch->received - fetch->before_resume < limits::upstream_rate_bytes_min;
  fetch->vain_resumes = in_vain ? fetch->vain_resumes + 1 : 0;
  fetch->before_resume = fetch->received;
  // A server without ranges would begin again; so would one that is asked for a manifest.
  if (fetch->whole || fetch->target.kind == mirror::BlobRequest::Kind::manifest ||
      ++fetch->resumes > limits::upstream_resumes_max ||
      fetch->vain_resumes >= limits::upstream_vain_resumes_max) {
    co_return end_of_error(*fetch, why);
  }
  fetch->request.reset();
  boost::system::error_code woken;
  asio::steady_timer delay(strand_);
  delay.expires_after(from_seconds(to_seconds(resume_delay) * (0.5 + prng_.unit()) *
                                   static_cast<double>(1U << fetch->vain_resumes)));
  co_await delay.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  if (fetch->canceled) co_return FetchEnd{FetchEnd::Kind::canceled, {}};
  const mirror::ByteRange asked{next, fetch->stop - 1};
  const auto head = co_await ask(fetch, asked);
  if (!head) co_return end_of_error(*fetch, head.error());
  if (head->status != 206) co_return end_of_status(*fetch, *head);
  const auto body =
      mirror::read_upstream_body(head->status, head->content_length, head->content_range, asked);
  if (!body) co_return end_of_error(*fetch, body.error());
  if (body->total && *body->total != fetch->layout.size())
    co_return end_of_error(*fetch, mirror::MirrorError::protocol);
  co_return std::nullopt;
}

asio::awaitable<FetchEnd> FetchDriver::transfer_body(std::shared_ptr<Fetch> fetch) {
  if (const auto end = co_await open_body(fetch)) co_return *end;
  do {
    const ChunkIndex chunk = fetch->layout.chunk_at(fetch->at);
    // Filled here while blocks of it leave for other nodes, from its begin on.
    const auto bytes = std::make_shared<Bytes>(fetch->layout.chunk_size(chunk));
    payload_.lend_buffer(fetch->command.swarm, chunk, bytes);
    for (std::size_t filled = 0; filled < bytes->size();) {
      const auto room =
          MutableByteView(*bytes).subspan(filled, std::min(read_bytes, bytes->size() - filled));
      const auto count = co_await read(fetch, room);
      if (!count) {
        const auto end = co_await resume(fetch, fetch->at + filled, count.error());
        if (end) {
          payload_.drop_buffer({fetch->command.swarm, chunk, transfer::fetch_source});
          co_return *end;
        }
        continue;
      }
      filled += *count;
      if (note_received(*fetch, chunk, filled, *count)) co_await wait_for_relay(fetch);
      if (fetch->canceled || fetch->store_failed) break;
    }
    payload_.drop_buffer({fetch->command.swarm, chunk, transfer::fetch_source});
    if (fetch->canceled || fetch->store_failed) break;
    fetch->at += bytes->size();
    if (!co_await wait(fetch, [&fetch] { return fetch->in_store < chunks_in_store_max; })) break;
    deliver_chunk(fetch, chunk, bytes);
  } while (fetch->at < fetch->stop);
  // The body's end gives the connection back to the pool.
  std::array<std::byte, 1> rest{};
  if (!fetch->canceled && fetch->at >= fetch->stop) (void)co_await fetch->request->read_some(rest);
  const bool stored = co_await wait(fetch, [&fetch] { return fetch->in_store == 0; });
  co_return FetchEnd{stored ? FetchEnd::Kind::complete : FetchEnd::Kind::failed, {}};
}

// Not faster than it can be passed on: TCP's window slows upstream.
asio::awaitable<void> FetchDriver::wait_for_relay(std::shared_ptr<Fetch> fetch) {
  while (!fetch->canceled && !fetch->store_failed && is_relay_full()) {
    boost::system::error_code woken;
    fetch->waits_for_relay = true;
    fetch->wake.expires_after(relay_look);  // sessions that stand still do not count for long
    co_await fetch->wake.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    fetch->waits_for_relay = false;
  }
}

void FetchDriver::relay_moved() {
  for (const auto& [id, fetch] : fetches_) {
    if (fetch->waits_for_relay) fetch->wake.cancel();
  }
}

bool FetchDriver::is_relay_full() {
  bool full = false;
  input_([&](TimePoint now, transfer::Exchange& exchange) { full = exchange.is_relay_full(now); });
  return full;
}

// True when more is waiting to be passed on than should be.
bool FetchDriver::note_received(Fetch& fetch, ChunkIndex chunk, std::size_t filled,
                                std::size_t count) {
  fetch.received += count;
  const bool has_frame =
      filled / limits::relay_frame_bytes > (filled - count) / limits::relay_frame_bytes ||
      filled == fetch.layout.chunk_size(chunk);
  const bool is_news = fetch.received - fetch.reported >= progress_bytes;
  metrics_.add_bytes(fetch.target.protocol, ops::ByteSource::upstream, count);
  if (!has_frame && !is_news) return false;
  bool is_full = false;
  input_([&](TimePoint now, transfer::Exchange& exchange) {
    if (has_frame) {
      exchange.fetch_bytes(now, fetch.command.fetch, chunk, static_cast<std::uint32_t>(filled));
    }
    if (is_news) exchange.fetch_progress(now, fetch.command.fetch, fetch.received);
    is_full = exchange.is_relay_full(now);
  });
  if (is_news) fetch.reported = fetch.received;
  return is_full;
}

void FetchDriver::deliver_chunk(const std::shared_ptr<Fetch>& fetch, ChunkIndex chunk,
                                std::shared_ptr<const Bytes> shared) {
  ++fetch->in_store;
  payload_.hash_chunk(
      shared, [this, fetch, chunk, shared, partial = payload_.partial(fetch->command.swarm)](
                  const PayloadDriver::Sha256Bytes& sha256) {
        Bytes record;
        input_([&](TimePoint, transfer::Exchange& exchange) {
          record = exchange.make_crec(fetch->command.swarm, chunk, sha256);
        });
        payload_.store_chunk(partial, chunk, shared, std::move(record),
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
