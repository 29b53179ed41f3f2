// One or few have the blob and many want it: each of these takes a share from them and relays it
// to the others, so that the few send it about once.
#include "base/siphash.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t block_bytes = static_cast<std::uint32_t>(limits::block_bytes);
// Before another takes what one was to take: nothing is relayed at all, a reader waits for it, or
// this node's own share is here.
constexpr Duration silence_max = 1s;
constexpr Duration reader_patience = 2s;
constexpr Duration help_step = 4s;

std::uint64_t claim_of(const SwarmTag& tag, const NodeId& node, ChunkIndex chunk) {
  IdKey key;
  key.bytes = tag.bytes;
  Bytes message(node.bytes.begin(), node.bytes.end());
  message.resize(message.size() + sizeof(std::uint32_t));
  store_le(std::span(message).subspan(node.bytes.size()), to_value(chunk));
  return siphash(key, message);
}

}  // namespace

// Few complete peers and many partial ones: what the few send should be sent once.
bool Swarm::is_source_scarce() const {
  return availability_.complete() > 0 && partial_count() > 2 * availability_.complete();
}

// Whoever wants it counts here, with or without a session.
bool Swarm::is_to_be_shared() {
  if (!may_relay()) return false;
  refresh_rings();
  return rings_.size() > 2 * availability_.complete();
}

// How many of those that want the blob are to take this chunk before this node.
std::size_t Swarm::share_rank(ChunkIndex chunk) {
  if (share_ranks_version_ != rings_.version()) {
    share_ranks_.clear();
    share_ranks_version_ = rings_.version();
  }
  const auto known = share_ranks_.find(chunk);
  if (known != share_ranks_.end()) return known->second;
  const std::uint64_t own = claim_of(tag_, context_.self(), chunk);
  const auto& others = rings_.chain(0);
  const auto rank =
      static_cast<std::size_t>(std::count_if(others.begin(), others.end(), [&](const NodeId& node) {
        return claim_of(tag_, node, chunk) > own;
      }));
  return share_ranks_.emplace(chunk, rank).first->second;
}

// From a scarce source; what partial peers have is not meant.
bool Swarm::may_take(TimePoint now, ChunkIndex chunk) {
  const std::size_t rank = share_rank(chunk);
  if (rank == 0) return true;
  if (now - std::max(relay_seen_.value_or(TimePoint{}), *pulling_since_) >= silence_max)
    return true;
  const auto steps = [&](TimePoint since, Duration patience) {
    const Duration over = now - since - patience;
    return over < Duration() ? 0 : 1 + static_cast<std::size_t>(over / help_step);
  };
  if (share_taken_ && rank <= steps(*share_taken_, help_step)) return true;
  return std::any_of(readers_.begin(), readers_.end(), [&](const auto& entry) {
    const Reader& reader = entry.second;
    return reader.offset < *size_ && layout_.chunk_at(reader.offset) == chunk &&
           rank <= steps(reader.waiting_since, reader_patience);
  });
}

// The first in order of this node's share, then what others were to take and did not.
std::optional<ChunkIndex> Swarm::pick_share(TimePoint now, const NodeId& node,
                                            const SwarmPeer& peer) {
  std::optional<ChunkIndex> found;
  for (auto i = open_.find(true); i; i = open_.find(true, *i + 1)) {
    const ChunkIndex chunk{static_cast<std::uint32_t>(*i)};
    if (!may_ask(now, node, peer, chunk)) continue;
    if (share_rank(chunk) == 0) {
      share_taken_.reset();
      return chunk;
    }
    if (!found && may_take(now, chunk)) found = chunk;
  }
  if (!share_taken_) share_taken_ = now;
  return found;
}

// A block of a chunk that this node takes for all: it leaves as a stripe.
void Swarm::share_block(TimePoint now, SessionId session, ChunkIndex chunk, std::uint32_t offset) {
  auto it = departing_.find(chunk);
  if (it == departing_.end()) {
    const SwarmPeer* peer = peer_on(session, downloads_.find(session, chunk)->node);
    if (peer == nullptr || !peer->all || !is_to_be_shared()) return;
    it = departing_.emplace(chunk, new_relayed(chunk)).first;
    it->second.source = session;
  }
  RelayedChunk& relayed = it->second;
  if (relayed.source != session || rings_.size() == 0) return;
  const std::size_t index = offset / block_bytes;
  RelayStripe& stripe = relayed.stripes[index];
  if (stripe.received > 0) return;
  stripe.received = stripe_length(chunk, index);
  begin_stripe(stripe, stripe_number(chunk, index));
  pass_on(now, chunk, session, index, relayed);
}

}  // namespace waggle::transfer
