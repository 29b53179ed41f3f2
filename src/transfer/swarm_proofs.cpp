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

/// Chunks are checked as links: no CREC is needed, nor would it be better.
bool Swarm::has_links() const { return layout_.chunk_count() == 1 || list_; }

/// The chunk was verified as a link of the present list: this node may say so.
bool Swarm::vouches_by_list(ChunkIndex chunk) const {
  if (!list_) return false;
  const std::uint32_t i = to_value(chunk);
  if (linked_.test(i)) return true;
  // Or the running proof has passed it between the same states.
  const auto passed = running_.midstates();
  if (i >= running_.prefix() || i >= passed.size()) return false;
  return passed[i] == (*list_)[i] && (i == 0 || passed[i - 1] == (*list_)[i - 1]);
}

std::optional<ChunkProof> Swarm::proof_of(const Download& download, ChunkIndex chunk) const {
  if (layout_.chunk_count() == 1) return link_proof({}, layout_, chunk);
  if (list_) return link_proof(*list_, layout_, chunk);
  if (careful_ || !download.crec) return std::nullopt;
  return CrecProof{download.crec->sha256};
}

void Swarm::send_crec(SessionId session, ChunkIndex chunk,
                      std::optional<std::vector<HopName>> next) {
  OwnCrec& own = crecs_.at(chunk);
  if (!own.is_signed) {
    own.crec = Crec::make(context_.identity, subject(chunk), own.crec.sha256);
    own.is_signed = true;
  }
  context_.send(session, CrecMessage{tag_, chunk, *size_, own.crec.sha256, own.crec.signer,
                                     own.crec.signature, std::move(next)});
}

void Swarm::handle(TimePoint now, SessionId session, const NodeId& node,
                   const CrecMessage& message) {
  // A relayed one may be the first word of the size.
  if (message.next && !size_ && !ended_) set_size(now, message.size, SizeSource::hint);
  if (!size_ || message.size != *size_) return;
  if (message.next) return pass_crec(now, node, message);
  SessionId source = session;
  Download* download = downloads_.find(session, message.chunk);
  const auto relayed = arriving_.find(message.chunk);
  if (download == nullptr && relayed != arriving_.end() && relayed->second.repair &&
      relayed->second.repair->session == session) {
    source = relay_source;
    download = downloads_.find(source, message.chunk);
  }
  if (download == nullptr || download->submitted || download->crec) return;
  const Crec crec{message.sha256, message.signer, message.signature};
  SwarmPeer* peer = peer_on(session, node);
  if (context_.scores.is_banned(now, message.signer.node_id())) {
    // Nothing that rests on this word alone is wanted.
    if (has_links()) return;
    if (peer != nullptr && peer->counted) peer->unprovable.set(to_value(message.chunk));
    if (source == relay_source) {
      end_repair(relayed->second);
    } else {
      drop_download(session, message.chunk);
    }
    return;
  }
  const auto known = crecs_.find(message.chunk);
  const bool is_known = known != crecs_.end() && known->second.crec == crec;
  if (!is_known && !crec.is_valid(subject(message.chunk))) {
    context_.score(now, node,
                   PeerScores::malformed_frame);  // it should have checked before relaying
    return;
  }
  download->crec = crec;
  submit(source, message.chunk);
}

void Swarm::handle(TimePoint, SessionId session, const NodeId&, const VouchMessage& message) {
  Download* download = downloads_.find(session, message.chunk);
  if (download != nullptr && !download->submitted) download->vouched_list = message.list;
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
  const auto hash = list_hash(assembly.list);
  const bool is_rejected =
      std::any_of(rejected_lists_.begin(), rejected_lists_.end(),
                  [hash](const RejectedList& list) { return list.refused && list.hash == hash; });
  if (is_rejected) return;
  if (!assembly.signature.is_valid(context_.config.cluster_name, key_.digest, *size_,
                                   assembly.list)) {
    const Session* sender = context_.sessions.find(session);
    if (sender != nullptr) context_.score(now, sender->peer, PeerScores::malformed_frame);
    return;
  }
  // What the one list let pass the other need not: which of them is true, the digest will tell.
  const bool is_other = former_ && former_->hash != hash;
  if (is_other) {
    taint(now, Taint::convicted);
    reset_blob(now);
  }
  list_ = assembly.list;
  list_signature_ = assembly.signature;
  list_hash_ = hash;
  if (former_) linked_ = former_->linked;
  former_.reset();
  list_failures_ = list_successes_ = 0;
  for (auto& [node, peer] : peers_) {
    if (peer.counted && !peer.all) peer.unprovable = Bitfield(layout_.chunk_count());
  }
  pump_all_ = true;
  submit_waiting();
}

// Its prover is banned, or two sources failed under it, or nothing ever passed (`refused`): take a
// list from another prover.
void Swarm::drop_list(bool refused) {
  if (!list_) return;
  if (rejected_lists_.size() == rejected_lists_max) rejected_lists_.erase(rejected_lists_.begin());
  rejected_lists_.push_back({list_hash_, list_signature_.prover, refused});
  list_.reset();
  if (!linked_.none()) former_ = {list_hash_, linked_};
  linked_ = Bitfield(layout_.chunk_count());
  list_failures_ = list_successes_ = 0;
  suspects_.clear();  // the proof was wrong, not they
  set_aside_.clear();
  for (auto& [node, peer] : peers_) {
    if (!refused || node != list_signature_.prover.node_id()) peer.list_asked.reset();
  }
  pump_all_ = true;
}

void Swarm::dispute(ChunkIndex chunk, const Crec& crec) {
  auto& disputed = disputed_[chunk];
  if (std::find(disputed.begin(), disputed.end(), crec) != disputed.end()) return;
  if (disputed.size() < disputed_per_chunk_max) disputed.push_back(crec);
}

// Upstream's own bytes are the truth about signers, once the blob is proven. They replace what was
// here.
void Swarm::judge_upstream(ChunkIndex chunk, const std::array<std::byte, 32>& sha256) {
  const auto known = crecs_.find(chunk);
  if (known != crecs_.end() && known->second.crec.sha256 != sha256) {
    dispute(chunk, known->second.crec);
  }
  for (const SessionId session : downloads_.sources_of(chunk)) {
    const Download* download = downloads_.find(session, chunk);
    if (download->crec && download->crec->sha256 != sha256) dispute(chunk, *download->crec);
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

// Everybody who signed something else than the truth, and complete peers whose bytes failed it.
void Swarm::judge_signers(TimePoint now) {
  const auto midstates = running_.midstates();
  std::set<NodeId> liars;
  if (list_) rejected_lists_.push_back({list_hash_, list_signature_.prover});
  const auto truth = list_hash(midstates);
  for (const RejectedList& list : rejected_lists_) {
    if (list.hash != truth) liars.insert(list.prover.node_id());
  }
  for (const Accusation& accusation : accusations_) {
    if (accusation.link == link_proof(midstates, layout_, accusation.chunk)) {
      liars.insert(accusation.node);
    }
  }
  const std::set<NodeId> signers = false_signers();
  if (signers.size() == 1) liars.insert(*signers.begin());
  liars.erase(context_.self());
  for (const NodeId& liar : liars) {
    if (!context_.scores.is_banned(now, liar)) context_.score(now, liar, PeerScores::wrong_bytes);
  }
  rejected_lists_.clear();
  accusations_.clear();
  disputed_.clear();
  hashes_.clear();
}

// When several nodes signed the like, this one perhaps among them, upstream was wrong, not they.
std::set<NodeId> Swarm::false_signers() const {
  std::set<NodeId> signers;
  for (const auto& [chunk, crecs] : disputed_) {
    const auto own = crecs_.find(chunk);
    const auto hash = hashes_.find(chunk);
    if (own == crecs_.end() && hash == hashes_.end()) continue;
    const ChunkSha256& right = own != crecs_.end() ? own->second.crec.sha256 : hash->second;
    for (const Crec& crec : crecs) {
      if (crec.sha256 != right) signers.insert(crec.signer.node_id());
    }
  }
  return signers;
}

// All chunks passed their proofs and yet the whole is wrong: somebody signed a lie, or upstream
// sent one.
void Swarm::refuted(TimePoint now) {
  taint(now, Taint::refuted);
  constexpr std::uint32_t refutations_max = 3;
  if (++refutations_ == refutations_max || (careful_ && !has_foreign_)) {
    fail(now, SwarmError::bad_upstream);
    return;
  }
  own_only_ = careful_;
  for (const auto& [chunk, own] : crecs_) dispute(chunk, own.crec);
  if (want_sent_) context_.claims.unwant(now, claims_tag_, false);
  want_sent_ = false;
  become_careful(now);
  reset_blob(now);
  // Bytes that lied themselves may have spoken against a true list.
  for (RejectedList& list : rejected_lists_) list.refused = false;
}

// Wrong bytes may have been given out.
void Swarm::taint(TimePoint now, Taint why) {
  context_.tainted.mark(now, key_.digest, why);
  context_.emit(SwarmTainted{id_, key_.digest});
}

// From now on other nodes' words for chunks count for nothing: only links to the digest do, and
// bytes that this node takes from upstream. One node takes them, by a claim of its own kind; what
// it proves is a list for all others.
void Swarm::become_careful(TimePoint now) {
  careful_ = true;
  careful_since_ = now;
  context_.claimants.erase(claims_tag_);
  claims_key_.origin = key_.origin + " again";
  claims_tag_ = claims_key_.tag();
  context_.claimants[claims_tag_] = id_;
  const auto kept = context_.disputed.find(tag_);
  if (kept == context_.disputed.end()) return;
  disputed_ = kept->second;
  context_.disputed.erase(kept);
}

void Swarm::blob_committed(TimePoint now, bool ok) {
  if (!proven_ || committed_) return;
  if (!ok) {
    fail(now, SwarmError::store_failed);
    return;
  }
  committed_ = true;
  if (want_sent_) context_.claims.unwant(now, claims_tag_, true);
  context_.complete[key_.digest] = *size_;
  context_.emit(SwarmCommitted{id_, key_.digest, *size_});
  pending_haves_.clear();
  haves_at_.reset();
  broadcast_state();
}

}  // namespace waggle::transfer
