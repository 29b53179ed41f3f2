// A swarm's life: readers, the size and the blob, what is here, timers, the verdicts that end it.
#include "transfer/swarm.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr Duration tick_period = 100ms;
constexpr Duration have_batch = 10ms;
constexpr Duration relayed_have_batch = 200ms;  // everybody gets these anyway
constexpr Duration holders_period = 1s;         // the index may have learned of more holders
constexpr Duration veil_max = 200ms;
constexpr std::size_t first_told = 2;   // peers that hear of a fresh chunk at once
constexpr Duration linger = 30s;        // a swarm without readers stays this long
constexpr Duration give_up_after = 8s;  // without any sign of life from any source
constexpr Duration hope_lasts = 1s;     // upstream is closed to us, and nobody else has a byte
constexpr std::uint32_t upstream_failures_max = 3;
constexpr std::uint32_t origin_failures_min =
    2;  // then others need not wait as long for the origin
constexpr std::size_t windows_max = 16;
constexpr Duration bypass_after = 3s;   // a reader without head-of-line progress
constexpr Duration lazy_spread = 20ms;  // per peer
constexpr Duration lazy_spread_max = 500ms;
constexpr Duration bypass_spread = 750ms;  // not all nodes at once: what one fetches serves all

Duration random_below(Prng& prng, Duration bound) {
  return Duration(
      static_cast<Duration::rep>(prng.below(static_cast<std::uint64_t>(bound.count()))));
}

// Nodes that began together need not do everything at the same moment.
Duration random_phase(Prng& prng) { return random_below(prng, tick_period) + Duration(1); }

}  // namespace

Swarm::Swarm(ExchangeContext& context, SwarmId id, SwarmKey key, TimePoint now)
    : context_(context),
      id_(id),
      key_(std::move(key)),
      tag_(key_.tag()),
      tick_at_(now + random_phase(context.prng)),
      rings_(tag_, context.self()),
      claims_key_(key_),
      claims_tag_(tag_) {
  moved(now);
  sure_peer_progress_ = peer_progress_ = now;
  context_.claimants[claims_tag_] = id_;
  replace_at_ = now + 5s;
  patience_ = bypass_after + random_below(context_.prng, bypass_spread);
  close_at_ = now + linger;
  not_found_ = !context_.config.upstream_allowed;
  if (key_.digest.algorithm() != DigestAlgorithm::sha256) {
    fail(now, SwarmError::unsupported);
    return;
  }
  refresh_holders(now);
  if (context_.tainted.is_refuted(now, key_.digest)) become_careful(now);
  if (const auto size = context_.view.announced_size(key_.digest)) {
    set_size(now, *size, SizeSource::hint);
  }
}

void Swarm::add_reader(TimePoint now, ReaderId reader, std::uint64_t offset, bool lazy) {
  const bool first = readers_.empty();
  Reader& added = readers_[reader];
  added = Reader{.offset = offset,
                 .waiting_since = now,
                 .sure_since = now,
                 .lazy = lazy,
                 .patience = patience_};
  if (lazy) {
    // The more others are at it, the likelier one of them wants the same chunk at this moment.
    const Duration spread = std::min<Duration>(lazy_spread_max, lazy_spread * peers_.size());
    added.patience = random_below(context_.prng, spread + Duration(1));
  }
  close_at_.reset();
  if (first) {
    moved(now);
    sure_peer_progress_ = peer_progress_ = careful_since_ = now;
    tick_at_ = std::min(tick_at_, now + random_phase(context_.prng));
  }
  update_windows();
  pump_all_ = context_.claims_dirty = true;
}

void Swarm::move_reader(TimePoint now, ReaderId reader, std::uint64_t offset) {
  const auto it = readers_.find(reader);
  if (it == readers_.end() || it->second.offset == offset) return;
  it->second.offset = offset;
  it->second.waiting_since = it->second.sure_since = now;
  update_windows();
}

void Swarm::remove_reader(TimePoint now, ReaderId reader) {
  const auto left = readers_.extract(reader);
  if (left.empty()) return;
  update_windows();
  context_.claims_dirty = true;
  if (!readers_.empty()) return;
  std::erase_if(waiting_, [&](ExtentIndex extent) {
    release_extent(now, extent);
    return true;
  });
  const std::set<ExtentIndex> owned = owned_;
  for (const ExtentIndex extent : owned) {
    if (!is_fetching(extent) && !proven_) release_extent(now, extent);
  }
  const bool under_way = !fetches_.empty() || !downloads_.empty() || (proven_ && !committed_);
  if (!under_way && !committed_ && !left.mapped().lazy) {
    close(now, false);
  } else {
    close_at_ = now + linger;
  }
}

void Swarm::retry_upstream(TimePoint now) {
  no_credential_ = false;
  not_found_ = !context_.config.upstream_allowed;
  progress_ = now;
  context_.claims_dirty = true;
}

void Swarm::set_size(TimePoint now, std::uint64_t size, SizeSource source) {
  if (size_ == size) {
    if (source == SizeSource::upstream) size_source_ = source;
    return;
  }
  if (size_ && source == SizeSource::hint) return;  // the first hint stays until upstream speaks
  if (size > limits::blob_bytes_max) {
    if (source == SizeSource::upstream || !size_) fail(now, SwarmError::too_large);
    return;
  }
  const bool changed = size_.has_value();
  size_ = size;
  size_source_ = source;
  layout_ = BlobLayout(size);
  if (changed) {
    reset_blob(now);
  } else {
    have_ = Bitfield(layout_.chunk_count());
    open_ = Bitfield(layout_.chunk_count(), true);
    extents_done_ = Bitfield(layout_.extent_count());
    linked_ = Bitfield(layout_.chunk_count());
    running_ = RunningProof(key_.digest, layout_);
    // A grant from before the size was known may name an extent that there is not.
    const std::set<ExtentIndex> owned = owned_;
    for (const ExtentIndex extent : owned) {
      if (to_value(extent) < layout_.extent_count()) continue;
      std::erase(waiting_, extent);
      release_extent(now, extent);
    }
    recount_peers();
    open_blob();
  }
  update_windows();
  context_.claims_dirty = pump_all_ = true;
}

void Swarm::open_blob() {
  created_ = true;
  ++opens_pending_;
  context_.emit(CreateBlob{id_, key_, *size_});
}

// The chunks so far are worth nothing (another size, or a refuted digest): begin again with an
// empty file.
void Swarm::reset_blob(TimePoint now) {
  const auto downloads = downloads_.all();
  for (const auto& [key, download] : downloads) drop_download(key.first, key.second);
  cancel_fetches();
  release_claims(now);
  for (auto& [node, peer] : peers_) peer.unprovable = {};  // its words may be worth more now
  recount_peers();
  have_ = Bitfield(layout_.chunk_count());
  open_ = Bitfield(layout_.chunk_count(), true);
  extents_done_ = Bitfield(layout_.extent_count());
  running_ = RunningProof(key_.digest, layout_);
  pending_haves_.clear();
  fresh_haves_.clear();
  veiled_.clear();
  for (auto& [chunk, relayed] : arriving_) end_repair(relayed);
  arriving_.clear();
  departing_.clear();
  late_.clear();
  first_departed_.reset();
  early_crecs_.clear();
  heard_.clear();
  not_relayed_.clear();
  evidence_.clear();
  suspects_.clear();
  set_aside_.clear();
  accusations_.clear();
  crecs_.clear();
  drop_list(false);
  linked_ = Bitfield(layout_.chunk_count());
  former_.reset();
  has_foreign_ = false;
  opened_ = false;
  if (created_) context_.emit(CloseBlob{id_, true});
  open_blob();
  // What comes of a chunk from now on has nothing to do with what was sent of it before.
  broadcast_state();
  context_.claims_dirty = pump_all_ = true;
}

void Swarm::blob_opened(TimePoint now, std::optional<std::vector<StoredChunk>> held) {
  if (opens_pending_ == 0 || --opens_pending_ > 0) return;  // an answer to a blob that was reset
  if (!held) {
    fail(now, SwarmError::store_failed);
    return;
  }
  opened_ = true;
  context_.emit(SwarmSize{id_, *size_});
  if (*size_ == 0) mark_have(now, ChunkIndex{0}, ChunkSource::local);
  for (const StoredChunk& stored : *held) {
    if (to_value(stored.chunk) >= layout_.chunk_count()) continue;
    // The journal is ours: records were checked before they were written.
    if (const auto crec = Crec::from_record(stored.record)) {
      crecs_.try_emplace(stored.chunk, OwnCrec{*crec, true});
    }
    mark_have(now, stored.chunk, ChunkSource::local);
  }
  pending_haves_.clear();
  haves_at_.reset();
  broadcast_state();
  trim_fetches(now);
  std::vector<ExtentIndex> waiting = std::exchange(waiting_, {});
  for (const ExtentIndex extent : waiting) start_extent(now, extent, FetchKind::claimed);
  submit_waiting();
  pump_all_ = context_.claims_dirty = true;
}

void Swarm::mark_have(TimePoint now, ChunkIndex chunk, ChunkSource source) {
  if (!have_.set(to_value(chunk))) return;
  moved(now);
  if (source == ChunkSource::peer) sure_peer_progress_ = peer_progress_ = now;
  has_foreign_ = has_foreign_ || source != ChunkSource::upstream;
  open_.reset(to_value(chunk));
  const bool is_relayed = arriving_.contains(chunk) || departing_.contains(chunk);
  forget_relayed(now, chunk);
  drop_other_sources(chunk);
  suspects_.erase(chunk);
  context_.emit(ChunkReady{id_, chunk, source});
  const std::uint64_t bytes = layout_.chunk_size(chunk);
  if (source == ChunkSource::peer) context_.stats.peer_bytes += bytes;
  if (source == ChunkSource::upstream) context_.stats.upstream_chunk_bytes += bytes;
  // What was relayed everybody gets: it need not go to few at first, nor at once.
  const bool is_fresh = source == ChunkSource::upstream && !is_relayed;
  (is_fresh ? fresh_haves_ : pending_haves_).push_back(chunk);
  const bool may_wait = is_relayed && !have_.all();
  const TimePoint told_at = now + (may_wait ? relayed_have_batch : have_batch);
  haves_at_ = std::min(haves_at_.value_or(told_at), told_at);
  const ExtentIndex extent = layout_.extent_of(chunk);
  const std::uint32_t first = to_value(layout_.extent_first_chunk(extent));
  if (have_.run_length(first) >= layout_.extent_chunk_count(extent) &&
      extents_done_.set(to_value(extent))) {
    // Who streams the whole blob keeps its one claim to the end: nobody else is to begin.
    if (!no_range_ && owned_.erase(extent) > 0)
      context_.claims.extent_done(now, claims_tag_, extent);
    context_.claims_dirty = true;
  }
  note_progress(now, chunk, true);
  if (source == ChunkSource::peer) {
    for (auto& [id, reader] : readers_) {
      if (reader.offset < *size_ && layout_.chunk_at(reader.offset) == chunk)
        reader.bypass_chunks = 0;
    }
  }
  advance_proof(now);
}

// A reader that waits for this chunk need not be rescued yet.
void Swarm::note_progress(TimePoint now, ChunkIndex chunk, bool sure) {
  for (auto& [id, reader] : readers_) {
    if (size_ && reader.offset < *size_ && layout_.chunk_at(reader.offset) == chunk) {
      reader.waiting_since = now;
      if (sure) reader.sure_since = now;
    }
  }
}

void Swarm::moved(TimePoint now) { sure_progress_ = progress_ = now; }

// Blocks came, but what they made was wrong: as if nothing had come since the last proven chunk.
void Swarm::take_back_progress() {
  progress_ = sure_progress_;
  peer_progress_ = sure_peer_progress_;
  for (auto& [id, reader] : readers_) reader.waiting_since = reader.sure_since;
}

void Swarm::update_windows() {
  if (!size_) return;
  std::vector<PlaybackWindow> windows;
  for (const auto& [id, reader] : readers_) {
    const PlaybackWindow window = PlaybackWindow::at(layout_, reader.offset);
    if (window.first < window.end) windows.push_back(window);
  }
  const auto by_first = [](const PlaybackWindow& a, const PlaybackWindow& b) {
    return a.first < b.first;
  };
  const auto same = [](const PlaybackWindow& a, const PlaybackWindow& b) {
    return a.first == b.first;
  };
  std::sort(windows.begin(), windows.end(), by_first);
  windows.erase(std::unique(windows.begin(), windows.end(), same), windows.end());
  if (windows.size() > windows_max) windows.resize(windows_max);
  picker_.set_windows(std::move(windows));
}

void Swarm::refresh_open(ChunkIndex chunk) {
  const std::uint32_t i = to_value(chunk);
  if (have_.test(i) || downloads_.live_sources_of(chunk) > 0 || fetch_covers(i)) {
    open_.reset(i);
  } else if (open_.set(i)) {
    pump_all_ = true;
  }
}

void Swarm::refresh_all_open() {
  for (std::uint32_t i = 0; i < layout_.chunk_count(); ++i) refresh_open(ChunkIndex{i});
}

// A chunk that only this node has is told to a few random peers first. They pass it on, so the
// uplink of whoever fetches
// from upstream is not what the whole swarm waits for.
void Swarm::flush_haves(TimePoint now) {
  haves_at_.reset();
  std::vector<ChunkIndex> chunks = std::exchange(pending_haves_, {});
  const std::vector<ChunkIndex> fresh = std::exchange(fresh_haves_, {});
  std::vector<NodeId> lacking;
  for (const auto& [node, peer] : peers_) {
    if (peer.link == SwarmPeer::Link::ready && !peer.all) lacking.push_back(node);
  }
  if (lacking.size() <= 2 * first_told) {
    chunks.insert(chunks.end(), fresh.begin(), fresh.end());
  } else {
    std::map<NodeId, std::vector<ChunkIndex>> told;
    for (const ChunkIndex chunk : fresh) {
      veiled_[chunk] = now + veil_max;
      for (std::size_t i = 0; i < first_told; ++i) {
        told[lacking[context_.prng.below(lacking.size())]].push_back(chunk);
      }
    }
    for (const auto& [node, some] : told) tell_haves(now, peers_.at(node), some);
  }
  for (auto& [node, peer] : peers_) tell_haves(now, peer, chunks);
}

void Swarm::tell_haves(TimePoint now, SwarmPeer& peer, const std::vector<ChunkIndex>& chunks) {
  if (peer.link != SwarmPeer::Link::ready || peer.all) return;
  HaveMessage message{.tag = tag_, .chunks = {}};
  for (const ChunkIndex chunk : chunks) {
    if (peer.has(chunk)) continue;
    message.chunks.push_back(chunk);
    if (message.chunks.size() == have_chunks_max) {
      context_.send(peer.session, message);
      message.chunks.clear();
    }
  }
  if (!message.chunks.empty()) context_.send(peer.session, message);
  if (Session* session = context_.sessions.find(peer.session)) session->last_used = now;
}

// Two others have it, or those told did not take it: now everybody may know.
void Swarm::reveal_due(TimePoint now) {
  for (auto it = veiled_.begin(); it != veiled_.end();) {
    if (it->second <= now || availability_.count(it->first) >= first_told) {
      pending_haves_.push_back(it->first);
      if (!haves_at_) haves_at_ = now + have_batch;
      it = veiled_.erase(it);
    } else {
      ++it;
    }
  }
}

bool Swarm::is_active() const {
  return !committed_ && (!readers_.empty() || !downloads_.empty() || !fetches_.empty());
}

std::optional<TimePoint> Swarm::poll_timeout() const {
  if (ended_) return std::nullopt;
  std::optional<TimePoint> next = haves_at_;
  if (is_active()) next = next ? std::min(*next, tick_at_) : tick_at_;
  if (close_at_) next = next ? std::min(*next, *close_at_) : *close_at_;
  return next;
}

void Swarm::handle_timeout(TimePoint now) {
  if (haves_at_ && *haves_at_ <= now) flush_haves(now);
  if (close_at_ && *close_at_ <= now && readers_.empty()) {
    if (proven_ && !committed_) {
      close_at_ = now + linger;  // the disk is still at it
    } else {
      close(now, false);
      return;
    }
  }
  if (tick_at_ <= now && is_active()) {
    tick_at_ = now + tick_period;
    tick(now);
  }
}

void Swarm::tick(TimePoint now) {
  reveal_due(now);
  if (holders_at_ <= now) {
    holders_at_ = now + holders_period;
    refresh_holders(now);
  }
  expire_downloads(now);
  tend_relays(now);
  send_vouches();
  pump_all_ = context_.claims_dirty = true;
  if (readers_.empty() || proven_) return;
  resume_stalled_extents(now);
  bypass(now);
  replace_worst(now);
  judge(now);
}

// Ends the swarm when every way to the bytes is closed.
void Swarm::judge(TimePoint now) {
  if (ended_) return;
  const bool long_pause = claims_paused_until_ - now >= give_up_after;
  if (upstream_failures_ >= origin_failures_min && now - progress_ >= give_up_after / 2)
    context_.origin_down(now, key_.origin);
  const bool down = upstream_failures_ > 0 && context_.was_origin_down(now, key_.origin, progress_);
  const bool closed = no_credential_ || not_found_ || long_pause || down;
  const Duration patience = closed && !has_hope() ? hope_lasts : give_up_after;
  if (now - progress_ < patience) return;
  if (no_credential_) {
    fail(now, SwarmError::unauthorized);
  } else if (not_found_) {
    fail(now, SwarmError::not_found);
  } else if (long_pause || down || upstream_failures_ >= upstream_failures_max) {
    fail(now, SwarmError::unreachable);
  }
}

void Swarm::settle(TimePoint now) {
  if (ended_) return;
  if (whole_mine_ && !proven_) fetch_whole(now);
  if (ended_) return;
  if (!proven_ && !readers_.empty()) fill_peers(now);
  if (!opened_ || proven_) {
    pump_all_ = false;
    pump_peers_.clear();
    return;
  }
  bypass_lazy(now);
  if (std::exchange(pump_all_, false)) {
    for (auto& [node, peer] : peers_) pump_peers_.insert(node);
  }
  const std::set<NodeId> due = std::exchange(pump_peers_, {});
  for (const NodeId& node : due) {
    const auto it = peers_.find(node);
    if (it != peers_.end()) pump_peer(now, node, it->second);
  }
}

void Swarm::fail(TimePoint now, SwarmError error) {
  if (ended_) return;
  context_.emit(SwarmFailed{id_, error});
  close(now, error == SwarmError::bad_upstream);
}

void Swarm::close(TimePoint now, bool discard) {
  if (ended_) return;
  for (auto& [chunk, relayed] : arriving_) end_repair(relayed);
  arriving_.clear();
  const auto downloads = downloads_.all();
  for (const auto& [key, download] : downloads) drop_download(key.first, key.second);
  cancel_fetches();
  if (want_sent_ && !committed_) context_.claims.unwant(now, claims_tag_, false);
  context_.claimants.erase(claims_tag_);
  if (!committed_ && !disputed_.empty()) {
    if (context_.disputed.size() >= limits::disputed_swarms_max) {
      context_.disputed.erase(context_.disputed.begin());
    }
    context_.disputed[tag_] = disputed_;
  }
  owned_.clear();
  if (!committed_) {
    for (const auto& [node, peer] : peers_) {
      if (peer.link != SwarmPeer::Link::dialing) {
        context_.send(peer.session, CloseMessage{tag_});
      }
    }
  }
  if (created_) context_.emit(CloseBlob{id_, discard});
  context_.claims_dirty = true;
  ended_ = true;
}

SwarmStatus Swarm::status() const {
  SwarmStatus status{.key = key_, .size = size_, .readers = readers_.size(), .proven = proven_};
  if (size_) {
    status.have_bytes = have_.count() * layout_.chunk_bytes();
    const std::uint32_t last = layout_.chunk_count() - 1;
    if (have_.test(last)) {
      status.have_bytes -= layout_.chunk_bytes() - layout_.chunk_size(ChunkIndex{last});
    }
  }
  status.peers =
      static_cast<std::size_t>(std::count_if(peers_.begin(), peers_.end(), [](const auto& entry) {
        return entry.second.link == SwarmPeer::Link::ready;
      }));
  return status;
}

bool Swarm::has_chunk(ChunkIndex chunk) const {
  return to_value(chunk) < have_.size() && have_.test(to_value(chunk));
}

std::vector<SessionId> Swarm::peer_sessions() const {
  std::vector<SessionId> sessions;
  for (const auto& [node, peer] : peers_) {
    if (peer.link != SwarmPeer::Link::dialing) sessions.push_back(peer.session);
  }
  return sessions;
}

std::uint64_t Swarm::lowest_reader() const {
  std::uint64_t lowest = UINT64_MAX;
  for (const auto& [id, reader] : readers_) lowest = std::min(lowest, reader.offset);
  return lowest;
}

void Swarm::check_invariants() const {
  downloads_.check_invariants();
  WAGGLE_ASSERT(have_.size() == (size_ ? layout_.chunk_count() : 0));
  Availability recount(size_ ? layout_.chunk_count() : 0);
  std::size_t incoming = 0;
  for (const auto& [node, peer] : peers_) {
    if (!peer.outgoing) ++incoming;
    if (!peer.counted) continue;
    WAGGLE_ASSERT(peer.link == SwarmPeer::Link::ready && peer.size == size_);
    if (peer.all) {
      recount.add_complete();
    } else {
      recount.add(peer.have);
    }
  }
  WAGGLE_ASSERT(incoming <= limits::swarm_peers_in_max);
  WAGGLE_ASSERT(peers_.size() <= limits::swarm_peers_in_max + limits::swarm_peers_out);
  if (size_) WAGGLE_ASSERT(recount == availability_);
  for (std::uint32_t i = 0; i < have_.size(); ++i) {
    const ChunkIndex chunk{i};
    const bool is_open =
        !have_.test(i) && downloads_.live_sources_of(chunk) == 0 && !fetch_covers(i);
    WAGGLE_ASSERT(open_.test(i) == is_open);
    WAGGLE_ASSERT(downloads_.active_sources_of(chunk) <= 3);  // two asked, and stripes
    if (have_.test(i)) WAGGLE_ASSERT(downloads_.sources_of(chunk).empty());
  }
  for (const auto& [chunk, nodes] : suspects_) WAGGLE_ASSERT(!nodes.empty());
  for (const ExtentIndex extent : owned_) {
    WAGGLE_ASSERT(!size_ || no_range_ || !extents_done_.test(to_value(extent)));
  }
  for (const auto& [chunk, relayed] : arriving_) {
    WAGGLE_ASSERT(!downloads_.sources_of(chunk).empty());
    WAGGLE_ASSERT(downloads_.sources_of(chunk).front() == relay_source);
  }
  WAGGLE_ASSERT(evidence_.size() <= limits::relay_evidence_max);
  WAGGLE_ASSERT(early_crecs_.size() <= limits::relay_early_crecs_max);
  WAGGLE_ASSERT(!committed_ || proven_);
  WAGGLE_ASSERT(!list_ || list_->size() + 1 == layout_.chunk_count());
  WAGGLE_ASSERT(list_ || linked_.none());
  WAGGLE_ASSERT(!own_only_ || careful_);
  for (const auto& [chunk, own] : crecs_) WAGGLE_ASSERT(has_chunk(chunk));
}

}  // namespace waggle::transfer
