// What did not come of relayed chunks: waited for while it may be on its way, then asked of a peer
// that has it.
#include "base/limits.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t block_bytes = static_cast<std::uint32_t>(limits::block_bytes);
constexpr Duration relay_lives = 2s;  // since the last stripe: more are to be expected
// Asking early for what is only late makes it later: the blocks come on the same links. When
// nothing comes any more there is room.
constexpr Duration grace_min = 1s;
constexpr Duration grace_max = 3s;
constexpr Duration grace_when_quiet = 200ms;
constexpr Duration quiet_after = 250ms;
constexpr Duration grace_when_awaited = 1s;  // a reader stands there
constexpr std::size_t repairs_max = 2;       // chunks at a time
constexpr std::uint32_t missed_after = 2;  // chunks: their stripes go other ways, of other lengths
constexpr Duration repair_patience = 1s;

}  // namespace

Duration Swarm::relay_grace(TimePoint now) const {
  if (!relay_seen_ || now - *relay_seen_ >= quiet_after) return grace_when_quiet;
  return std::clamp(3 * relay_lag_, grace_min, grace_max);
}

// A peer has it, and it is still under way to here, down a longer chain.
bool Swarm::is_relay_due(TimePoint now, ChunkIndex chunk) const {
  if (!relay_seen_ || now - *relay_seen_ >= relay_lives || not_relayed_.contains(chunk)) {
    return false;
  }
  if (was_missed(chunk)) return false;
  const auto heard = heard_.find(chunk);
  return heard != heard_.end() && now - heard->second < relay_grace(now);
}

// It left before its source knew that this node wants it, too: what left later is here already.
bool Swarm::was_missed(ChunkIndex chunk) const {
  const ChunkIndex later{to_value(chunk) + missed_after};
  return !arriving_.contains(chunk) && has_chunk(later) &&
         layout_.extent_of(later) == layout_.extent_of(chunk);
}

void Swarm::end_repair(RelayedChunk& relayed) {
  if (!relayed.repair) return;
  if (Session* session = context_.sessions.find(relayed.repair->session)) {
    session->asked_blocks -= std::min(session->asked_blocks, relayed.repair->waiting);
  }
  relayed.repair.reset();
}

void Swarm::start_repair(TimePoint now, ChunkIndex chunk, RelayedChunk& relayed) {
  end_repair(relayed);
  std::vector<SwarmPeer*> able;
  for (auto& [node, peer] : peers_) {
    if (!peer.has(chunk)) continue;
    if (peer.all && !has_links()) ask_list(now, peer);
    const Session* session = context_.sessions.find(peer.session);
    const bool has_room = session->asked_blocks < limits::requests_per_peer_max;
    if (has_room && peer.busy_until <= now && may_ask(now, node, peer, chunk)) {
      able.push_back(&peer);
    }
  }
  if (able.empty()) return;
  const SwarmPeer& peer = *able[context_.prng.below(able.size())];
  const Download& download = *downloads_.find(relay_source, chunk);
  Session& session = *context_.sessions.find(peer.session);
  RelayedChunk::Repair repair{peer.session, 0, now + repair_patience};
  for (std::size_t i = 0; i < relayed.stripes.size(); ++i) {
    // The first block brings the CREC.
    const bool for_proof = i == 0 && !has_links() && !download.crec;
    if (download.received.test(i) && !for_proof) continue;
    if (session.asked_blocks >= limits::requests_per_peer_max) break;
    ++session.asked_blocks;
    ++repair.waiting;
    context_.send(peer.session,
                  RequestMessage{tag_, chunk, static_cast<std::uint32_t>(i) * block_bytes,
                                 stripe_length(chunk, i), !has_links()});
  }
  session.last_used = now;
  context_.stats.relay_repairs += repair.waiting;
  relayed.repair = repair;
}

std::optional<Swarm::BlockPlace> Swarm::repair_received(TimePoint now, SessionId session,
                                                        const BlockFrame& frame) {
  const auto it = arriving_.find(frame.chunk);
  const std::size_t index = frame.offset / block_bytes;
  if (it == arriving_.end() || !it->second.repair || it->second.repair->session != session ||
      index >= it->second.stripes.size() || frame.offset % block_bytes != 0 ||
      frame.length != stripe_length(frame.chunk, index)) {
    ++context_.stats.duplicate_blocks;
    return std::nullopt;
  }
  RelayedChunk::Repair& repair = *it->second.repair;
  if (Session* entry = context_.sessions.find(session); entry->asked_blocks > 0) {
    --entry->asked_blocks;
  }
  if (repair.waiting > 0) --repair.waiting;
  repair.deadline = now + repair_patience;
  const Download* download = downloads_.find(relay_source, frame.chunk);
  std::optional<BlockPlace> place;
  const bool is_wanted =
      download->state == Download::State::active && !download->received.test(index);
  if (is_wanted) {
    progress_ = peer_progress_ = it->second.touched = now;
    RelayStripe& stripe = it->second.stripes[index];
    place = BlockPlace{relay_source, stripe.received};  // the rest may be on its way out
    stripe.received = frame.length;
    stripe.is_mixed = true;
    pass_on(now, frame.chunk, relay_source, index, it->second);
    relayed_block_done(now, frame.chunk, frame.offset);
  }
  if (it->second.repair && it->second.repair->waiting == 0) it->second.repair.reset();
  if (!it->second.repair) repair_late(now);
  return place;
}

bool Swarm::is_awaited(ChunkIndex chunk) const {
  return std::any_of(readers_.begin(), readers_.end(), [&](const auto& entry) {
    const std::uint64_t offset = entry.second.offset;
    return offset < *size_ && layout_.chunk_at(offset) == chunk;
  });
}

void Swarm::repair_late(TimePoint now) {
  auto repairs = static_cast<std::size_t>(
      std::count_if(arriving_.begin(), arriving_.end(),
                    [](const auto& entry) { return entry.second.repair.has_value(); }));
  for (auto& [chunk, relayed] : arriving_) {
    if (repairs >= repairs_max) return;
    const Duration grace =
        is_awaited(chunk) ? std::min(grace_when_awaited, relay_grace(now)) : relay_grace(now);
    if (relayed.repair || now - relayed.touched < grace) continue;
    if (downloads_.find(relay_source, chunk)->submitted) continue;
    start_repair(now, chunk, relayed);
    if (relayed.repair) ++repairs;
  }
}

}  // namespace waggle::transfer
