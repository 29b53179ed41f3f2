// Fresh chunks on their way through a swarm: begun by whoever fetches them, passed on stripe by
// stripe as they arrive, and what did not come pulled.
#include "base/assert.hpp"
#include "base/limits.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t block_bytes = static_cast<std::uint32_t>(limits::block_bytes);
constexpr std::uint32_t frame_bytes = static_cast<std::uint32_t>(limits::relay_frame_bytes);
static_assert(limits::chunk_bytes_max / limits::block_bytes <= 64);  // bits of a RelayVouchMessage
constexpr Duration abandoned_after = 10s;  // no byte, and nobody has the chunk
constexpr Duration redial_after = 1s;
constexpr Duration late_lives = 1s;       // what has not left by then is asked for
constexpr std::size_t branches_max = 16;  // of a stripe: who comes one by one gets one each
constexpr std::uint64_t late_bytes_max = limits::chunk_bytes_max;

}  // namespace

// ---- whom to ----

bool Swarm::may_relay() const {
  return context_.config.relays && !careful_ && !own_only_ && *size_ >= block_bytes;
}

void Swarm::refresh_rings() {
  std::vector<NodeId> others;
  for (const auto& [node, candidate] : candidates_) {
    const auto peer = peers_.find(node);
    const bool has_all = candidate.holder || (peer != peers_.end() && peer->second.all);
    if (!has_all && !candidate.dead_end && context_.view.is_live(node)) others.push_back(node);
  }
  rings_.set_others(std::move(others));
}

const NodeId* Swarm::node_of(HopName name) {
  if (!hops_.contains(name)) {
    // The list's sender knows more of those that want the blob.
    const auto node = node_named(context_.view.registrar_candidates(), name);
    if (node) add_candidate(*node, false);
  }
  const auto known = hops_.find(name);
  return known == hops_.end() ? nullptr : &known->second;
}

// The first in order that can be reached goes off the list; those before it stay, for whoever
// reaches them, and those that take nothing at the moment come last: nobody waits behind them.
std::optional<SessionId> Swarm::next_hop(TimePoint now, std::vector<HopName>& rest) {
  std::vector<HopName> slow;
  std::optional<SessionId> found;
  for (auto it = rest.begin(); it != rest.end() && !found;) {
    const NodeId* node = node_of(*it);
    if (node == nullptr) {
      it = *it == hop_name(context_.self()) ? rest.erase(it) : it + 1;
      continue;
    }
    PeerCandidate& candidate = candidates_.at(*node);
    const auto session = context_.sessions.newest(*node);
    if (!session) {
      if (candidate.retry_at <= now && candidate.relay_dial_at <= now) {
        candidate.relay_dial_at = now + redial_after;
        context_.emit(EnsureSession{*node});
      }
      ++it;
      continue;
    }
    const bool is_fit = context_.sessions.find(*session)->takes_stripes(now) &&
                        !context_.scores.is_banned(now, *node);
    if (is_fit && !candidate.holder) {
      found = session;
    } else if (!candidate.holder) {
      slow.push_back(*it);
    }
    it = rest.erase(it);
  }
  rest.insert(rest.end(), slow.begin(), slow.end());
  return found;
}

void Swarm::begin_stripe(RelayStripe& stripe, std::uint64_t number) {
  RelayBranch branch{rings_.stripe_order(number), std::nullopt, 0};
  stripe.told.insert(branch.rest.begin(), branch.rest.end());
  stripe.branches.push_back(std::move(branch));
}

// Who became known after the stripe had left gets it down a chain of their own.
void Swarm::spread(RelayStripe& stripe, std::uint64_t number) {
  if (stripe.branches.empty()) return begin_stripe(stripe, number);
  if (stripe.branches.size() >= branches_max) return;
  RelayBranch branch;
  for (const NodeId& node : rings_.chain(0)) {
    if (branch.rest.size() == limits::relay_hops_max) break;
    if (stripe.told.insert(hop_name(node)).second) branch.rest.push_back(hop_name(node));
  }
  if (!branch.rest.empty()) stripe.branches.push_back(std::move(branch));
}

// ---- out of this node ----

std::uint32_t Swarm::relay_serial() { return static_cast<std::uint32_t>(context_.prng.next()); }

std::uint32_t Swarm::stripe_length(ChunkIndex chunk, std::size_t stripe) const {
  const auto size = static_cast<std::uint32_t>(layout_.chunk_size(chunk));
  return std::min(block_bytes, size - static_cast<std::uint32_t>(stripe) * block_bytes);
}

std::uint64_t Swarm::stripe_number(ChunkIndex chunk, std::size_t stripe) const {
  return to_value(chunk) * (layout_.chunk_bytes() / block_bytes) + stripe;
}

RelayedChunk Swarm::new_relayed(ChunkIndex chunk) {
  RelayedChunk relayed;
  relayed.serial = relay_serial();
  relayed.stripes.resize((layout_.chunk_size(chunk) + block_bytes - 1) / block_bytes);
  return relayed;
}

void Swarm::fetch_bytes(TimePoint now, FetchId id, ChunkIndex chunk, std::uint32_t filled) {
  const auto fetch = fetches_.find(id);
  if (fetch == fetches_.end() || fetch->second.canceled || !size_ || !may_relay()) return;
  if (to_value(chunk) >= layout_.chunk_count() || has_chunk(chunk)) return;
  const bool is_new = !departing_.contains(chunk);
  if (is_new) departing_.emplace(chunk, new_relayed(chunk));
  const auto it = departing_.find(chunk);
  auto& stripes = it->second.stripes;
  if (is_new || rings_.size() == 0) refresh_rings();  // the first bytes come before the first news
  if (rings_.size() == 0) return;
  for (std::size_t i = 0; i < stripes.size() && i * block_bytes < filled; ++i) {
    const auto received =
        std::min(stripe_length(chunk, i), filled - static_cast<std::uint32_t>(i) * block_bytes);
    if (received == stripes[i].received) continue;
    stripes[i].received = received;
    if (stripes[i].branches.empty()) begin_stripe(stripes[i], stripe_number(chunk, i));
    pass_on(now, chunk, fetch_source, i, it->second);
  }
}

void Swarm::pass_on(TimePoint now, ChunkIndex chunk, SessionId source, std::size_t stripe,
                    RelayedChunk& relayed) {
  RelayStripe& state = relayed.stripes[stripe];
  const std::uint32_t begin = static_cast<std::uint32_t>(stripe) * block_bytes;
  const bool is_whole = state.received == stripe_length(chunk, stripe);
  for (RelayBranch& branch : state.branches) {
    if (!branch.to) {
      branch.to = next_hop(now, branch.rest);
      if (!branch.to) continue;
      branch.sent = 0;
      context_.send(*branch.to,
                    RelayMessage{tag_, chunk, begin, *size_, relayed.serial, branch.rest});
      send_vouches(*branch.to);
    }
    if (context_.sessions.find(*branch.to) == nullptr) continue;  // tend_relays() sees to it
    while (branch.sent < state.received) {
      const std::uint32_t length = std::min(frame_bytes, state.received - branch.sent);
      if (length < frame_bytes && !is_whole) break;
      send_relayed(now, {.session = *branch.to,
                         .tag = tag_,
                         .digest = key_.digest,
                         .swarm = id_,
                         .chunk = chunk,
                         .offset = begin + branch.sent,
                         .length = length,
                         .relayed = true,
                         .source = source == stored_source ? std::nullopt : std::optional(source)});
      branch.sent += length;
    }
  }
}

void Swarm::send_relayed(TimePoint now, SendBlock block) {
  Session* session = context_.sessions.find(block.session);
  if (session->relay_unsent == 0) session->relay_moved = now;
  session->relay_unsent += block.length;
  session->last_used = now;
  context_.stats.upload_bytes += block.length;
  context_.emit(std::move(block));
}

// The chunk is here already: its stripe leaves as a whole.
void Swarm::pass_stored(TimePoint now, const RelayMessage& message) {
  for (RelayBranch& branch : split_chain(message.next))
    pass_stored(now, message, std::move(branch.rest));
}

void Swarm::pass_stored(TimePoint now, const RelayMessage& message, std::vector<HopName> rest) {
  const auto to = next_hop(now, rest);
  if (!to) return;
  const std::uint32_t serial = relay_serial();
  context_.send(*to, RelayMessage{tag_, message.chunk, message.offset, *size_, serial, rest});
  const std::uint32_t length = stripe_length(message.chunk, message.offset / block_bytes);
  for (std::uint32_t sent = 0; sent < length; sent += frame_bytes) {
    send_relayed(now, {.session = *to,
                       .tag = tag_,
                       .digest = key_.digest,
                       .swarm = committed_ ? std::nullopt : std::optional(id_),
                       .chunk = message.chunk,
                       .offset = message.offset + sent,
                       .length = std::min(frame_bytes, length - sent),
                       .relayed = true});
  }
  context_.send(*to, RelayVouchMessage{tag_, message.chunk, serial,
                                       std::uint64_t{1} << (message.offset / block_bytes)});
}

// The chunk is whole, proven and stored.
void Swarm::chunk_departed(TimePoint now, ChunkIndex chunk) {
  auto departed = departing_.extract(chunk);
  if (ended_ || proven_ || !may_relay()) return;
  RelayedChunk relayed;
  if (departed.empty()) {
    relayed = new_relayed(chunk);  // it came before the blob was open
  } else {
    relayed = std::move(departed.mapped());
  }
  // Whoever wants the blob, too, becomes known while its first chunks leave.
  if (!first_departed_) first_departed_ = now;
  const bool is_rush = now - *first_departed_ < late_lives;
  relayed.is_own = true;
  relay_crec(now, chunk, relayed);
  if (!has_late_room() || (!is_rush && relayed.has_left())) return vouch_for(relayed, chunk);
  keep_late(now, chunk, std::move(relayed));
}

// A hop that could reach none of those after it while the stripe came.
void Swarm::chunk_passed(TimePoint now, ChunkIndex chunk, RelayedChunk relayed) {
  if (relayed.waits() && has_late_room()) {
    keep_late(now, chunk, std::move(relayed));
  }
}

bool Swarm::has_late_room() const {
  return (late_.size() + 1) * layout_.chunk_bytes() <= late_bytes_max;
}

void Swarm::keep_late(TimePoint now, ChunkIndex chunk, RelayedChunk relayed) {
  for (std::size_t i = 0; i < relayed.stripes.size(); ++i) {
    relayed.stripes[i].received = stripe_length(chunk, i);
  }
  relayed.touched = now;
  late_.emplace(chunk, std::move(relayed));
  relay_late(now);
}

// From the store: what could not leave while it came, and what those lack that became known since.
void Swarm::relay_late(TimePoint now) {
  if (late_.empty() || ended_) return;
  refresh_rings();
  for (auto it = late_.begin(); it != late_.end();) {
    auto& [chunk, relayed] = *it;
    for (std::size_t i = 0; i < relayed.stripes.size() && rings_.size() > 0; ++i) {
      RelayStripe& stripe = relayed.stripes[i];
      if (relayed.is_own) spread(stripe, stripe_number(chunk, i));
      pass_on(now, chunk, stored_source, i, relayed);
    }
    relay_crec(now, chunk, relayed);
    const bool is_over = now - relayed.touched >= late_lives;
    if (is_over) vouch_for(relayed, chunk);
    it = is_over ? late_.erase(it) : std::next(it);
  }
}

// What proves the chunk, down chains of its own.
void Swarm::relay_crec(TimePoint now, ChunkIndex chunk, RelayedChunk& relayed) {
  if (rings_.size() == 0 || !crecs_.contains(chunk)) return;
  if (relayed.is_own) spread(relayed.proof, to_value(chunk));
  for (RelayBranch& branch : relayed.proof.branches) {
    if (branch.to) continue;
    branch.to = next_hop(now, branch.rest);
    if (branch.to) send_crec(*branch.to, chunk, branch.rest);
  }
}

void Swarm::pass_crec(TimePoint now, const NodeId& from, const CrecMessage& message) {
  if (context_.scores.is_banned(now, from)) return;
  if (context_.scores.is_banned(now, message.signer.node_id())) return;
  const Crec crec{message.sha256, message.signer, message.signature};
  const auto known = crecs_.find(message.chunk);
  const bool is_known = known != crecs_.end() && known->second.crec == crec;
  if (!is_known && !crec.is_valid(subject(message.chunk))) {
    context_.score(now, from, PeerScores::malformed_frame);
    return;
  }
  std::vector<RelayBranch> ways = split_chain(*message.next);
  for (RelayBranch& way : ways) {
    way.to = next_hop(now, way.rest);
    if (!way.to) continue;
    context_.send(*way.to, CrecMessage{tag_, message.chunk, message.size, message.sha256,
                                       message.signer, message.signature, way.rest});
  }
  if (has_chunk(message.chunk) || !may_relay()) return;
  // Those that nobody could be reached of get it when the chunk is here.
  std::erase_if(ways, [](const RelayBranch& way) { return way.to || way.rest.empty(); });
  Download* download = downloads_.find(relay_source, message.chunk);
  if (download == nullptr) {
    if (early_crecs_.size() < limits::relay_early_crecs_max) {
      early_crecs_.try_emplace(message.chunk, EarlyCrec{crec, std::move(ways)});
    }
    return;
  }
  auto& waiting = arriving_.at(message.chunk).proof.branches;
  if (waiting.empty()) waiting = std::move(ways);
  if (!download->submitted && !download->crec) {
    download->crec = crec;
    submit(relay_source, message.chunk);
  }
}

// ---- into this node ----

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const RelayMessage& message) {
  if (context_.scores.is_banned(now, node) || proven_ || ended_) return;
  add_candidate(node, false);
  if (!size_) set_size(now, message.size, SizeSource::hint);
  if (message.size != *size_ || !may_relay()) return;
  relay_seen_ = now;
  const ChunkIndex chunk = message.chunk;
  if (has_chunk(chunk)) return pass_stored(now, message);
  if (!arriving_.contains(chunk) && !begin_arriving(now, chunk)) return;
  if (downloads_.find(relay_source, chunk)->submitted) return;
  RelayedChunk& relayed = arriving_.at(chunk);
  const std::size_t index = message.offset / block_bytes;
  RelayStripe& stripe = relayed.stripes[index];
  stripe.add_feeder({session, node, message.serial});
  relayed.touched = now;
  // Begun anew by another predecessor: who comes after this node has not changed.
  if (stripe.branches.empty()) stripe.branches = split_chain(message.next);
  if (stripe.received > 0) pass_on(now, chunk, relay_source, index, relayed);
}

bool Swarm::begin_arriving(TimePoint now, ChunkIndex chunk) {
  const auto size = static_cast<std::uint32_t>(layout_.chunk_size(chunk));
  if (not_relayed_.contains(chunk)) return false;
  // Half of the buffers are for what this node asks for itself.
  if (context_.download_bytes + size > limits::download_buffer_bytes_max / 2) return false;
  RelayedChunk& relayed = arriving_.emplace(chunk, new_relayed(chunk)).first->second;
  relayed.source = relay_source;
  relayed.touched = now;
  downloads_.start(relay_source, NodeId{}, chunk, size, now, TimePoint::max());
  Download* download = downloads_.find(relay_source, chunk);
  download->next_block = static_cast<std::uint32_t>(relayed.stripes.size());
  context_.download_bytes += size;
  const auto early = early_crecs_.find(chunk);
  if (early != early_crecs_.end()) {
    relayed.proof.branches = std::move(early->second.ways);
    download->crec = early->second.crec;
    early_crecs_.erase(early);
  }
  refresh_open(chunk);
  return true;
}

std::optional<Swarm::BlockPlace> Swarm::relay_received(TimePoint now, SessionId session,
                                                       const BlockFrame& frame) {
  const ChunkIndex chunk = frame.chunk;
  const auto it = arriving_.find(chunk);
  if (it == arriving_.end()) return std::nullopt;
  const std::size_t index = frame.offset / block_bytes;
  const std::uint32_t within = frame.offset % block_bytes;
  if (index >= it->second.stripes.size()) return std::nullopt;
  RelayStripe& stripe = it->second.stripes[index];
  const std::uint32_t length = stripe_length(chunk, index);
  const RelayStripe::Feeder* feeder = stripe.feeder(session);
  if (feeder == nullptr || frame.length == 0 || frame.length > length - within) {
    return std::nullopt;
  }
  // What another predecessor or a repair has brought; or what follows a gap, and is pulled.
  if (within != stripe.received) {
    if (within < stripe.received) ++context_.stats.duplicate_blocks;
    return std::nullopt;
  }
  stripe.received += frame.length;
  stripe.note_sender(*feeder);
  it->second.touched = now;
  relay_seen_ = now;
  progress_ = peer_progress_ = now;
  note_progress(now, chunk, false);
  pass_on(now, chunk, relay_source, index, it->second);
  if (stripe.received == length) relayed_block_done(now, chunk, frame.offset - within);
  return BlockPlace{relay_source};
}

void Swarm::relayed_block_done(TimePoint now, ChunkIndex chunk, std::uint32_t offset) {
  const std::uint32_t length = stripe_length(chunk, offset / block_bytes);
  if (downloads_.block(relay_source, chunk, offset, length) != Downloads::Block::complete) return;
  downloads_.find(relay_source, chunk)->deadline = TimePoint::max();
  end_repair(arriving_.at(chunk));
  arriving_.at(chunk).touched = now;
  submit(relay_source, chunk);
}

// Some predecessor passed on wrong bytes, and who is not known: the chunk comes by request, from
// one that answers for it. Then the stripes that differ convict whoever vouched for them. An honest
// hop that had them wrong itself does not vouch.
void Swarm::relayed_was_wrong(TimePoint now, ChunkIndex chunk,
                              std::span<const ChunkSha256> blocks) {
  const auto& stripes = arriving_.at(chunk).stripes;
  if (evidence_.size() == limits::relay_evidence_max) {
    const auto judged = std::find_if(evidence_.begin(), evidence_.end(),
                                     [](const auto& entry) { return !entry.second.truth.empty(); });
    if (judged != evidence_.end()) evidence_.erase(judged);
  }
  if (blocks.size() == stripes.size() && evidence_.size() < limits::relay_evidence_max) {
    RelayEvidence& evidence = evidence_[chunk];
    evidence = {};
    for (std::size_t i = 0; i < stripes.size(); ++i) {
      const RelayStripe& stripe = stripes[i];
      evidence.stripes.push_back({stripe.is_mixed ? std::nullopt : stripe.sender, stripe.serial,
                                  stripe.is_vouched, blocks[i]});
    }
  }
  ++context_.stats.relay_failures;
  ++context_.stats.verify_failures_peer;
  forget_relayed(now, chunk);
  not_relayed_.insert(chunk);
  take_back_progress();
  refresh_open(chunk);
  context_.claims_dirty = pump_all_ = true;
}

void Swarm::vouch_for(const RelayedChunk& relayed, ChunkIndex chunk) {
  std::map<SessionId, std::uint64_t> sent;
  for (std::size_t i = 0; i < relayed.stripes.size(); ++i) {
    const RelayStripe& stripe = relayed.stripes[i];
    if (stripe.is_mixed) continue;
    for (const RelayBranch& branch : stripe.branches) {
      if (branch.to) sent[*branch.to] |= std::uint64_t{1} << i;
    }
  }
  for (const auto& [session, stripes] : sent) {
    vouches_[session].push_back({tag_, chunk, relayed.serial, stripes});
  }
  if (have_.all() || !is_active()) send_vouches();
}

// With the next stripe that goes there, or with the next tick: in one packet with something else.
void Swarm::send_vouches(SessionId session) {
  const auto waiting = vouches_.extract(session);
  if (waiting.empty() || context_.sessions.find(session) == nullptr) return;
  for (const RelayVouchMessage& vouch : waiting.mapped()) context_.send(session, vouch);
}

void Swarm::send_vouches() {
  while (!vouches_.empty()) send_vouches(vouches_.begin()->first);
}

void Swarm::handle(TimePoint now, SessionId, const NodeId& node, const RelayVouchMessage& message) {
  const auto vouch = [&](auto& stripes) {
    for (std::size_t i = 0; i < stripes.size(); ++i) {
      const bool is_meant = ((message.stripes >> i) & 1U) != 0 && stripes[i].sender == node &&
                            stripes[i].serial == message.serial;
      stripes[i].is_vouched = stripes[i].is_vouched || is_meant;
    }
  };
  const auto arriving = arriving_.find(message.chunk);
  if (arriving != arriving_.end()) vouch(arriving->second.stripes);
  const auto evidence = evidence_.find(message.chunk);
  if (evidence == evidence_.end()) return;
  vouch(evidence->second.stripes);
  judge_relay(now, message.chunk);
}

void Swarm::truth_known(TimePoint now, ChunkIndex chunk, std::span<const ChunkSha256> blocks) {
  const auto evidence = evidence_.find(chunk);
  if (evidence == evidence_.end() || blocks.size() != evidence->second.stripes.size()) return;
  evidence->second.truth.assign(blocks.begin(), blocks.end());
  judge_relay(now, chunk);
}

void Swarm::judge_relay(TimePoint now, ChunkIndex chunk) {
  const RelayEvidence& evidence = evidence_.at(chunk);
  if (evidence.truth.empty()) return;
  std::set<NodeId> liars;
  for (std::size_t i = 0; i < evidence.stripes.size(); ++i) {
    const auto& stripe = evidence.stripes[i];
    if (stripe.sender && stripe.is_vouched && stripe.hash != evidence.truth[i]) {
      liars.insert(*stripe.sender);
    }
  }
  for (const NodeId& liar : liars) {
    if (!context_.scores.is_banned(now, liar)) context_.score(now, liar, PeerScores::wrong_bytes);
  }
}

void Swarm::forget_relayed(TimePoint now, ChunkIndex chunk) {
  const auto it = arriving_.find(chunk);
  const auto heard = heard_.find(chunk);
  if (it != arriving_.end() && heard != heard_.end()) {
    relay_lag_ = std::max(now - heard->second, relay_lag_ * 7 / 8);
  }
  if (it != arriving_.end()) {
    end_repair(it->second);
    if (has_chunk(chunk) && !proven_) chunk_passed(now, chunk, std::move(it->second));
    arriving_.erase(it);
  }
  heard_.erase(chunk);
  early_crecs_.erase(chunk);
}

// ---- in time ----

// A stripe may have found nobody it could be sent to.
void Swarm::resume_relays(TimePoint now) {
  const auto resume = [&](std::map<ChunkIndex, RelayedChunk>& chunks) {
    for (auto& [chunk, relayed] : chunks) {
      const SessionId source = relayed.source;
      const Download* download = downloads_.find(source, chunk);
      if (download != nullptr && download->submitted) continue;
      for (std::size_t i = 0; i < relayed.stripes.size(); ++i) {
        const RelayStripe& stripe = relayed.stripes[i];
        if (stripe.waits() && stripe.received > 0) pass_on(now, chunk, source, i, relayed);
      }
    }
  };
  resume(arriving_);
  resume(departing_);
  relay_late(now);
}

// The next in line takes the place of a hop that is gone or stands still; all that is here of the
// stripe goes to it.
void Swarm::reroute(TimePoint now, SessionId session) {
  const auto go_on = [&](std::map<ChunkIndex, RelayedChunk>& chunks) {
    for (auto& [chunk, relayed] : chunks) {
      const SessionId source = relayed.source;
      const Download* download = downloads_.find(source, chunk);
      if (download != nullptr && download->submitted) continue;
      for (std::size_t i = 0; i < relayed.stripes.size(); ++i) {
        RelayStripe& stripe = relayed.stripes[i];
        bool is_cut = false;
        for (RelayBranch& branch : stripe.branches) {
          if (branch.to != session) continue;
          branch.to.reset();
          is_cut = true;
        }
        if (is_cut) pass_on(now, chunk, source, i, relayed);
      }
    }
  };
  go_on(arriving_);
  go_on(departing_);
  for (auto& [chunk, relayed] : arriving_) {
    if (relayed.repair && relayed.repair->session == session) relayed.repair.reset();
  }
}

void Swarm::tend_relays(TimePoint now) {
  std::erase_if(departing_, [&](const auto& entry) {
    const auto& [chunk, relayed] = entry;
    return relayed.source == fetch_source ? !fetch_covers(to_value(chunk))
                                          : downloads_.find(relayed.source, chunk) == nullptr;
  });
  resume_relays(now);
  if (arriving_.empty() && departing_.empty()) return;
  for (const SessionId session : context_.sessions.rest_stalled(now)) reroute(now, session);
  std::vector<ChunkIndex> abandoned;
  for (auto& [chunk, relayed] : arriving_) {
    if (downloads_.find(relay_source, chunk)->submitted) continue;
    if (now - relayed.touched >= abandoned_after && !someone_has(now, chunk)) {
      abandoned.push_back(chunk);
    } else if (relayed.repair && relayed.repair->deadline <= now) {
      for (auto& [node, peer] : peers_) {
        if (peer.session == relayed.repair->session) peer.busy_until = now + limits::relay_rest;
      }
      end_repair(relayed);
    }
  }
  for (const ChunkIndex chunk : abandoned) {
    forget_relayed(now, chunk);
    drop_download(relay_source, chunk);
  }
  repair_late(now);
}

}  // namespace waggle::transfer
