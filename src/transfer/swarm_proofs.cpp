// How a swarm's chunks and the whole blob are proven, and who vouched for what.
#include "base/assert.hpp"
#include "base/limits.hpp"
#include "transfer/midstate_sender.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>
#include <utility>

namespace waggle::transfer {
namespace {

constexpr std::size_t rejected_lists_max = 16;     // then the oldest is forgotten
constexpr std::size_t disputed_per_chunk_max = 4;  // further CRECs are not remembered

}  // namespace

CrecSubject Swarm::subject(ChunkIndex chunk) const {
  return {.cluster = context_.config.cluster_name,
          .origin = key_.origin,
          .digest = key_.digest,
          .size = *size_,
          .chunk = chunk};
}

Bytes Swarm::make_crec(ChunkIndex chunk, const std::array<std::byte, 32>& sha256) const {
  if (!size_) return {};
  return Crec::make(context_.identity, subject(chunk), sha256).to_record();
}

bool Swarm::provable_here(ChunkIndex chunk) const {
  return layout_.chunk_count() == 1 || list_ || crecs_.contains(chunk);
}

std::optional<ChunkProof> Swarm::proof_of(ChunkIndex chunk) const {
  if (layout_.chunk_count() == 1) return link_proof({}, layout_, chunk);
  if (list_) return link_proof(*list_, layout_, chunk);
  const auto it = crecs_.find(chunk);
  if (it == crecs_.end()) return std::nullopt;
  return CrecProof{it->second.crec.sha256};
}

void Swarm::send_crec(SwarmPeer& peer, ChunkIndex chunk) {
  if (peer.crecs_sent.size() != layout_.chunk_count()) {
    peer.crecs_sent = Bitfield(layout_.chunk_count());
  }
  if (!peer.crecs_sent.set(to_value(chunk))) return;
  OwnCrec& own = crecs_.at(chunk);
  if (!own.is_signed) {
    own.crec = Crec::make(context_.identity, subject(chunk), own.crec.sha256);
    own.is_signed = true;
  }
  context_.send(peer.session, CrecMessage{tag_, chunk, *size_, own.crec.sha256, own.crec.signer,
                                          own.crec.signature});
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const CrecMessage& message) {
  if (!size_ || message.size != *size_ || downloads_.find(session, message.chunk) == nullptr)
    return;
  if (crecs_.contains(message.chunk)) return;  // the first valid one stands until it fails
  const Crec crec{message.sha256, message.signer, message.signature};
  const auto disputed = disputed_.find(message.chunk);
  if (disputed != disputed_.end() &&
      std::find(disputed->second.begin(), disputed->second.end(), crec) != disputed->second.end()) {
    return;
  }
  if (context_.scores.is_banned(now, message.signer.node_id())) return;
  if (!crec.is_valid(subject(message.chunk))) {
    context_.score(now, node,
                   PeerScores::malformed_frame);  // it should have checked before relaying
    return;
  }
  crecs_.emplace(message.chunk, OwnCrec{crec, true});
  submit_waiting();
}

void Swarm::ask_list(TimePoint now, SwarmPeer& peer) {
  if (peer.list_asked || list_) return;
  peer.list_asked = now;
  context_.send(peer.session, GetMidstatesMessage{tag_});
}

void Swarm::handle(TimePoint, SessionId session, const NodeId& node, const GetMidstatesMessage&) {
  if (peer_on(session, node) == nullptr) return;
  const ListTarget target{.session = session, .tag = tag_, .size = size_.value_or(0)};
  if (proven_) {
    send_own_list(context_, target, key_.digest, running_.midstates());
  } else if (list_) {
    send_list(context_, target, *list_, list_signature_);
  } else {
    context_.send(session, RejectMessage{tag_, std::nullopt, RejectReason::no_list});
  }
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const MidstatesMessage& message) {
  SwarmPeer* peer = peer_on(session, node);
  if (peer == nullptr || !peer->list_asked || list_ || proven_) return;  // not asked: not kept
  if (!size_ || message.size != *size_ || message.total + 1 != layout_.chunk_count()) return;
  Assembly& assembly = assemblies_[session];
  if (message.first != assembly.list.size()) {
    assemblies_.erase(session);  // parts come in order on one session
    return;
  }
  peer_progress_ = now;
  assembly.signature = {message.prover, message.signature};
  assembly.list.insert(assembly.list.end(), message.part.begin(), message.part.end());
  if (assembly.list.size() == message.total) adopt_list(now, session);
}

void Swarm::adopt_list(TimePoint now, SessionId session) {
  const Assembly assembly = std::move(assemblies_.at(session));
  assemblies_.clear();
  const NodePublicKey& prover = assembly.signature.prover;
  if (context_.scores.is_banned(now, prover.node_id())) return;
  const bool is_rejected = std::any_of(
      rejected_lists_.begin(), rejected_lists_.end(),
      [hash = list_hash(assembly.list)](const RejectedList& list) { return list.hash == hash; });
  if (is_rejected) return;
  if (!assembly.signature.is_valid(context_.config.cluster_name, key_.digest, *size_,
                                   assembly.list)) {
    const Session* sender = context_.sessions.find(session);
    if (sender != nullptr) context_.score(now, sender->peer, PeerScores::malformed_frame);
    return;
  }
  list_ = assembly.list;
  list_signature_ = assembly.signature;
  list_failures_ = list_successes_ = 0;
  for (auto& [node, peer] : peers_) {
    if (peer.counted && !peer.all) peer.unprovable = Bitfield(layout_.chunk_count());
  }
  pump_all_ = true;
  submit_waiting();
}

// Two sources failed under it, or nothing ever passed: take a list from another prover.
void Swarm::drop_list() {
  if (!list_) return;
  if (rejected_lists_.size() == rejected_lists_max) rejected_lists_.erase(rejected_lists_.begin());
  rejected_lists_.push_back({list_hash(*list_), list_signature_.prover});
  list_.reset();
  list_failures_ = list_successes_ = 0;
  suspects_.clear();  // the proof was wrong, not they
  for (auto& [node, peer] : peers_) {
    const auto& prover = rejected_lists_.back().prover;
    if (node != prover.node_id()) peer.list_asked.reset();
  }
  pump_all_ = true;
}

void Swarm::discard_crec(ChunkIndex chunk) {
  const auto it = crecs_.find(chunk);
  if (it == crecs_.end()) return;
  auto& disputed = disputed_[chunk];
  if (disputed.size() < disputed_per_chunk_max) disputed.push_back(it->second.crec);
  crecs_.erase(it);
  for (auto& [node, peer] : peers_) {
    if (peer.crecs_sent.size() == layout_.chunk_count()) peer.crecs_sent.reset(to_value(chunk));
  }
}

// Upstream's own bytes are the truth about senders and, once the blob is proven, about signers.
void Swarm::judge_upstream(TimePoint now, ChunkIndex chunk,
                           const std::array<std::byte, 32>& sha256) {
  const auto known = crecs_.find(chunk);
  if (known != crecs_.end() && known->second.crec.sha256 == sha256) {
    convict_suspects(now, chunk);
  } else {
    suspects_.erase(chunk);
    if (known != crecs_.end() && known->second.crec.signer != context_.identity.public_key()) {
      discard_crec(chunk);
    }
  }
  if (has_chunk(chunk)) return;
  OwnCrec own{.crec = {.sha256 = sha256, .signer = context_.identity.public_key(), .signature = {}},
              .is_signed = false};
  crecs_.insert_or_assign(chunk, own);
}

void Swarm::advance_proof(TimePoint now) {
  if (proven_ || ended_) return;
  if (const auto job = running_.advance(have_)) {
    context_.emit(HashLink{id_, job->chunk, job->begin});
  }
  if (running_.verdict() == RunningProof::Verdict::proven) proven(now);
  if (running_.verdict() == RunningProof::Verdict::refuted) refuted(now);
}

void Swarm::link_hashed(TimePoint now, ChunkIndex chunk, std::optional<Midstate> end,
                        std::optional<Digest> digest) {
  if (!end && !digest) {
    fail(now, SwarmError::store_failed);
    return;
  }
  running_.hashed(chunk, end, digest);
  advance_proof(now);
}

void Swarm::proven(TimePoint now) {
  if (proven_) return;
  proven_ = true;
  const auto downloads = downloads_.all();
  for (const auto& [key, download] : downloads) drop_download(key.first, key.second);
  for (const auto& [id, fetch] : fetches_) {
    if (!fetch.canceled) context_.emit(CancelFetch{id});
    context_.fetches.erase(id);
  }
  fetches_.clear();
  judge_signers(now);
  const auto midstates = running_.midstates();
  context_.emit(SwarmProven{id_});
  context_.emit(CommitBlob{id_, {midstates.begin(), midstates.end()}});
  context_.claims_dirty = true;
}

// Everybody who signed something else than the truth.
void Swarm::judge_signers(TimePoint now) {
  const auto truth = list_hash(running_.midstates());
  for (const RejectedList& list : rejected_lists_) {
    if (list.hash != truth) context_.score(now, list.prover.node_id(), PeerScores::wrong_bytes);
  }
  for (const auto& [chunk, crecs] : disputed_) {
    const auto known = crecs_.find(chunk);
    if (known == crecs_.end()) continue;
    std::set<NodeId> liars;
    for (const Crec& crec : crecs) {
      if (crec.sha256 != known->second.crec.sha256) liars.insert(crec.signer.node_id());
    }
    liars.erase(context_.self());
    for (const NodeId& liar : liars) context_.score(now, liar, PeerScores::wrong_bytes);
  }
  rejected_lists_.clear();
  disputed_.clear();
}

// All chunks passed their CRECs and yet the whole is wrong: somebody signed a lie, or upstream sent
// one.
void Swarm::refuted(TimePoint now) {
  context_.tainted.mark(now, key_.digest);
  context_.emit(SwarmTainted{id_, key_.digest});
  if (solo_) {
    fail(now, SwarmError::bad_upstream);
    return;
  }
  solo_ = true;
  for (const auto& [chunk, own] : crecs_) {
    if (own.crec.signer != context_.identity.public_key()) disputed_[chunk].push_back(own.crec);
  }
  if (want_sent_) context_.claims.unwant(now, tag_, false);
  want_sent_ = false;
  reset_blob(now);
  broadcast_state();
}

void Swarm::blob_committed(TimePoint now, bool ok) {
  if (!proven_ || committed_) return;
  if (!ok) {
    fail(now, SwarmError::store_failed);
    return;
  }
  committed_ = true;
  if (want_sent_) context_.claims.unwant(now, tag_, true);
  context_.complete[key_.digest] = *size_;
  context_.emit(SwarmCommitted{id_, key_.digest, *size_});
  pending_haves_.clear();
  haves_at_.reset();
  broadcast_state();
}

}  // namespace waggle::transfer
