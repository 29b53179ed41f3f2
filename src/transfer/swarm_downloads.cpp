// Chunks from peers: asking, receiving, verifying, and who is to blame when bytes are wrong.
#include "base/assert.hpp"
#include "base/limits.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr Duration pipeline_time = 4ms;  // several round trips of a LAN at the peer's rate
constexpr std::size_t pipeline_chunks = 2;
constexpr double slow_share = 0.25;  // of the median rate: such a peer gets one chunk at a time
constexpr int timeout_factor = 4;    // times the expected time of a chunk
constexpr std::uint32_t timeouts_max =
    4;  // without a block in between: the peer is dropped for a while
constexpr Duration duplicate_after = 200ms;  // endgame: a source younger than this is left alone
constexpr Duration block_credit = 6s;        // blocks of one chunk count as progress this long
constexpr Duration set_aside_for = 30s;
constexpr Duration rush = 300ms;
constexpr std::size_t accusations_max = 64;  // further ones are not remembered

}  // namespace

void Swarm::pump_peer(TimePoint now, const NodeId& node, SwarmPeer& peer) {
  if (!peer.counted || peer.busy_until > now) return;
  Session* session = context_.sessions.find(peer.session);
  WAGGLE_ASSERT(session != nullptr);
  while (session->asked_blocks < limits::requests_per_peer_max) {
    const auto request = downloads_.next_request(peer.session);
    if (request) {
      ++session->asked_blocks;
      session->last_used = now;
      context_.send(peer.session, RequestMessage{tag_, request->chunk, request->offset,
                                                 request->length, !has_links()});
    } else if (readers_.empty() || !start_download(now, node, peer)) {
      break;
    }
  }
}

bool Swarm::start_download(TimePoint now, const NodeId& node, SwarmPeer& peer) {
  const auto median = median_rate();
  const auto rate = peer.rate.rate();
  const bool is_slow = rate && median && *rate < slow_share * *median;
  const auto wide = static_cast<std::size_t>(rate.value_or(0) * to_seconds(pipeline_time)) /
                    layout_.chunk_bytes();
  // At first one at a time: who else wants the blob becomes known meanwhile.
  if (!pulling_since_) pulling_since_ = now;
  const bool is_young = peer.all && availability_.complete() == 1 && now - *pulling_since_ < rush;
  const std::size_t chunks_max = is_slow || is_young ? 1 : std::max(pipeline_chunks, wide);
  const std::size_t active = downloads_.active_of(peer.session);
  if (active >= chunks_max) return false;
  if (downloads_.bytes_of(peer.session) + layout_.chunk_bytes() >
      limits::reassembly_bytes_per_peer_max) {
    return false;
  }
  if (context_.download_bytes + layout_.chunk_bytes() > limits::download_buffer_bytes_max) {
    return false;
  }
  if (peer.all && !list_ && layout_.chunk_count() > 1) ask_list(now, peer);
  const auto allowed = [&](ChunkIndex candidate) { return may_ask(now, node, peer, candidate); };
  std::optional<ChunkIndex> chunk;
  const bool is_scarce = peer.all && is_source_scarce();
  const bool is_shared = peer.all && is_to_be_shared();
  if (is_shared) {
    chunk = pick_share(now, node, peer);
  } else if (is_scarce) {
    chunk = picker_.pick_scarce(open_, allowed, availability_, partial_count(), context_.prng);
  }
  // What partial peers have too is asked from a scarce source only when it would stand idle.
  if (!chunk && !is_shared && !(is_scarce && active > 0)) {
    chunk = picker_.pick(open_, allowed, availability_, context_.prng);
  }
  if (!chunk && !is_shared) chunk = pick_endgame(now, node, peer);
  if (!chunk) return false;
  const auto size = static_cast<std::uint32_t>(layout_.chunk_size(*chunk));
  const std::uint64_t ahead = downloads_.bytes_of(peer.session) + size;
  downloads_.start(peer.session, node, *chunk, size, now, now + patience(peer, ahead));
  downloads_.find(peer.session, *chunk)->from_complete = peer.all;
  context_.download_bytes += size;
  open_.reset(to_value(*chunk));
  return true;
}

std::size_t Swarm::partial_count() const {
  return static_cast<std::size_t>(
      std::count_if(peers_.begin(), peers_.end(),
                    [](const auto& entry) { return entry.second.counted && !entry.second.all; }));
}

bool Swarm::is_set_aside(TimePoint now, const NodeId& node) const {
  const auto it = set_aside_.find(node);
  return it != set_aside_.end() && it->second > now;
}

bool Swarm::may_ask(TimePoint now, const NodeId& node, const SwarmPeer& peer,
                    ChunkIndex chunk) const {
  if (own_only_ || !peer.has(chunk) || peer.unprovable.test(to_value(chunk))) return false;
  if (!has_links() && (peer.all || careful_)) return false;
  if (is_set_aside(now, node) || is_relay_due(now, chunk)) return false;
  const auto suspects = suspects_.find(chunk);
  if (suspects != suspects_.end() && suspects->second.contains(node)) return false;
  const auto sources = downloads_.sources_of(chunk);
  return !std::binary_search(sources.begin(), sources.end(), peer.session);
}

// All chunks are asked: one more source for a chunk whose only one (a peer or the own fetch) takes
// its time.
std::optional<ChunkIndex> Swarm::pick_endgame(TimePoint now, const NodeId& node,
                                              const SwarmPeer& peer) const {
  const std::size_t missing = have_.size() - have_.count();
  if (missing > endgame_chunks_max || !open_.none()) return std::nullopt;
  for (auto i = have_.find(false); i; i = have_.find(false, *i + 1)) {
    const ChunkIndex chunk{static_cast<std::uint32_t>(*i)};
    if (!may_ask(now, node, peer, chunk)) continue;
    if (arriving_.contains(chunk)) continue;  // what lacks of it is asked for block by block
    const auto sources = downloads_.sources_of(chunk);
    const std::size_t live = downloads_.live_sources_of(chunk);
    const bool fetched = fetch_covers(static_cast<std::uint32_t>(*i));
    if (live + (fetched ? 1 : 0) > 1) continue;
    TimePoint since = now;
    for (const SessionId source : sources) {
      const Download& download = downloads_.all().at({source, chunk});
      if (download.state == Download::State::active) since = std::min(since, download.started);
    }
    for (const auto& [id, fetch] : fetches_) {
      if (*i >= fetch.next && *i < fetch.end) since = std::min(since, fetch.last_progress);
    }
    if (now - since >= std::max(duplicate_after, 2 * peer.rate.expected(layout_.chunk_bytes()))) {
      return chunk;
    }
  }
  return std::nullopt;
}

Duration Swarm::patience(const SwarmPeer& peer, std::uint64_t bytes) const {
  return std::max(context_.config.request_timeout_min, timeout_factor * peer.rate.expected(bytes));
}

std::optional<Swarm::BlockPlace> Swarm::block_received(TimePoint now, SessionId session,
                                                       const BlockFrame& frame) {
  if (frame.relayed) return relay_received(now, session, frame);
  const ChunkIndex chunk = frame.chunk;
  const Download* before = downloads_.find(session, chunk);
  if (before == nullptr) return repair_received(now, session, frame);
  const bool was_active = before->state == Download::State::active;
  const Downloads::Block result = downloads_.block(session, chunk, frame.offset, frame.length);
  if (result == Downloads::Block::unwanted) {
    ++context_.stats.duplicate_blocks;
    return std::nullopt;
  }
  Session* entry = context_.sessions.find(session);
  if (was_active && entry != nullptr && entry->asked_blocks > 0) --entry->asked_blocks;
  const NodeId node = downloads_.find(session, chunk)->node;
  // On trust, and not for ever: take_back_progress() when the chunk turns out wrong.
  if (now - downloads_.find(session, chunk)->started < block_credit) {
    progress_ = peer_progress_ = now;
    note_progress(now, chunk, false);
  }
  SwarmPeer* peer = peer_on(session, node);
  if (peer != nullptr) {
    downloads_.extend(session, now + patience(*peer, downloads_.bytes_of(session)));
    peer->timeouts = 0;
    pump_peers_.insert(node);
  }
  share_block(now, session, chunk, frame.offset);
  if (result != Downloads::Block::complete) return BlockPlace{session};
  const Download* download = downloads_.find(session, chunk);
  if (peer != nullptr) {
    peer->rate.add(download->size, now - std::max(download->started, peer->last_chunk));
    peer->last_chunk = now;
  }
  downloads_.find(session, chunk)->deadline = now + context_.config.request_timeout_min;
  refresh_open(chunk);  // it may have been given up on, and free for others
  submit(session, chunk);
  return BlockPlace{session};
}

// Hands a whole chunk to the driver once there is a proof to check it by.
void Swarm::submit(SessionId session, ChunkIndex chunk) {
  Download* download = downloads_.find(session, chunk);
  if (download->submitted || download->state != Download::State::verifying) return;
  if (!opened_) return;  // stripes may come before the file is there
  const auto proof = proof_of(*download, chunk);
  if (!proof) return;
  download->submitted = true;
  download->proof = *proof;
  Bytes record;
  const bool by_crec = std::holds_alternative<CrecProof>(*proof);
  if (by_crec) record = download->crec->to_record();
  const bool want_sha256 = disputed_.contains(chunk) || (!by_crec && download->crec);
  const auto want_blocks = evidence_.contains(chunk) ? BlockHashes::always
                           : session == relay_source ? BlockHashes::if_wrong
                                                     : BlockHashes::never;
  context_.emit(
      VerifyChunk{id_, chunk, session, *proof, std::move(record), want_sha256, want_blocks});
}

void Swarm::submit_waiting() {
  std::vector<Downloads::Key> keys;
  for (const auto& [key, download] : downloads_.all()) {
    if (download.state == Download::State::verifying && !download.submitted) keys.push_back(key);
  }
  for (const auto& [session, chunk] : keys) submit(session, chunk);
}

void Swarm::chunk_verified(TimePoint now, ChunkIndex chunk, SessionId source, ChunkVerdict verdict,
                           const std::optional<ChunkSha256>& sha256,
                           std::span<const ChunkSha256> blocks) {
  const Download* found = downloads_.find(source, chunk);
  if (found == nullptr || !found->submitted) return;  // from before a reset
  const Download download = *found;
  const auto* link = std::get_if<LinkProof>(&download.proof);
  // The driver has taken the buffer: forget it here without a DropBuffer.
  context_.download_bytes -= download.size;
  downloads_.erase(source, chunk);
  if (verdict == ChunkVerdict::store_failed) {
    fail(now, SwarmError::store_failed);
  } else if (verdict == ChunkVerdict::mismatch && source == relay_source) {
    relayed_was_wrong(now, chunk, blocks);
  } else if (verdict == ChunkVerdict::mismatch) {
    departing_.erase(chunk);
    refresh_open(chunk);
    take_back_progress();
    ++context_.stats.verify_failures_peer;
    // A buffer may have gone with its session.
    const bool counts = context_.sessions.find(source) != nullptr;
    if (counts && !has_chunk(chunk)) verify_failed(now, chunk, download, sha256);
    context_.claims_dirty = pump_all_ = true;
  } else if (!has_chunk(chunk)) {
    if (link == nullptr) {
      crecs_.insert_or_assign(chunk, OwnCrec{*download.crec, true});
    } else {
      running_.add_link(chunk, link->begin,
                        link->is_last ? std::nullopt : std::optional(link->end));
      if (list_ && link_proof(*list_, layout_, chunk) == *link) {
        ++list_successes_;
        linked_.set(to_value(chunk));
      }
    }
    if (sha256) hashes_[chunk] = *sha256;
    if (source == relay_source) {
      context_.stats.relayed_bytes += layout_.chunk_size(chunk);
      vouch_for(arriving_.at(chunk), chunk);
    }
    truth_known(now, chunk, blocks);
    mark_have(now, chunk, ChunkSource::peer);
    if (departing_.contains(chunk)) chunk_departed(now, chunk);
  }
  pump_peers_.insert(download.node);
}

// Whether these bytes break what their sender itself said of them. Then no third party's lie can
// explain them.
bool Swarm::is_own_fault(const Download& download, const std::optional<ChunkSha256>& sha256) const {
  if (layout_.chunk_count() == 1) return true;  // the digest itself was the proof
  if (std::holds_alternative<CrecProof>(download.proof)) return true;  // it came with the chunk
  if (download.crec && sha256 && download.crec->sha256 != *sha256) return true;
  if (!list_) return false;
  return list_signature_.prover.node_id() == download.node || download.vouched_list == list_hash_;
}

// Bytes that fail a link which somebody else signed convict nobody yet: the list may lie. The
// sender is left alone, and the truth, once proven, tells.
void Swarm::verify_failed(TimePoint now, ChunkIndex chunk, const Download& download,
                          const std::optional<ChunkSha256>& sha256) {
  const NodeId node = download.node;
  const auto* link = std::get_if<LinkProof>(&download.proof);
  const bool is_current = link == nullptr || layout_.chunk_count() == 1 ||
                          (list_ && link_proof(*list_, layout_, chunk) == *link);
  if (!is_current) return;  // the list was dropped meanwhile
  auto& suspects = suspects_[chunk];
  suspects.insert(node);
  if (is_own_fault(download, sha256)) {
    context_.score(now, node, PeerScores::wrong_bytes);
    return;
  }
  set_aside_[node] = now + set_aside_for;
  if (download.crec) dispute(chunk, *download.crec);
  if (download.from_complete && accusations_.size() < accusations_max) {
    accusations_.push_back({node, chunk, *link});
  }
  ++list_failures_;
  constexpr std::uint32_t hopeless = 3;  // chunks that failed while none ever passed
  if (suspects.size() < 2 && (list_successes_ > 0 || list_failures_ < hopeless)) return;
  drop_list(true);
}

void Swarm::drop_download(SessionId session, ChunkIndex chunk) {
  const Download* download = downloads_.find(session, chunk);
  if (download == nullptr) return;
  const auto departing = departing_.find(chunk);
  if (departing != departing_.end() && departing->second.source == session)
    departing_.erase(departing);
  context_.download_bytes -= download->size;
  const std::uint32_t waiting = downloads_.erase(session, chunk);
  if (Session* entry = context_.sessions.find(session)) {
    entry->asked_blocks -= std::min(entry->asked_blocks, waiting);
  }
  context_.emit(DropBuffer{id_, chunk, session});
  refresh_open(chunk);
}

// What the driver is hashing already goes on: its bytes are all here.
void Swarm::drop_downloads_of(SessionId session) {
  for (const ChunkIndex chunk : downloads_.chunks_of(session)) {
    if (!downloads_.find(session, chunk)->submitted) drop_download(session, chunk);
  }
}

void Swarm::drop_other_sources(ChunkIndex chunk) {
  for (const SessionId session : downloads_.sources_of(chunk)) {
    const Download* download = downloads_.find(session, chunk);
    if (download->state != Download::State::verifying &&
        context_.sessions.find(session) != nullptr) {
      context_.send(session, CancelMessage{tag_, chunk});
    }
    drop_download(session, chunk);
  }
}

// First the chunk is free for others, then, as long again later, the late bytes are given up too.
void Swarm::expire_downloads(TimePoint now) {
  for (const auto& [session, chunk] : downloads_.overdue(now)) {
    Download* download = downloads_.find(session, chunk);
    if (download == nullptr) continue;  // its peer was dropped meanwhile
    if (download->state != Download::State::active) {
      SwarmPeer* mute = peer_on(session, download->node);
      // Whole, but no word to check it by: not asked of this peer again.
      if (download->state == Download::State::verifying && mute != nullptr && mute->counted) {
        mute->unprovable.set(to_value(chunk));
      }
      drop_download(session, chunk);
      continue;
    }
    ++context_.stats.request_timeouts;
    const std::uint32_t waiting = downloads_.make_late(session, chunk);
    if (Session* entry = context_.sessions.find(session)) {
      entry->asked_blocks -= std::min(entry->asked_blocks, waiting);
    }
    download->deadline = now + timeout_factor * context_.config.request_timeout_min;
    refresh_open(chunk);
    const NodeId node = download->node;
    SwarmPeer* peer = peer_on(session, node);
    if (peer == nullptr) continue;
    peer->rate.halve();
    if (++peer->timeouts < timeouts_max) continue;
    drop_peer(now, node, true);
    candidates_[node].retry_at = now + 30s;
  }
}

}  // namespace waggle::transfer
