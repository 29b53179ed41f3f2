// A swarm's peers: whom to dial, what they say they have, and serving what they ask.
#include "base/assert.hpp"
#include "base/limits.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>
#include <array>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t candidates_max = 1024;   // further ones are not remembered
constexpr std::size_t holders_taken_max = 64;  // of each look at the index
constexpr Duration dial_cooldown_max = 60s;
constexpr Duration opening_timeout = 5s;
constexpr Duration replace_period = 5s;
constexpr std::uint32_t busy_retry_ms = 100;
constexpr double slow_share = 0.25;  // of the median rate

}  // namespace

void Swarm::add_candidate(const NodeId& node, bool holder) {
  if (node == context_.self()) return;
  const auto it = candidates_.find(node);
  if (it != candidates_.end()) {
    it->second.holder = it->second.holder || holder;
  } else if (candidates_.size() < candidates_max) {
    candidates_[node].holder = holder;
    hops_.try_emplace(hop_name(node), node);
  }
}

void Swarm::refresh_holders(TimePoint) {
  std::array<NodeId, holders_taken_max> holders;
  const std::size_t known = context_.view.holders(key_.digest, holders);
  for (auto& [node, candidate] : candidates_) candidate.turn = UINT32_MAX;
  for (std::uint32_t i = 0; i < std::min(known, holders.size()); ++i) {
    add_candidate(holders[i], true);
    const auto it = candidates_.find(holders[i]);
    if (it != candidates_.end()) it->second.turn = i;
  }
  context_.claims_dirty = true;
}

void Swarm::handle_news(TimePoint now, const SwarmNews& news) {
  if (news.size && !size_) set_size(now, *news.size, SizeSource::hint);
  for (const NodeId& node : news.holders) add_candidate(node, true);
  for (const HopName name : news.wanters) {
    if (const auto node = node_named(context_.view.registrar_candidates(), name))
      add_candidate(*node, false);
  }
  relay_late(now);
}

void Swarm::member_gone(TimePoint now, const NodeId& node) {
  drop_peer(now, node, false);
  if (candidates_.erase(node) > 0) hops_.erase(hop_name(node));
}

void Swarm::drop_banned(TimePoint now, const NodeId& node) {
  drop_peer(now, node, true);
  const auto it = candidates_.find(node);
  if (it != candidates_.end()) it->second.dead_end = true;
  if (!list_ || list_signature_.prover.node_id() != node) return;
  // Its list may be true all the same: another prover's may be taken. But chunks that rest on its
  // word alone, and what readers have of them, may be forged.
  if (linked_.none() || proven_ || ended_) {
    drop_list(false);
    return;
  }
  taint(now, Taint::convicted);
  reset_blob(now);
}

void Swarm::fill_peers(TimePoint now) {
  std::size_t outgoing = 0;
  for (const auto& [node, peer] : peers_) outgoing += peer.outgoing ? 1 : 0;
  if (outgoing >= limits::swarm_peers_out) return;
  std::vector<NodeId> holders;
  std::vector<NodeId> wanters;
  for (const auto& [node, candidate] : candidates_) {
    if (candidate.dead_end || candidate.retry_at > now || peers_.contains(node)) continue;
    if (context_.scores.is_banned(now, node)) continue;
    (candidate.holder ? holders : wanters).push_back(node);
  }
  if (holders.empty() && wanters.empty()) return;
  context_.prng.shuffle(std::span(holders));
  context_.prng.shuffle(std::span(wanters));
  put_successors_first(wanters);
  // Holders in the order of the last look at the index, which knows their load; others after them.
  std::stable_sort(holders.begin(), holders.end(), [&](const NodeId& a, const NodeId& b) {
    return candidates_.at(a).turn < candidates_.at(b).turn;
  });
  // With both kinds at hand, half of each: a full index must not herd everybody to the first
  // holder.
  std::size_t room = limits::swarm_peers_out - outgoing;
  const std::size_t half = (room + 1) / 2;
  const std::size_t first = wanters.size() < room - half ? room - wanters.size() : half;
  std::vector<NodeId> chosen(
      holders.begin(),
      holders.begin() + static_cast<std::ptrdiff_t>(std::min(first, holders.size())));
  for (const NodeId& node : wanters) {
    if (chosen.size() == room) break;
    chosen.push_back(node);
  }
  for (const NodeId& node : chosen) connect(now, node);
}

// So that the nodes that chains of stripes join have sessions with each other.
void Swarm::put_successors_first(std::vector<NodeId>& wanters) {
  if (!context_.config.relays) return;
  refresh_rings();
  const auto successors = rings_.successors();
  std::stable_partition(wanters.begin(), wanters.end(), [&](const NodeId& node) {
    return std::find(successors.begin(), successors.end(), node) != successors.end();
  });
}

void Swarm::connect(TimePoint now, const NodeId& node) {
  SwarmPeer peer{.outgoing = true, .since = now};
  const auto it = peers_.emplace(node, std::move(peer)).first;
  if (const auto session = context_.sessions.newest(node)) {
    send_open(now, node, it->second, *session);
  } else {
    context_.emit(EnsureSession{node});
  }
}

void Swarm::send_open(TimePoint now, const NodeId&, SwarmPeer& peer, SessionId session) {
  peer.link = SwarmPeer::Link::opening;
  peer.session = session;
  peer.since = now;
  OpenMessage message{.tag = tag_, .digest = key_.digest, .origin = key_.origin, .size = {}};
  message.size = size_;
  message.have = own_map();
  context_.send(session, message);
}

void Swarm::session_opened(TimePoint now, SessionId session, const NodeId& node) {
  resume_relays(now);
  const auto it = peers_.find(node);
  if (it == peers_.end() || it->second.link != SwarmPeer::Link::dialing) return;
  send_open(now, node, it->second, session);
}

void Swarm::session_closed(TimePoint now, SessionId session, const NodeId& node) {
  reroute(now, session);
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr) return;
  drop_peer(now, node, false);
  // Of two sessions with the node one survives: go on there.
  const auto other = context_.sessions.newest(node);
  const auto candidate = candidates_.find(node);
  if (candidate == candidates_.end()) return;
  if (other && *other != session && !readers_.empty() && !proven_) {
    connect(now, node);
  } else {
    candidate->second.retry_at = now + 1s;
  }
}

void Swarm::dial_failed(TimePoint now, const NodeId& node) {
  const auto it = peers_.find(node);
  if (it == peers_.end() || it->second.link != SwarmPeer::Link::dialing) return;
  peers_.erase(it);
  PeerCandidate& candidate = candidates_[node];
  const Duration cooldown = 1s * (std::int64_t{1} << std::min(candidate.failures, 6U));
  candidate.retry_at = now + std::min(dial_cooldown_max, cooldown);
  ++candidate.failures;
  context_.claims_dirty = true;
}

void Swarm::drop_peer(TimePoint, const NodeId& node, bool tell) {
  const auto it = peers_.find(node);
  if (it == peers_.end()) return;
  SwarmPeer& peer = it->second;
  if (peer.link != SwarmPeer::Link::dialing) {
    if (tell) context_.send(peer.session, CloseMessage{tag_});
    drop_downloads_of(peer.session);
    assemblies_.erase(peer.session);
  }
  uncount_peer(peer);
  peers_.erase(it);
  pump_all_ = context_.claims_dirty = true;
}

SwarmPeer* Swarm::peer_on(SessionId session, const NodeId& node) {
  const auto it = peers_.find(node);
  if (it == peers_.end() || it->second.link == SwarmPeer::Link::dialing) return nullptr;
  return it->second.session == session ? &it->second : nullptr;
}

HaveMap Swarm::own_map() const {
  if (committed_) return {.all = true, .chunks = {}};
  if (!size_ || !opened_) return {};
  return {.all = false, .chunks = have_};
}

void Swarm::broadcast_state() {
  StateMessage message{.tag = tag_, .size = size_, .have = own_map()};
  for (const auto& [node, peer] : peers_) {
    if (peer.link == SwarmPeer::Link::ready) context_.send(peer.session, message);
  }
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const OpenMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr) {
    const auto incoming = std::count_if(peers_.begin(), peers_.end(),
                                        [](const auto& entry) { return !entry.second.outgoing; });
    const auto it = peers_.find(node);
    if (it == peers_.end() && static_cast<std::size_t>(incoming) >= limits::swarm_peers_in_max) {
      context_.send(session, RejectMessage{tag_, std::nullopt, RejectReason::overloaded});
      return;
    }
    const bool outgoing = it != peers_.end() && it->second.outgoing;
    if (it != peers_.end()) drop_peer(now, node, false);  // it speaks on another session now
    peer = &peers_.emplace(node, SwarmPeer{.session = session, .outgoing = outgoing}).first->second;
  }
  peer->link = SwarmPeer::Link::ready;
  peer->since = now;
  add_candidate(node, message.have.all);
  // Our state first: the answer must not depend on a size learned from the question.
  context_.send(session, StateMessage{tag_, size_, own_map()});
  apply_state(now, node, *peer, message.size, message.have);
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const StateMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr) return;
  peer->link = SwarmPeer::Link::ready;
  peer->since = now;
  if (message.have.all && !peer->all) {
    sure_peer_progress_ = peer_progress_ = now;
    peer->list_asked.reset();  // what it lacked before it may have now
  }
  apply_state(now, node, *peer, message.size, message.have);
}

void Swarm::apply_state(TimePoint now, const NodeId& node, SwarmPeer& peer,
                        const std::optional<std::uint64_t>& size, const HaveMap& have) {
  uncount_peer(peer);
  peer.size = size;
  peer.all = have.all;
  peer.have = have.chunks;
  peer.unprovable = {};  // what it could not prove before it may have anew
  if (have.all) add_candidate(node, true);
  for (const ChunkIndex chunk : downloads_.chunks_of(peer.session)) {
    const bool still =
        have.all || (have.chunks.size() > to_value(chunk) && have.chunks.test(to_value(chunk)));
    if (!still && !downloads_.find(peer.session, chunk)->submitted) {
      drop_download(peer.session, chunk);
    }
  }
  if (size && !size_) set_size(now, *size, SizeSource::hint);
  count_peer(peer);
  pump_peers_.insert(node);
  context_.claims_dirty = true;
}

// A peer that believes in another size has nothing we can use.
void Swarm::count_peer(SwarmPeer& peer) {
  if (peer.counted || peer.link != SwarmPeer::Link::ready) return;
  if (!size_ || peer.size != size_) return;
  if (peer.have.size() != layout_.chunk_count()) peer.have = Bitfield(layout_.chunk_count());
  if (peer.unprovable.size() != layout_.chunk_count()) {
    peer.unprovable = Bitfield(layout_.chunk_count());
  }
  if (peer.all) {
    availability_.add_complete();
  } else {
    availability_.add(peer.have);
  }
  peer.counted = true;
}

void Swarm::uncount_peer(SwarmPeer& peer) {
  if (!peer.counted) return;
  if (peer.all) {
    availability_.remove_complete();
  } else {
    availability_.remove(peer.have);
  }
  peer.counted = false;
}

void Swarm::recount_peers() {
  availability_ = Availability(layout_.chunk_count());
  for (auto& [node, peer] : peers_) {
    peer.counted = false;
    count_peer(peer);
  }
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const HaveMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr || !peer->counted || peer->all) return;
  for (const ChunkIndex chunk : message.chunks) {
    if (to_value(chunk) >= layout_.chunk_count()) continue;
    if (!peer->have.set(to_value(chunk))) continue;
    peer->unprovable.reset(to_value(chunk));
    availability_.add(chunk);
    if (!have_.test(to_value(chunk))) heard_.try_emplace(chunk, now);
  }
  if (!veiled_.empty()) reveal_due(now);
  pump_peers_.insert(node);
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const RequestMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr) {
    context_.send(session, RejectMessage{tag_, std::nullopt, RejectReason::not_found});
    return;
  }
  const ChunkIndex chunk = message.chunk;
  const auto end = std::uint64_t{message.offset} + message.length;
  if (!has_chunk(chunk) || end > layout_.chunk_size(chunk)) {
    context_.send(session, RejectMessage{tag_, chunk, RejectReason::not_found});
    return;
  }
  // Who passes on what it has not proven vouches for it, in words that can be checked.
  const bool by_list = !message.crec_wanted && vouches_by_list(chunk);
  const bool is_vouched = proven_ || layout_.chunk_count() == 1 || by_list;
  if ((message.crec_wanted || !is_vouched) && !crecs_.contains(chunk)) {
    context_.send(session, RejectMessage{tag_, chunk, RejectReason::no_proof});
    return;
  }
  Session* entry = context_.sessions.find(session);
  if (context_.config.reports_sent_blocks) {
    if (entry->unsent_blocks >= limits::requests_per_peer_max) {
      context_.send(session, BusyMessage{tag_, busy_retry_ms});
      return;
    }
    ++entry->unsent_blocks;
  }
  entry->last_used = now;
  if (message.offset == 0 && (message.crec_wanted || !is_vouched)) {
    send_crec(session, chunk);
  } else if (message.offset == 0 && by_list) {
    context_.send(session, VouchMessage{tag_, chunk, list_hash_});
  }
  std::optional<SwarmId> partial;
  if (!committed_) partial = id_;
  context_.stats.upload_bytes += message.length;
  context_.emit(
      SendBlock{session, tag_, key_.digest, partial, chunk, message.offset, message.length});
}

void Swarm::handle(TimePoint, SessionId, const NodeId&, const CancelMessage&) {
  // Blocks are handed to the driver as they are asked; what it has not sent yet is not worth a
  // recall.
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const RejectMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr) return;
  if (message.reason == RejectReason::no_list) return;  // others may have one
  if (message.chunk) {
    const ChunkIndex chunk = *message.chunk;
    if (!size_ || to_value(chunk) >= layout_.chunk_count()) return;
    if (message.reason == RejectReason::no_proof && peer->counted) {
      peer->unprovable.set(to_value(chunk));
      ask_list(now, *peer);
    } else if (peer->counted && !peer->all && peer->have.reset(to_value(chunk))) {
      availability_.remove(chunk);
    } else if (peer->counted && peer->all) {
      peer->unprovable.set(to_value(chunk));
    }
    drop_download(session, chunk);
    const auto relayed = arriving_.find(chunk);
    if (relayed != arriving_.end() && relayed->second.repair &&
        relayed->second.repair->session == session) {
      end_repair(relayed->second);
    }
    pump_peers_.insert(node);
    return;
  }
  PeerCandidate& candidate = candidates_[node];
  if (message.reason == RejectReason::overloaded) {
    candidate.retry_at = now + 5s;
  } else {
    candidate.dead_end = true;
  }
  drop_peer(now, node, false);
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const BusyMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr) return;
  peer->busy_until = now + std::chrono::milliseconds(message.retry_ms);
  for (const ChunkIndex chunk : downloads_.chunks_of(session)) {
    const Download* download = downloads_.find(session, chunk);
    if (download->state != Download::State::verifying) drop_download(session, chunk);
  }
  pump_all_ = true;
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node, const CloseMessage&) {
  if (peer_on(session, node) == nullptr) return;
  drop_peer(now, node, false);
  const auto it = candidates_.find(node);
  if (it != candidates_.end()) it->second.retry_at = now + 30s;
}

std::optional<double> Swarm::median_rate() const {
  std::vector<double> rates;
  for (const auto& [node, peer] : peers_) {
    if (const auto rate = peer.rate.rate()) rates.push_back(*rate);
  }
  if (rates.empty()) return std::nullopt;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

// A dial or OPEN without an answer, or the slowest of a full set, makes room for somebody else.
void Swarm::replace_worst(TimePoint now) {
  std::vector<NodeId> silent;
  for (const auto& [node, peer] : peers_) {
    if (peer.link != SwarmPeer::Link::ready && now - peer.since >= opening_timeout) {
      silent.push_back(node);
    }
  }
  for (const NodeId& node : silent) {
    drop_peer(now, node, true);
    candidates_[node].retry_at = now + 30s;
  }
  if (now < replace_at_) return;
  replace_at_ = now + replace_period;
  std::size_t outgoing = 0;
  const NodeId* worst = nullptr;
  double worst_rate = 0;
  for (const auto& [node, peer] : peers_) {
    if (!peer.outgoing) continue;
    ++outgoing;
    if (peer.all && is_source_scarce()) continue;  // slow, because all draw on it
    const auto rate = peer.rate.rate();
    if (rate && (worst == nullptr || *rate < worst_rate)) {
      worst = &node;
      worst_rate = *rate;
    }
  }
  const auto median = median_rate();
  if (outgoing < limits::swarm_peers_out || worst == nullptr ||
      worst_rate >= slow_share * *median) {
    return;
  }
  const bool has_other =
      std::any_of(candidates_.begin(), candidates_.end(), [&](const auto& entry) {
        return !entry.second.dead_end && entry.second.retry_at <= now &&
               !peers_.contains(entry.first);
      });
  if (!has_other) return;
  const NodeId node = *worst;
  drop_peer(now, node, true);
  candidates_[node].retry_at = now + 30s;
}

// Whoever says that it has the chunk and could be asked for it: a complete peer without a list
// cannot, and need not have anything.
bool Swarm::someone_has(TimePoint now, ChunkIndex chunk) const {
  if (suspects_.contains(chunk)) return false;
  return std::any_of(peers_.begin(), peers_.end(), [&](const auto& entry) {
    const auto& [node, peer] = entry;
    return peer.has(chunk) && (!peer.all || has_links()) &&
           !peer.unprovable.test(to_value(chunk)) && !is_set_aside(now, node);
  });
}

bool Swarm::holders_known() const {
  return std::any_of(candidates_.begin(), candidates_.end(),
                     [](const auto& entry) { return entry.second.holder; });
}

}  // namespace waggle::transfer
