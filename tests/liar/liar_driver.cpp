// The lies.
#include "liar/liar_driver.hpp"

#include "base/sha256.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace waggle::liar {
namespace {

using namespace std::chrono_literals;
using transfer::ChunkVerdict;

constexpr std::uint32_t forged_from = 3;  ///< chunk
constexpr std::size_t flood_blobs = 5000;
constexpr std::size_t flood_swarms = 500;
constexpr std::uint64_t flood_size = 3 * limits::MiB;

void spoil(MutableByteView bytes) {
  for (std::byte& byte : bytes) byte = ~byte;
}

}  // namespace

LiarDriver::LiarDriver(node::ConfigResult config, node::ConfigLoader loader, const LiarConfig& liar)
    : NodeDriver(std::move(config), std::move(loader)), liar_(liar), timer_(context()) {
  timer_.expires_after(2s);  // by then the cluster knows this node
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) start_up();
  });
}

bool LiarDriver::is_forged(ChunkIndex chunk) const {
  return liar_.lie == Lie::bytes ||
         (liar_.lie == Lie::forged_list && to_value(chunk) >= forged_from);
}

void LiarDriver::execute(node::Command command) {
  if (const auto* block = std::get_if<transfer::SendBlock>(&command)) {
    const bool is_empty = liar_.lie == Lie::holdings && block->digest == liar_.target;
    if (is_empty) return;
    if (is_forged(block->chunk)) return send(*block);
  } else if (const auto* load = std::get_if<transfer::LoadMidstates>(&command)) {
    if (liar_.lie == Lie::midstate || liar_.lie == Lie::forged_list) return tell_list(load->digest);
  } else if (const auto* start = std::get_if<transfer::StartFetch>(&command)) {
    if (liar_.lie == Lie::claims) return;
    if (liar_.lie == Lie::crec && start->key.digest == liar_.target) return make_up(*start);
  }
  NodeDriver::execute(std::move(command));
}

void LiarDriver::send(const transfer::SendBlock& block) {
  const auto source = payload().block_source(block);
  tcp().send_payload(block.session, {block.tag, block.chunk, block.offset, block.length},
                     [source](MutableByteView out) -> Result<void> {
                       auto read = source(out);
                       spoil(out);
                       return read;
                     });
}

// Entry by entry, as an honest node would compute it, but over bytes of its own from `forged_from`.
void LiarDriver::tell_list(const Digest& digest) {
  payload().load_midstates(digest, [this, digest](std::optional<std::vector<Midstate>> list) {
    const auto blob = payload().open_blob(digest);
    if (list && list->size() > forged_from && blob) {
      const BlobLayout layout((*blob)->size());
      if (liar_.lie == Lie::midstate) (*list)[forged_from].bytes[0] ^= std::byte{1};
      for (std::uint32_t i = forged_from; liar_.lie == Lie::forged_list && i < list->size(); ++i) {
        Bytes bytes(layout.chunk_size(ChunkIndex{i}));
        (void)(*blob)->read(layout.chunk_offset(ChunkIndex{i}), bytes);
        spoil(bytes);
        Sha256 hash((*list)[i - 1], layout.chunk_offset(ChunkIndex{i}));
        hash.update(bytes);
        (*list)[i] = hash.midstate();
      }
    }
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.midstates_loaded(at, digest, std::move(list));
    });
  });
}

// An extent that upstream never sent.
void LiarDriver::make_up(const transfer::StartFetch& start) {
  boost::asio::post(context(), [this, start] {
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.fetch_head(at, start.fetch, {206, liar_.size, false});
    });
    make_up_chunk(start, BlobLayout(liar_.size).chunk_at(start.offset));
  });
}

void LiarDriver::make_up_chunk(const transfer::StartFetch& start, ChunkIndex chunk) {
  const BlobLayout layout(liar_.size);
  const std::uint64_t length = start.length == 0 ? limits::extent_bytes : start.length;
  const std::uint64_t stop = std::min(liar_.size, start.offset + length);
  if (layout.chunk_offset(chunk) >= stop || to_value(chunk) >= layout.chunk_count()) {
    return input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.fetch_ended(at, start.fetch, {transfer::FetchEnd::Kind::complete, {}});
    });
  }
  if (!payload().partial(start.swarm)) {  // its file is not open yet, or not any more
    timer_.expires_after(20ms);
    timer_.async_wait([this, start, chunk](const boost::system::error_code& error) {
      if (!error) make_up_chunk(start, chunk);
    });
    return;
  }
  auto bytes = std::make_shared<const Bytes>(layout.chunk_size(chunk), std::byte{0x42});
  payload().hash_chunk(bytes, [this, start, chunk, bytes](transfer::ChunkSha256 hash) {
    Bytes crec;
    input([&](TimePoint, transfer::Exchange& exchange) {
      crec = exchange.make_crec(start.swarm, chunk, hash);
    });
    payload().store_chunk(payload().partial(start.swarm), chunk, bytes, crec,
                          [this, start, chunk, hash](ChunkVerdict verdict) {
                            input([&](TimePoint at, transfer::Exchange& exchange) {
                              exchange.fetch_chunk(at, start.fetch, chunk, hash, verdict);
                            });
                            const ChunkIndex next{to_value(chunk) + 1};
                            timer_.expires_after(50ms);  // as if it came from somewhere
                            timer_.async_wait([this, start, next](const auto& error) {
                              if (!error) make_up_chunk(start, next);
                            });
                          });
  });
}

void LiarDriver::start_up() {
  if (liar_.lie == Lie::holdings && liar_.target) {
    distributor().content_found(now(), *liar_.target, liar_.size, now());
    input([](TimePoint, transfer::Exchange&) {});
  }
  if (liar_.lie != Lie::flood) return;
  for (std::size_t i = 0; i < flood_blobs; ++i) {
    distributor().content_found(now(), sha256_of(as_bytes("fake" + std::to_string(i))), flood_size,
                                now());
  }
  input([&](TimePoint at, transfer::Exchange& exchange) {
    for (std::size_t i = 0; i < flood_swarms; ++i) {
      const Digest digest = sha256_of(as_bytes("wanted" + std::to_string(i)));
      const auto swarm = exchange.open(at, {digest, "http://127.0.0.1:1"});
      if (swarm) exchange.add_reader(at, *swarm, ReaderId{1'000'000 + i}, 0);
    }
  });
  spdlog::info("flooded");
}

}  // namespace waggle::liar
