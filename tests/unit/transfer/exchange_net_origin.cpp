// The net's upstream: one link that all fetches share, chunk by chunk.
#include "exchange_net.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace waggle::transfer::testing {
namespace {

using namespace std::chrono_literals;

constexpr Duration origin_latency = 5ms;

}  // namespace

void Net::carry(Node& node, StartFetch command) {
  ++origin_.requests;
  Fetch fetch{.swarm = command.swarm};
  node.fetches[command.fetch] = fetch;
  at(now_ + origin_latency, [this, &node, command] {
    if (!node.dead) start_fetch(node, command);
  });
}

void Net::start_fetch(Node& node, const StartFetch& command) {
  const auto it = node.fetches.find(command.fetch);
  if (it == node.fetches.end() || it->second.canceled) return;
  const unsigned status = origin_.refused.contains(node.number) ? 401 : origin_.status;
  if (status != 200) {
    using Kind = FetchEnd::Kind;
    const Kind kind = status == 401   ? Kind::unauthorized
                      : status == 404 ? Kind::not_found
                      : status == 429 ? Kind::throttled
                                      : Kind::failed;
    node.exchange->fetch_head(now_, command.fetch, {.status = status, .total_size = {}});
    node.fetches.erase(command.fetch);
    node.exchange->fetch_ended(now_, command.fetch, {.kind = kind, .retry_after = {}});
    pump(node);
    return;
  }
  const Blob& blob = blobs_.at(command.key.digest);
  FetchHead head{.status = 206, .total_size = blob.size};
  if (!origin_.has_length) head.total_size.reset();
  Fetch& fetch = it->second;
  const std::uint64_t length =
      command.length > 0 ? command.length : std::min(blob.size, limits::extent_bytes);
  if (origin_.has_range) {
    fetch.next = to_value(blob.layout.chunk_at(command.offset));
    const std::uint64_t last = std::max<std::uint64_t>(command.offset + length, 1) - 1;
    fetch.end =
        to_value(blob.layout.chunk_at(std::min(last, std::max<std::uint64_t>(blob.size, 1) - 1))) +
        1;
  } else {
    head.status = 200;
    head.whole = true;
    fetch.end = blob.layout.chunk_count();
  }
  node.exchange->fetch_head(now_, command.fetch, head);
  pump(node);
  fetch_step(node, command.fetch);
}

// One chunk over the origin's shared link, then the next.
void Net::fetch_step(Node& node, FetchId id) {
  const auto it = node.fetches.find(id);
  if (it == node.fetches.end() || it->second.canceled) return;
  const auto partial = node.partials.find(it->second.swarm);
  if (partial == node.partials.end()) return;
  if (it->second.next >= it->second.end) {
    node.fetches.erase(it);
    node.exchange->fetch_ended(now_, id, {.kind = FetchEnd::Kind::complete, .retry_after = {}});
    pump(node);
    return;
  }
  const ChunkIndex chunk{it->second.next};
  const std::uint64_t bytes = partial->second.layout.chunk_size(chunk);
  origin_free_ = std::max(now_, origin_free_) + transmission(bytes, config_.upstream_rate);
  at(origin_free_ + config_.delay, [this, &node, id, chunk, bytes] {
    if (node.dead || node.frozen) return;
    origin_.bytes_out += bytes;
    const auto fetch = node.fetches.find(id);
    if (fetch == node.fetches.end() || fetch->second.canceled) return;
    Partial& store = node.partials.at(fetch->second.swarm);
    const Variant variant = node.poisoned.value_or(origin_.variant);
    const SwarmId swarm = fetch->second.swarm;
    for (std::uint32_t at = 0; at < bytes; at += limits::block_bytes) {
      node.buffers[{swarm, chunk, fetch_source}].put(at, variant);
    }
    node.exchange->fetch_bytes(now_, id, chunk, static_cast<std::uint32_t>(bytes));
    pump(node);
    node.buffers.erase({swarm, chunk, fetch_source});
    store.chunks[chunk] = variant;
    ++fetch->second.next;
    const auto hash = hash_of(store.layout, chunk, variant);
    CHECK(node.exchange->make_crec(fetch->second.swarm, chunk, hash).size() == 128);
    fetch->second.received += bytes;
    node.exchange->fetch_progress(now_, id, fetch->second.received);
    pump(node);
    node.exchange->fetch_chunk(now_, id, chunk, hash, ChunkVerdict::ok);
    pump(node);
    fetch_step(node, id);
  });
}

void Net::carry(Node& node, CancelFetch command) {
  const auto it = node.fetches.find(command.fetch);
  if (it == node.fetches.end() || it->second.canceled) return;
  it->second.canceled = true;
  at(now_ + 10us, [this, &node, id = command.fetch] {
    if (node.dead) return;
    node.fetches.erase(id);
    node.exchange->fetch_ended(now_, id, {.kind = FetchEnd::Kind::canceled, .retry_after = {}});
    pump(node);
  });
}

}  // namespace waggle::transfer::testing
