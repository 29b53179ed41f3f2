// The exchange routes: inputs to their swarm, claims events to theirs, permits among swarms of one
// origin.
#include "transfer/exchange.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "transfer/blob_server.hpp"
#include "transfer/exchange_context.hpp"
#include "transfer/swarm.hpp"

#include <algorithm>
#include <utility>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;

constexpr Duration session_idle_max = 30s;
constexpr Duration session_check_period = 5s;
constexpr Duration offer_period = 100ms;  // without a grant one more swarm of the origin asks

ClaimsConfig claims_config(const ExchangeConfig& config, const Identity& identity) {
  return {.self = identity.node_id(),
          .incarnation = config.incarnation,
          .id_key = IdKey::for_cluster(config.cluster_name),
          .seed = mix_seed(config.seed),
          .payload_bytes_max = config.claim_payload_bytes_max,
          .in_flight_per_host = config.in_flight_per_host};
}

}  // namespace

struct Exchange::Impl {
  Impl(const ExchangeConfig& given, const Identity& identity, ClusterView& view, TimePoint now)
      : config(given),
        claims(claims_config(given, identity)),
        context{.config = config,
                .identity = identity,
                .view = view,
                .claims = claims,
                .prng = Prng(given.seed)},
        server(context),
        sessions_at(now + session_check_period) {
    claims.set_members(now, view.registrar_candidates());
  }

  /// How many swarms of an origin may ask for extents; grows while nobody grants any.
  struct Offer {
    std::size_t width = 1;
    TimePoint grow_at{};
    std::uint32_t busy = 0;
  };

  Swarm* find(SwarmId id) {
    const auto it = swarms.find(id);
    return it == swarms.end() ? nullptr : it->second.get();
  }
  Swarm* find(const SwarmTag& tag) {
    const auto it = tags.find(tag);
    return it == tags.end() ? nullptr : find(it->second);
  }
  /// Whose claims go by this tag.
  Swarm* find_claimant(const SwarmTag& tag) {
    const auto it = context.claimants.find(tag);
    return it == context.claimants.end() ? nullptr : find(it->second);
  }
  Swarm* of_fetch(FetchId fetch) {
    const auto it = context.fetches.find(fetch);
    return it == context.fetches.end() ? nullptr : find(it->second);
  }

  void settle(TimePoint now);
  bool drain_claims(TimePoint now);
  void drop_banned(TimePoint now);
  void share_permits(TimePoint now);
  void sweep();
  void close_idle_sessions(TimePoint now);
  void dispatch(TimePoint now, SessionId id, const SessionMessage& message);

  const ExchangeConfig config;
  Claims claims;
  ExchangeContext context;
  std::map<SwarmId, std::unique_ptr<Swarm>> swarms;
  std::map<SwarmTag, SwarmId> tags;
  std::map<std::string, Offer> offers;
  BlobServer server;
  std::uint64_t next_swarm = 1;
  TimePoint sessions_at;
};

// Inputs set flags; here they become dials, requests and wants, until nothing changes any more.
void Exchange::Impl::settle(TimePoint now) {
  do {
    drop_banned(now);
    for (auto& [id, swarm] : swarms) swarm->settle(now);
    sweep();
    if (std::exchange(context.claims_dirty, false)) share_permits(now);
  } while (drain_claims(now) || !context.banned.empty() || context.claims_dirty);
}

bool Exchange::Impl::drain_claims(TimePoint now) {
  bool any = false;
  while (auto event = claims.poll_event()) {
    any = true;
    if (auto* send = std::get_if<ClaimsSend>(&*event)) {
      context.emit(SendClaim{send->to, std::move(send->payload)});
    } else if (const auto* granted = std::get_if<ExtentGranted>(&*event)) {
      context.claims_dirty = true;
      if (Swarm* swarm = find_claimant(granted->tag)) {
        offers[swarm->key().origin].width = 1;
        swarm->extent_granted(now, granted->extent);
      } else {
        claims.release(now, granted->tag, granted->extent);
      }
    } else if (const auto* revoked = std::get_if<ExtentRevoked>(&*event)) {
      if (Swarm* swarm = find_claimant(revoked->tag)) swarm->extent_revoked(now, revoked->extent);
    } else if (const auto* news = std::get_if<SwarmNews>(&*event)) {
      if (Swarm* swarm = find_claimant(news->tag)) swarm->handle_news(now, *news);
    } else if (const auto* alone = std::get_if<TrioUnreachable>(&*event)) {
      if (Swarm* swarm = find_claimant(alone->tag)) swarm->trio_unreachable(now);
    } else if (auto* paused = std::get_if<HostPaused>(&*event)) {
      context.emit(std::move(*paused));
    }
  }
  return any;
}

void Exchange::Impl::drop_banned(TimePoint now) {
  const std::vector<NodeId> banned = std::exchange(context.banned, {});
  for (const NodeId& node : banned) {
    claims.member_gone(now, node);  // as registrar: what it claims or says it has counts no more
    for (auto& [id, swarm] : swarms) swarm->drop_banned(now, node);
    for (const auto& [id, session] : context.sessions.all()) {
      if (session.peer == node) context.sessions.find(id)->served.clear();
    }
  }
}

// An origin's extents are shared by all swarms of this node: the one whose reader waits lowest asks
// first. As an extent
// may be in other hands for long, one more swarm asks each time nothing was granted for a while.
void Exchange::Impl::share_permits(TimePoint now) {
  std::map<std::string, std::vector<Swarm*>> by_origin;
  std::map<std::string, std::uint32_t> busy;
  for (auto& [id, swarm] : swarms) {
    by_origin[swarm->key().origin].push_back(swarm.get());
    busy[swarm->key().origin] += swarm->busy_extents();
  }
  for (const auto& [tag, id] : context.claimants) {
    if (const Swarm* swarm = find(id))
      busy[swarm->key().origin] += static_cast<std::uint32_t>(claims.waiting_count(tag));
  }
  std::erase_if(offers, [&](const auto& entry) { return !by_origin.contains(entry.first); });
  for (auto& [origin, asking] : by_origin) {
    Offer& offer = offers[origin];
    std::uint32_t room =
        config.extents_in_flight_max - std::min(config.extents_in_flight_max, busy[origin]);
    std::stable_sort(asking.begin(), asking.end(), [](const Swarm* a, const Swarm* b) {
      return a->lowest_reader() < b->lowest_reader();
    });
    if (room == 0) {
      offer = {.width = 1, .grow_at = now + offer_period};
    } else if (offer.grow_at <= now) {
      offer.grow_at = now + offer_period;
      ++offer.width;
    }
    std::size_t asked = 0;
    for (Swarm* swarm : asking) {
      std::uint32_t demand = 0;
      if (room > 0 && asked < offer.width) demand = std::min(room, swarm->claim_appetite(now));
      if (demand > 0) ++asked;
      swarm->set_demand(now, demand);
    }
    offer.width = std::min(offer.width, asking.size());
  }
}

void Exchange::Impl::sweep() {
  for (auto it = swarms.begin(); it != swarms.end();) {
    Swarm& swarm = *it->second;
    if (!swarm.ended()) {
      ++it;
      continue;
    }
    // Who was served by the swarm goes on being served by the complete blob.
    if (swarm.is_committed() && context.complete.contains(swarm.key().digest)) {
      for (const SessionId id : swarm.peer_sessions()) {
        if (Session* session = context.sessions.find(id)) {
          if (session->served.size() < limits::swarms_max) {
            session->served[swarm.tag()] = swarm.key().digest;
          }
        }
      }
    }
    const auto tag = tags.find(swarm.tag());
    if (tag != tags.end() && tag->second == it->first) tags.erase(tag);
    std::erase_if(context.fetches, [&](const auto& entry) { return entry.second == it->first; });
    it = swarms.erase(it);
  }
}

void Exchange::Impl::close_idle_sessions(TimePoint now) {
  sessions_at = now + session_check_period;
  std::set<SessionId> used;
  for (const auto& [id, swarm] : swarms) {
    for (const SessionId session : swarm->peer_sessions()) used.insert(session);
  }
  for (const auto& [id, session] : context.sessions.all()) {
    if (used.contains(id) || now - session.last_used < session_idle_max) continue;
    context.emit(CloseSession{id, "idle"});
    context.sessions.find(id)->last_used = now;  // asked once per period
  }
}

void Exchange::Impl::dispatch(TimePoint now, SessionId id, const SessionMessage& message) {
  const NodeId node = context.sessions.find(id)->peer;
  std::visit(
      [&](const auto& m) {
        using Message = std::decay_t<decltype(m)>;
        if constexpr (std::is_same_v<Message, OpenMessage>) {
          if (context.scores.is_banned(now, node)) {
            context.send(id, RejectMessage{m.tag, std::nullopt, RejectReason::refused});
            return;
          }
        }
        Swarm* swarm = find(m.tag);
        constexpr bool is_serving = std::is_same_v<Message, OpenMessage> ||
                                    std::is_same_v<Message, RequestMessage> ||
                                    std::is_same_v<Message, GetMidstatesMessage>;
        const bool served = context.sessions.find(id)->served.contains(m.tag);
        if (swarm != nullptr && !swarm->ended() && !(is_serving && served)) {
          swarm->handle(now, id, node, m);
        } else if constexpr (is_serving) {
          server.handle(now, id, m);
        } else if constexpr (std::is_same_v<Message, CloseMessage>) {
          context.sessions.find(id)->served.erase(m.tag);
        }
      },
      message);
}

Exchange::Exchange(const ExchangeConfig& config, const Identity& identity, ClusterView& view,
                   TimePoint now)
    : impl_(std::make_unique<Impl>(config, identity, view, now)) {}
Exchange::~Exchange() = default;

std::optional<SwarmId> Exchange::open(TimePoint now, const SwarmKey& key,
                                      std::optional<std::uint64_t> size_hint) {
  if (const Swarm* swarm = impl_->find(key.tag())) return swarm->id();
  if (impl_->swarms.size() >= limits::swarms_max) return std::nullopt;
  const SwarmId id{impl_->next_swarm++};
  auto swarm = std::make_unique<Swarm>(impl_->context, id, key, now);
  if (size_hint) swarm->hint_size(now, *size_hint);
  impl_->tags[swarm->tag()] = id;
  impl_->swarms.emplace(id, std::move(swarm));
  impl_->settle(now);
  return id;
}

void Exchange::add_reader(TimePoint now, SwarmId swarm, ReaderId reader, std::uint64_t offset,
                          bool lazy) {
  if (Swarm* found = impl_->find(swarm)) found->add_reader(now, reader, offset, lazy);
  impl_->settle(now);
}

void Exchange::retry_upstream(TimePoint now, SwarmId swarm) {
  if (Swarm* found = impl_->find(swarm)) found->retry_upstream(now);
  impl_->settle(now);
}

void Exchange::move_reader(TimePoint now, SwarmId swarm, ReaderId reader, std::uint64_t offset) {
  if (Swarm* found = impl_->find(swarm)) found->move_reader(now, reader, offset);
  impl_->settle(now);
}

void Exchange::remove_reader(TimePoint now, SwarmId swarm, ReaderId reader) {
  if (Swarm* found = impl_->find(swarm)) found->remove_reader(now, reader);
  impl_->settle(now);
}

void Exchange::members_changed(TimePoint now) {
  impl_->claims.set_members(now, impl_->context.view.registrar_candidates());
  impl_->settle(now);
}

void Exchange::member_gone(TimePoint now, const NodeId& node) {
  impl_->claims.member_gone(now, node);
  for (auto& [id, swarm] : impl_->swarms) swarm->member_gone(now, node);
  impl_->settle(now);
}

void Exchange::handle_claim(TimePoint now, const NodeId& from, ByteView payload) {
  if (impl_->context.scores.is_banned(now, from)) return;
  impl_->claims.handle_message(now, from, payload);
  impl_->settle(now);
}

void Exchange::host_paused(TimePoint now, const std::string& origin, std::uint64_t credential,
                           Duration remaining) {
  impl_->claims.host_paused(now, origin, credential, remaining);
  impl_->settle(now);
}

void Exchange::handle_timeout(TimePoint now) {
  const auto due = impl_->claims.poll_timeout();
  if (due && *due <= now) impl_->claims.handle_timeout(now);
  for (auto& [id, swarm] : impl_->swarms) swarm->handle_timeout(now);
  if (impl_->sessions_at <= now) impl_->close_idle_sessions(now);
  impl_->settle(now);
}

void Exchange::session_opened(TimePoint now, SessionId session, const NodeId& peer) {
  impl_->context.sessions.add(now, session, peer);
  for (auto& [id, swarm] : impl_->swarms) swarm->session_opened(now, session, peer);
  impl_->settle(now);
}

void Exchange::dial_failed(TimePoint now, const NodeId& peer) {
  for (auto& [id, swarm] : impl_->swarms) swarm->dial_failed(now, peer);
  impl_->settle(now);
}

void Exchange::session_closed(TimePoint now, SessionId session) {
  const Session* found = impl_->context.sessions.find(session);
  if (found == nullptr) return;
  const NodeId peer = found->peer;
  impl_->context.sessions.remove(session);
  for (auto& [id, swarm] : impl_->swarms) swarm->session_closed(now, session, peer);
  impl_->server.session_closed(session);
  impl_->settle(now);
}

void Exchange::handle_control(TimePoint now, SessionId session, ByteView message) {
  const Session* found = impl_->context.sessions.find(session);
  if (found == nullptr) return;
  const auto decoded = decode_session_message(message);
  if (decoded) {
    impl_->dispatch(now, session, *decoded);
  } else {
    impl_->context.score(now, found->peer, PeerScores::malformed_frame);
    impl_->context.emit(CloseSession{session, "malformed message"});
  }
  impl_->settle(now);
}

std::optional<BlockBuffer> Exchange::block_received(TimePoint now, SessionId session,
                                                    const BlockFrame& frame) {
  const Session* entry = impl_->context.sessions.find(session);
  Swarm* swarm = impl_->find(frame.tag);
  if (swarm == nullptr || entry == nullptr) return std::nullopt;
  const bool was_full = entry->asked_blocks >= limits::requests_per_peer_max;
  const NodeId peer = entry->peer;
  const auto place = swarm->block_received(now, session, frame);
  if (was_full) {
    for (auto& [id, other] : impl_->swarms) other->wake_peer(peer);
  }
  const SwarmId id = swarm->id();
  impl_->settle(now);
  if (!place) return std::nullopt;
  return BlockBuffer{id, place->source, place->skip};
}

void Exchange::block_sent(TimePoint now, SessionId session) {
  Session* found = impl_->context.sessions.find(session);
  if (found == nullptr) return;
  found->last_used = now;
  if (found->unsent_blocks > 0) --found->unsent_blocks;
}

void Exchange::relay_sent(TimePoint now, SessionId session, std::uint32_t length) {
  Session* found = impl_->context.sessions.find(session);
  if (found == nullptr) return;
  found->last_used = found->relay_moved = now;
  found->relay_unsent -= std::min<std::uint64_t>(found->relay_unsent, length);
}

bool Exchange::is_relay_full(TimePoint now) const {
  std::uint64_t unsent = 0;
  for (const auto& [id, session] : impl_->context.sessions.all()) {
    if (now >= session.relay_rests_until) unsent += session.relay_unsent;
  }
  return unsent >= limits::relay_unsent_total_max;
}

std::uint8_t Exchange::upload_load() const { return impl_->context.sessions.upload_load(); }

std::optional<SwarmId> Exchange::find(const SwarmTag& tag) const {
  const Swarm* swarm = impl_->find(tag);
  if (swarm == nullptr) return std::nullopt;
  return swarm->id();
}

void Exchange::blob_opened(TimePoint now, SwarmId swarm,
                           std::optional<std::vector<StoredChunk>> held) {
  if (Swarm* found = impl_->find(swarm)) found->blob_opened(now, std::move(held));
  impl_->settle(now);
}

void Exchange::chunk_verified(TimePoint now, SwarmId swarm, ChunkIndex chunk, SessionId source,
                              ChunkVerdict verdict, const std::optional<ChunkSha256>& sha256,
                              std::span<const ChunkSha256> blocks) {
  if (Swarm* found = impl_->find(swarm)) {
    found->chunk_verified(now, chunk, source, verdict, sha256, blocks);
  }
  impl_->settle(now);
}

void Exchange::fetch_head(TimePoint now, FetchId fetch, const FetchHead& head) {
  if (Swarm* found = impl_->of_fetch(fetch)) found->fetch_head(now, fetch, head);
  impl_->settle(now);
}

void Exchange::fetch_progress(TimePoint now, FetchId fetch, std::uint64_t bytes) {
  if (Swarm* found = impl_->of_fetch(fetch)) found->fetch_progress(now, fetch, bytes);
  impl_->settle(now);
}

void Exchange::fetch_bytes(TimePoint now, FetchId fetch, ChunkIndex chunk, std::uint32_t filled) {
  if (Swarm* found = impl_->of_fetch(fetch)) found->fetch_bytes(now, fetch, chunk, filled);
  impl_->settle(now);
}

Bytes Exchange::make_crec(SwarmId swarm, ChunkIndex chunk,
                          const std::array<std::byte, 32>& sha256) const {
  const Swarm* found = impl_->find(swarm);
  return found == nullptr ? Bytes{} : found->make_crec(chunk, sha256);
}

void Exchange::fetch_chunk(TimePoint now, FetchId fetch, ChunkIndex chunk,
                           const std::array<std::byte, 32>& sha256, ChunkVerdict verdict) {
  if (Swarm* found = impl_->of_fetch(fetch)) found->fetch_chunk(now, fetch, chunk, sha256, verdict);
  impl_->settle(now);
}

void Exchange::fetch_ended(TimePoint now, FetchId fetch, const FetchEnd& end) {
  if (Swarm* found = impl_->of_fetch(fetch)) found->fetch_ended(now, fetch, end);
  impl_->settle(now);
}

void Exchange::link_hashed(TimePoint now, SwarmId swarm, ChunkIndex chunk,
                           std::optional<Midstate> end, std::optional<Digest> digest) {
  if (Swarm* found = impl_->find(swarm)) found->link_hashed(now, chunk, end, digest);
  impl_->settle(now);
}

void Exchange::blob_committed(TimePoint now, SwarmId swarm, bool ok) {
  if (Swarm* found = impl_->find(swarm)) found->blob_committed(now, ok);
  impl_->settle(now);
}

void Exchange::midstates_loaded(TimePoint now, const Digest& digest,
                                std::optional<std::vector<Midstate>> midstates) {
  impl_->server.midstates_loaded(digest, midstates);
  impl_->settle(now);
}

void Exchange::blob_available(TimePoint now, const Digest& digest, std::uint64_t size) {
  if (size <= limits::blob_bytes_max) impl_->context.complete[digest] = size;
  impl_->settle(now);
}

void Exchange::blob_gone(TimePoint now, const Digest& digest) {
  impl_->context.complete.erase(digest);
  impl_->settle(now);
}

std::optional<ExchangeOutput> Exchange::poll_output() {
  auto& outputs = impl_->context.outputs;
  if (outputs.empty()) return std::nullopt;
  ExchangeOutput output = std::move(outputs.front());
  outputs.pop_front();
  return output;
}

std::optional<TimePoint> Exchange::poll_timeout() const {
  std::optional<TimePoint> next = impl_->claims.poll_timeout();
  const auto take = [&](std::optional<TimePoint> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  for (const auto& [id, swarm] : impl_->swarms) take(swarm->poll_timeout());
  if (!impl_->context.sessions.all().empty()) take(impl_->sessions_at);
  return next;
}

std::optional<SwarmStatus> Exchange::status(SwarmId swarm) const {
  const Swarm* found = impl_->find(swarm);
  if (found == nullptr) return std::nullopt;
  return found->status();
}

std::vector<SwarmStatus> Exchange::swarms() const {
  std::vector<SwarmStatus> all;
  for (const auto& [id, swarm] : impl_->swarms) all.push_back(swarm->status());
  return all;
}

bool Exchange::has_chunk(SwarmId swarm, ChunkIndex chunk) const {
  const Swarm* found = impl_->find(swarm);
  return found != nullptr && found->has_chunk(chunk);
}

bool Exchange::is_proven(SwarmId swarm) const {
  const Swarm* found = impl_->find(swarm);
  return found != nullptr && found->is_proven();
}

ExchangeStats Exchange::stats() const {
  ExchangeStats stats = impl_->context.stats;
  stats.swarms = impl_->swarms.size();
  stats.bans = impl_->context.scores.bans();
  stats.claims = impl_->claims.stats();
  return stats;
}

std::vector<Digest> Exchange::tainted(TimePoint now) const {
  return impl_->context.tainted.list(now);
}

bool Exchange::is_tainted(TimePoint now, const Digest& digest) const {
  return impl_->context.tainted.contains(now, digest);
}

std::vector<NodeId> Exchange::banned(TimePoint now) const {
  return impl_->context.scores.banned(now);
}

std::vector<NodeId> Exchange::host_registrars(const std::string& origin) const {
  return impl_->claims.host_registrars(origin);
}

void Exchange::check_invariants() const {
  impl_->claims.check_invariants();
  impl_->context.sessions.check_invariants();
  WAGGLE_ASSERT(impl_->swarms.size() <= limits::swarms_max);
  std::uint64_t bytes = 0;
  for (const auto& [id, swarm] : impl_->swarms) {
    WAGGLE_ASSERT(!swarm->ended());
    WAGGLE_ASSERT(impl_->tags.at(swarm->tag()) == id);
    swarm->check_invariants();
    bytes += swarm->download_bytes();
  }
  WAGGLE_ASSERT(bytes == impl_->context.download_bytes);
  WAGGLE_ASSERT(bytes <= limits::download_buffer_bytes_max);
  for (const auto& [id, session] : impl_->context.sessions.all()) {
    WAGGLE_ASSERT(session.asked_blocks <= limits::requests_per_peer_max);
    WAGGLE_ASSERT(session.unsent_blocks <= limits::requests_per_peer_max);
  }
}

}  // namespace waggle::transfer
