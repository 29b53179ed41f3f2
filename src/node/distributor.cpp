// Routing between the spokes' cores.
#include "node/distributor.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/timer_table.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

namespace waggle::node {
namespace {

/// The first byte of every control frame names who reads the rest.
enum class Channel : std::uint8_t { exchange = 1, gossip = 2 };

/// Kinds of sealed app payloads.
constexpr std::uint8_t app_kind_claims = 1;

constexpr Duration bulk_wait_max = std::chrono::seconds(3);

/// No blob is kept for the cluster's sake: eviction knows this node's use only (decision D-009).
bool keeps_nothing(const Digest& /*digest*/) { return false; }

Bytes on_channel(Channel channel, ByteView message) {
  Bytes frame{static_cast<std::byte>(channel)};
  append(frame, message);
  return frame;
}

transfer::ExchangeConfig with_payload_size(transfer::ExchangeConfig config,
                                           const gossip::Gossip& gossip) {
  config.claim_payload_bytes_max = gossip.app_payload_bytes_max();
  return config;
}

}  // namespace

Distributor::Distributor(const DistributorConfig& config, const Identity& identity,
                         RandomSource& random, TimePoint now)
    : self_(identity.node_id()),
      now_(now),
      gossip_(config.gossip, identity, random, now),
      exchange_(with_payload_size(config.exchange, gossip_), identity, *this, now),
      catalog_(config.cache_quota_bytes),
      eviction_(config.eviction) {
  exchange_.members_changed(now);
  settle(now);
}

void Distributor::handle_datagram(TimePoint now, Endpoint from, ByteView datagram) {
  now_ = now;
  gossip_.set_load(exchange_.upload_load());
  gossip_.handle_datagram(now, from, datagram);
  settle(now);
}

void Distributor::handle_timeout(TimePoint now) {
  now_ = now;
  gossip_.set_load(exchange_.upload_load());
  gossip_.handle_timeout(now);
  exchange_.handle_timeout(now);
  expire_bulk();
  settle(now);
}

void Distributor::set_hints(TimePoint now, std::vector<Endpoint> hints, bool more_expected) {
  now_ = now;
  gossip_.set_hints(now, std::move(hints), more_expected);
  settle(now);
}

void Distributor::set_keys(TimePoint now, const KeyRing& keys) {
  now_ = now;
  gossip_.set_keys(now, keys);
  settle(now);
}

void Distributor::drain(TimePoint now) {
  now_ = now;
  gossip_.set_draining(now, true);
  settle(now);
}

void Distributor::leave(TimePoint now) {
  now_ = now;
  gossip_.leave(now);
  settle(now);
}

void Distributor::session_opened(TimePoint now, SessionId session, const NodeId& peer) {
  now_ = now;
  dialling_.erase(peer);
  std::optional<SessionId> replaced;
  if (const auto old = nodes_.find(peer); old != nodes_.end()) replaced = old->second;
  sessions_[session] = peer;
  nodes_[peer] = session;
  gossip_.note_contact(now, peer);
  exchange_.session_opened(now, session, peer);
  // The new one first: swarms that were on the old one go on there at once.
  if (replaced) {
    sessions_.erase(*replaced);
    exchange_.session_closed(now, *replaced);
  }
  const auto waiting = waiting_bulk_.find(peer);
  if (waiting != waiting_bulk_.end()) {
    for (auto& bulk : waiting->second) {
      commands_.push_back(transfer::SendControl{session, on_channel(Channel::gossip, bulk.frame)});
    }
    waiting_bulk_.erase(waiting);
  }
  settle(now);
}

void Distributor::session_closed(TimePoint now, SessionId session) {
  now_ = now;
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  nodes_.erase(found->second);
  sessions_.erase(found);
  exchange_.session_closed(now, session);
  settle(now);
}

void Distributor::dial_failed(TimePoint now, const NodeId& peer) {
  now_ = now;
  dialling_.erase(peer);
  waiting_bulk_.erase(peer);
  if (!nodes_.contains(peer)) exchange_.dial_failed(now, peer);
  settle(now);
}

void Distributor::handle_control(TimePoint now, SessionId session, ByteView frame) {
  now_ = now;
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  const auto channel = frame.empty() ? 0 : std::to_integer<std::uint8_t>(frame[0]);
  if (channel == static_cast<std::uint8_t>(Channel::exchange)) {
    exchange_.handle_control(now, session, frame.subspan(1));
  } else if (channel == static_cast<std::uint8_t>(Channel::gossip)) {
    gossip_.handle_bulk(now, found->second, frame.subspan(1));
  } else {
    commands_.push_back(transfer::CloseSession{session, "unknown channel"});
  }
  settle(now);
}

void Distributor::store_scanned(TimePoint now) {
  now_ = now;
  gossip_.store_scanned(now);
  settle(now);
}

void Distributor::content_found(TimePoint now, const Digest& digest, std::uint64_t size,
                                TimePoint last_use) {
  now_ = now;
  catalog_.add_blob(digest, size, last_use);
  exchange_.blob_available(now, digest, size);
  gossip_.announce(now, {digest, size});
  settle(now);
}

void Distributor::partial_found(const Digest& digest, const std::string& origin, std::uint64_t size,
                                Bitfield held, TimePoint last_use) {
  catalog_.add_partial(digest, origin, size, std::move(held), last_use);
}

void Distributor::content_lost(TimePoint now, const Digest& digest) {
  now_ = now;
  catalog_.erase({digest, std::nullopt});
  exchange_.blob_gone(now, digest);
  gossip_.withdraw(now, digest);
  settle(now);
}

void Distributor::announce_name(TimePoint now, const gossip::NameRecord& name,
                                std::uint64_t hlc_ms) {
  now_ = now;
  gossip_.announce_name(now, name, hlc_ms);
  settle(now);
}

void Distributor::disk_free(TimePoint now, std::uint64_t bytes) {
  now_ = now;
  disk_free_bytes_ = bytes;
  evict(eviction_.relieve(catalog_, bytes, keeps_nothing).victims);
  settle(now);
}

std::optional<SwarmId> Distributor::open(TimePoint now, const transfer::SwarmKey& key) {
  now_ = now;
  const cache::CopyEntry* partial = catalog_.find_partial(key.digest, key.origin);
  const auto size_hint = partial == nullptr ? std::nullopt : std::optional(partial->size);
  const auto swarm = exchange_.open(now, key, size_hint);
  settle(now);
  return swarm;
}

void Distributor::settle(TimePoint now) {
  now_ = now;
  // Gossip may feed the exchange and the other way round; both queues are bounded by their inputs.
  while (route_gossip() || route_exchange()) {
  }
}

bool Distributor::route_gossip() {
  bool routed = false;
  std::vector<NodeId>
      changed;  // of a whole packet at once: the exchange copies the list of members
  const auto pass_changes = [&] {
    if (changed.empty()) return;
    exchange_.members_changed(now_);
    for (const NodeId& id : std::exchange(changed, {})) {
      if (!is_live(id)) exchange_.member_gone(now_, id);
    }
  };
  while (auto event = gossip_.poll_event()) {
    routed = true;
    std::visit(
        [&](auto& item) {
          using T = std::decay_t<decltype(item)>;
          if constexpr (std::is_same_v<T, gossip::MemberChanged>) {
            changed.push_back(item.id);
          } else if constexpr (std::is_same_v<T, gossip::AppMessage>) {
            pass_changes();
            if (item.kind == app_kind_claims) exchange_.handle_claim(now_, item.from, item.payload);
          } else if constexpr (std::is_same_v<T, gossip::BulkSend>) {
            send_bulk(std::move(item));
          } else if constexpr (std::is_same_v<T, gossip::LogTold>) {
            commands_.push_back(PersistTold{std::move(item)});
          } else if constexpr (std::is_same_v<T, gossip::CloneSeen>) {
            commands_.push_back(ReportClone{std::move(item)});
          } else if constexpr (std::is_same_v<T, gossip::IncarnationRaised>) {
            commands_.push_back(PersistIncarnation{item.incarnation});
          } else {
            static_assert(std::is_same_v<T, gossip::VersionChanged>);  // gossip itself obeys it
          }
        },
        *event);
  }
  pass_changes();
  return routed;
}

bool Distributor::route_exchange() {
  bool routed = false;
  while (auto output = exchange_.poll_output()) {
    routed = true;
    std::visit(
        [this](auto& item) {
          using T = std::decay_t<decltype(item)>;
          if constexpr (std::is_same_v<T, transfer::EnsureSession>) {
            ensure_session(item.node);
          } else if constexpr (std::is_same_v<T, transfer::SendClaim>) {
            gossip_.send_app(now_, item.to, app_kind_claims, item.payload);
          } else if constexpr (std::is_same_v<T, transfer::SendControl>) {
            commands_.push_back(
                transfer::SendControl{item.session, on_channel(Channel::exchange, item.message)});
          } else if constexpr (std::is_same_v<T, transfer::CreateBlob>) {
            create_blob(std::move(item));
          } else if constexpr (std::is_same_v<T, transfer::CloseBlob>) {
            close_blob(item);
            commands_.push_back(item);
          } else if constexpr (std::is_same_v<T, transfer::ChunkReady>) {
            chunk_ready(item);
            commands_.push_back(item);
          } else if constexpr (std::is_same_v<T, transfer::SwarmCommitted>) {
            committed(item);
            commands_.push_back(item);
          } else {
            commands_.push_back(std::move(item));
          }
        },
        *output);
  }
  return routed;
}

void Distributor::create_blob(transfer::CreateBlob create) {
  const auto& [digest, origin] = create.key;
  const cache::CopyKey own{digest, origin};
  const cache::CopyEntry* held = catalog_.find_partial(digest, origin);
  const std::uint64_t missing =
      create.size - (held != nullptr && held->size == create.size ? held->bytes : 0);
  const auto room = eviction_.make_room(catalog_, missing, disk_free_bytes_, keeps_nothing, &own);
  evict(room.victims);
  if (!room.possible || !catalog_.begin(now_, digest, origin, create.size)) {
    exchange_.blob_opened(now_, create.swarm, std::nullopt);
    return;
  }
  partials_[create.swarm] = create.key;
  commands_.push_back(std::move(create));
}

void Distributor::chunk_ready(const transfer::ChunkReady& ready) {
  const auto partial = partials_.find(ready.swarm);
  if (partial == partials_.end()) return;
  catalog_.chunk_stored(now_, partial->second.digest, partial->second.origin, ready.chunk);
}

void Distributor::committed(const transfer::SwarmCommitted& done) {
  const auto partial = partials_.find(done.swarm);
  WAGGLE_ASSERT(partial != partials_.end());
  catalog_.commit(now_, partial->second.digest, partial->second.origin);
  partials_.erase(partial);
  gossip_.announce(now_, {done.digest, done.size});
}

void Distributor::close_blob(const transfer::CloseBlob& close) {
  const auto partial = partials_.find(close.swarm);
  if (partial == partials_.end()) return;
  const auto& [digest, origin] = partial->second;
  catalog_.end(now_, digest, origin);
  if (close.discard) catalog_.erase({digest, origin});
  partials_.erase(partial);
}

void Distributor::evict(const std::vector<cache::Victim>& victims) {
  for (const auto& victim : victims) {
    ++evictions_;
    catalog_.erase(victim.copy);
    if (victim.copy.origin) {
      commands_.push_back(RemovePartial{victim.copy.digest, *victim.copy.origin});
      continue;
    }
    exchange_.blob_gone(now_, victim.copy.digest);
    gossip_.withdraw(now_, victim.copy.digest);
    commands_.push_back(RemoveBlob{victim.copy.digest});
  }
}

void Distributor::ensure_session(const NodeId& node) {
  if (nodes_.contains(node) || dialling_.contains(node)) return;
  const gossip::Member* member = gossip_.find(node);
  if (member == nullptr || member->endpoints.empty()) {
    exchange_.dial_failed(now_, node);
    return;
  }
  dialling_.insert(node);
  commands_.push_back(Dial{node, member->endpoints});
}

void Distributor::send_bulk(gossip::BulkSend bulk) {
  const auto session = nodes_.find(bulk.to);
  if (session != nodes_.end()) {
    commands_.push_back(
        transfer::SendControl{session->second, on_channel(Channel::gossip, bulk.frame)});
    return;
  }
  std::size_t waiting = bulk.frame.size();
  for (const auto& [node, frames] : waiting_bulk_) {
    for (const auto& held : frames) waiting += held.frame.size();
  }
  if (waiting > limits::waiting_bulk_bytes_max) return;
  auto& queue = waiting_bulk_[bulk.to];
  if (queue.size() >= limits::waiting_bulk_frames_max) queue.pop_front();
  queue.push_back({now_, std::move(bulk.frame)});
  ensure_session(bulk.to);
}

void Distributor::expire_bulk() {
  for (auto& [node, queue] : waiting_bulk_) {
    while (!queue.empty() && now_ - queue.front().since > bulk_wait_max) queue.pop_front();
  }
  std::erase_if(waiting_bulk_, [](const auto& entry) { return entry.second.empty(); });
}

std::optional<Command> Distributor::poll_command() {
  if (commands_.empty()) return std::nullopt;
  Command command = std::move(commands_.front());
  commands_.pop_front();
  return command;
}

std::optional<TimePoint> Distributor::poll_timeout() const {
  return earliest(gossip_.poll_timeout(), exchange_.poll_timeout());
}

std::vector<NodeId> Distributor::holders_of(const Digest& digest) {
  std::vector<NodeId> found;
  gossip_.holders(digest, found);
  return found;
}

std::span<const NodeId> Distributor::registrar_candidates() const {
  return gossip_.registrar_candidates();
}

bool Distributor::is_live(const NodeId& node) const {
  const gossip::Member* member = gossip_.find(node);
  return member != nullptr && member->compatible && gossip::is_live(member->state);
}

std::size_t Distributor::holders(const Digest& digest, std::span<NodeId> out) {
  return gossip_.lookup(now_, digest, out);
}

std::optional<std::uint64_t> Distributor::announced_size(const Digest& digest) const {
  return gossip_.content_size(digest);
}

void Distributor::check_invariants() const {
  gossip_.check_invariants();
  exchange_.check_invariants();
  catalog_.check_invariants();
  for (const auto& [node, session] : nodes_) WAGGLE_ASSERT(sessions_.at(session) == node);
  WAGGLE_ASSERT(nodes_.size() == sessions_.size());
}

}  // namespace waggle::node
