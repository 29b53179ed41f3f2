// The facade: datagrams go to the courier, messages to membership or announcements, and what they
// say to each other passes through here.
#include "gossip/gossip.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/announcements.hpp"
#include "gossip/clone_watch.hpp"
#include "gossip/courier.hpp"
#include "gossip/error.hpp"
#include "gossip/membership.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

namespace waggle::gossip {
namespace {

using namespace std::chrono_literals;

constexpr Duration index_ready_after = 10s;
/// An ANNOUNCEMENT's array and bin headers around its body.
constexpr std::size_t announcement_overhead_bytes = 8;

/// First byte of a bulk frame: whose it is.
enum class BulkKind : std::uint8_t { announcements = 0, fallback_ping = 1, fallback_ack = 2 };

Bytes bulk_frame(BulkKind kind, ByteView body) {
  Bytes frame{static_cast<std::byte>(kind)};
  append(frame, body);
  return frame;
}

Bytes fallback_frame(BulkKind kind, std::uint64_t seq) {
  Bytes body;
  append_le(body, seq);
  return bulk_frame(kind, body);
}

Member self_record(const GossipConfig& config, const Identity& identity) {
  WAGGLE_ASSERT(!config.advertise.empty());
  Member self;
  self.id = identity.node_id();
  self.public_key = identity.public_key();
  self.incarnation = config.incarnation;
  self.endpoints = config.advertise;
  self.endpoints.resize(std::min(self.endpoints.size(), limits::member_addresses_max));
  self.name = config.name.substr(0, limits::node_name_bytes_max);
  self.zone = config.zone.substr(0, limits::zone_bytes_max);
  self.version_min = config.version_min;
  self.version_max = config.version_max;
  self.keys = names_of(config.keys);
  self.is_self = true;
  return self;
}

MembershipConfig membership_config(const GossipConfig& config) {
  return {IdKey::for_cluster(config.cluster_name), Courier::body_bytes_max(config.packet_bytes),
          mix_seed(config.seed), config.join_by_multicast ? config.multicast_group : std::nullopt};
}

AnnouncementsConfig announcements_config(const GossipConfig& config, const NodeId& self) {
  AnnouncementsConfig out;
  out.id_key = IdKey::for_cluster(config.cluster_name);
  out.self = self;
  out.incarnation = config.incarnation;
  out.message_bytes_max =
      Courier::body_bytes_max(config.packet_bytes) - announcement_overhead_bytes;
  out.seed = mix_seed(config.seed + 1);
  out.broadcast = config.broadcast;
  out.told = config.told;
  return out;
}

/// It carries its sender's record: a session is being set up.
bool introduces_sender(const GossipMessage& message) {
  const auto* ping = std::get_if<Ping>(&message);
  const auto* ack = std::get_if<Ack>(&message);
  return (ping != nullptr && ping->self) || (ack != nullptr && ack->self);
}

/// Questions and their answers are between two nodes: to all go log records alone.
bool carries_records(ByteView body) {
  const auto message = decode_message(body);
  return message && std::holds_alternative<Records>(*message);
}

}  // namespace

struct Gossip::Impl {
  Impl(const GossipConfig& config, const Identity& identity, RandomSource& random, TimePoint now)
      : started(now),
        hints_expected(config.hints_expected),
        multicast_group(config.multicast_group),
        membership(membership_config(config), self_record(config, identity), now),
        courier(config, membership, random),
        announcements(announcements_config(config, identity.node_id()), identity, now),
        clone_checked(now) {
    announcements.set_version(membership.table().cluster_version());
  }

  void dispatch(TimePoint now, const Endpoint& from, Received&& received);
  void count(const boost::system::error_code& error);
  void settle(TimePoint now);
  bool settle_membership(TimePoint now);
  bool settle_announcements(TimePoint now);
  void apply(TimePoint now, const MembershipEvent& event);
  void apply_record(TimePoint now, const RecordChanged& change);
  void see_double(TimePoint now);
  void recheck_clone(TimePoint now);
  void supersede(TimePoint now, const NodeId& unreached);
  void heard_at(TimePoint now, const NodeId& from, const Endpoint& address);

  TimePoint started;
  bool hints_expected;
  std::optional<Endpoint> multicast_group;
  Membership membership;
  Courier courier;
  Announcements announcements;
  CloneWatch clones;
  TimePoint clone_checked;
  std::deque<GossipEvent> events;
  GossipStats counters;
};

// --- inside --------------------------------------------------------------------------------------

void Gossip::Impl::dispatch(TimePoint now, const Endpoint& from, Received&& received) {
  const NodeId& id = received.from;
  struct Visitor {
    Impl& impl;
    TimePoint now;
    const Endpoint& from;
    const NodeId& id;
    bool multicast;
    void operator()(Ping& ping) {
      impl.announcements.member_load(now, id, ping.load);
      impl.membership.handle_ping(now, id, from, ping);
    }
    void operator()(Ack& ack) {
      impl.announcements.member_load(now, id, ack.load);
      impl.membership.handle_ack(now, id, ack);
    }
    void operator()(PingReq& request) { impl.membership.handle_ping_req(now, id, request); }
    void operator()(Nack& nack) { impl.membership.handle_nack(nack); }
    void operator()(MemberHashes& message) { impl.membership.handle_hashes(now, id, message); }
    void operator()(MemberRecords& message) { impl.membership.handle_records(now, id, message); }
    void operator()(AnnouncementBody& message) {
      if (multicast && !carries_records(message.body)) {
        ++impl.counters.dropped_malformed;
        return;
      }
      impl.announcements.handle_message(now, id, message.body);
    }
    void operator()(App& app) {
      impl.events.emplace_back(AppMessage{id, app.kind, std::move(app.payload)});
    }
  };
  std::visit(Visitor{*this, now, from, id, received.multicast}, received.message);
}

void Gossip::Impl::count(const boost::system::error_code& error) {
  if (error == GossipError::unknown_key) {
    ++counters.dropped_unknown_key;
  } else if (error == GossipError::not_authentic) {
    ++counters.dropped_unauthenticated;
  } else if (error == GossipError::replayed) {
    ++counters.dropped_replay;
  } else if (error == GossipError::over_rate) {
    ++counters.dropped_over_rate;
  } else if (error == GossipError::unknown_type) {
    ++counters.dropped_unknown_type;
  } else if (error == GossipError::no_session) {
    ++counters.dropped_other;
  } else {
    ++counters.dropped_malformed;
  }
}

void Gossip::Impl::settle(TimePoint now) {
  while (settle_membership(now) || settle_announcements(now)) {
  }
}

bool Gossip::Impl::settle_membership(TimePoint now) {
  bool progress = false;
  while (auto event = membership.poll_event()) {
    apply(now, *event);
    progress = true;
  }
  while (auto outgoing = membership.poll_outgoing()) {
    courier.send(now, std::move(*outgoing));
    progress = true;
  }
  return progress;
}

bool Gossip::Impl::settle_announcements(TimePoint now) {
  bool progress = false;
  while (auto message = announcements.poll_message()) {
    // Without a receiver it is for the group.
    if (!message->to && !multicast_group) continue;
    courier.send(now, {message->to, message->to ? std::nullopt : multicast_group, !message->to,
                       AnnouncementBody{std::move(message->body)}});
    progress = true;
  }
  while (auto told = announcements.poll_told()) {
    events.emplace_back(std::move(*told));
    progress = true;
  }
  while (auto bulk = announcements.poll_bulk()) {
    events.emplace_back(BulkSend{bulk->to, bulk_frame(BulkKind::announcements, bulk->frame)});
    progress = true;
  }
  return progress;
}

void Gossip::Impl::apply(TimePoint now, const MembershipEvent& event) {
  if (const auto* change = std::get_if<RecordChanged>(&event)) {
    apply_record(now, *change);
  } else if (const auto* forgotten = std::get_if<RecordForgotten>(&event)) {
    courier.forget(forgotten->id);
  } else if (const auto* ping = std::get_if<FallbackPing>(&event)) {
    events.emplace_back(BulkSend{ping->to, fallback_frame(BulkKind::fallback_ping, ping->seq)});
  } else if (const auto* version = std::get_if<VersionChanged>(&event)) {
    announcements.set_version(version->version);
    events.emplace_back(*version);
  } else if (const auto* claim = std::get_if<ForeignClaim>(&event)) {
    courier.ask_double(now, claim->endpoints);
  } else if (const auto* unreached = std::get_if<Unreached>(&event)) {
    supersede(now, unreached->id);
  } else {
    const auto& raised = std::get<IncarnationRaised>(event);
    announcements.set_incarnation(now, raised.incarnation);
    events.emplace_back(raised);
  }
}

void Gossip::Impl::apply_record(TimePoint now, const RecordChanged& change) {
  if (change.up_before != change.up_now) {
    if (!change.up_now) {
      courier.doubt(change.id);
      announcements.member_down(now, change.id);
    } else if (const Member* member = membership.table().find(change.id)) {
      if (change.up_before && !change.by_itself) courier.doubt(change.id);
      announcements.member_up(now, change.id, *change.up_now, member->public_key);
    }
  }
  events.emplace_back(MemberChanged{change.id, change.state});
}

void Gossip::Impl::see_double(TimePoint now) {
  const auto met = courier.take_double();
  if (!met) return;
  if (auto news = clones.proved(now, *met)) events.emplace_back(*std::move(news));
}

/// Whether the other process with the own identity is still there.
void Gossip::Impl::recheck_clone(TimePoint now) {
  if (clone_checked + limits::clone_checked_every > now) return;
  clone_checked = now;
  for (const CloneSeen& seen : clones.seen(now)) {
    if (seen.id == membership.table().self().id) courier.ask_double(now, {seen.other});
  }
}

/// A member that cannot be reached, and another at its address: when that one has proven to be
/// there, the first is gone, without the patience of a suspicion (a pod's address went to the next
/// pod). If it only says so, it is asked.
void Gossip::Impl::supersede(TimePoint now, const NodeId& unreached) {
  const MemberTable& table = membership.table();
  const Member* gone = table.find(unreached);
  if (gone == nullptr || !is_live(gone->state)) return;
  for (const NodeId& id : table.live()) {
    const auto& theirs = table.find(id)->endpoints;
    const auto shared = std::find_first_of(theirs.begin(), theirs.end(), gone->endpoints.begin(),
                                           gone->endpoints.end());
    if (id == unreached || shared == theirs.end()) continue;
    if (courier.is_at(id, *shared)) return membership.supersede(now, unreached);
    courier.send(now, {id, *shared, true, membership.make_ping(id)});
  }
}

/// `from` was heard at that address: no suspect is there any more.
void Gossip::Impl::heard_at(TimePoint now, const NodeId& from, const Endpoint& address) {
  const auto gone = membership.suspect_at(address, from);
  if (gone && courier.is_at(from, address)) membership.supersede(now, *gone);
}

// --- inputs --------------------------------------------------------------------------------------

Gossip::Gossip(const GossipConfig& config, const Identity& identity, RandomSource& random,
               TimePoint now)
    : impl_(std::make_unique<Impl>(config, identity, random, now)) {}
Gossip::~Gossip() = default;

void Gossip::handle_datagram(TimePoint now, Endpoint from, ByteView datagram) {
  ++impl_->counters.rx_packets;
  impl_->counters.rx_bytes += datagram.size();
  auto received = impl_->courier.receive(now, from, datagram);
  if (!received) {
    impl_->count(received.error());
    return;
  }
  impl_->see_double(now);
  if (*received) {
    const NodeId sender = (*received)->from;
    const bool introduces = introduces_sender((*received)->message);
    impl_->dispatch(now, from, std::move(**received));
    if (introduces) impl_->heard_at(now, sender, from);
  }
  impl_->settle(now);
}

void Gossip::handle_timeout(TimePoint now) {
  impl_->membership.handle_timeout(now);
  impl_->courier.handle_timeout(now);
  impl_->announcements.handle_timeout(now);
  impl_->recheck_clone(now);
  impl_->settle(now);
}

void Gossip::handle_bulk(TimePoint now, const NodeId& from, ByteView frame) {
  if (frame.empty()) {
    ++impl_->counters.dropped_malformed;
    return;
  }
  const auto kind = static_cast<BulkKind>(frame.front());
  const ByteView body = frame.subspan(1);
  if (kind == BulkKind::announcements) {
    impl_->announcements.handle_bulk(now, from, body);
  } else if (kind == BulkKind::fallback_ping && body.size() == sizeof(std::uint64_t)) {
    const auto seq = load_le<std::uint64_t>(body);
    impl_->events.emplace_back(BulkSend{from, fallback_frame(BulkKind::fallback_ack, seq)});
  } else if (kind == BulkKind::fallback_ack && body.size() == sizeof(std::uint64_t)) {
    impl_->membership.handle_fallback_ack(load_le<std::uint64_t>(body), from);
  } else {
    ++impl_->counters.dropped_malformed;
  }
  impl_->settle(now);
}

void Gossip::set_hints(TimePoint now, std::vector<Endpoint> hints, bool more_expected) {
  impl_->hints_expected = more_expected;
  impl_->membership.set_hints(now, std::move(hints));
  impl_->settle(now);
}

void Gossip::set_keys(TimePoint now, const KeyRing& keys) {
  impl_->courier.set_keys(keys);
  impl_->membership.set_keys(now, names_of(keys));
  impl_->settle(now);
}

void Gossip::set_load(std::uint8_t load) { impl_->courier.set_load(load); }

bool Gossip::send_app(TimePoint now, const NodeId& to, std::uint8_t kind, ByteView payload) {
  WAGGLE_ASSERT(payload.size() <= app_payload_bytes_max());
  const Member* member = find(to);
  if (member == nullptr || member->is_self || !is_live(member->state) || !member->compatible) {
    return false;
  }
  impl_->courier.send(now, {to, std::nullopt, false, App{kind, to_bytes(payload)}});
  impl_->settle(now);
  return true;
}

std::size_t Gossip::app_payload_bytes_max() const {
  return impl_->courier.body_bytes_max() - app_overhead_bytes;
}

void Gossip::announce(TimePoint now, const Content& content) {
  impl_->announcements.announce(now, content.digest, content.size);
  impl_->settle(now);
}

void Gossip::withdraw(TimePoint now, const Digest& digest) {
  impl_->announcements.withdraw(now, digest);
  impl_->settle(now);
}

void Gossip::announce_name(TimePoint now, const NameRecord& name, std::uint64_t hlc_ms) {
  impl_->announcements.announce_name(now, name, hlc_ms);
  impl_->settle(now);
}

void Gossip::store_scanned(TimePoint now) {
  impl_->announcements.store_scanned(now);
  impl_->settle(now);
}

void Gossip::set_draining(TimePoint now, bool draining) {
  impl_->membership.set_draining(now, draining);
  impl_->settle(now);
}

void Gossip::leave(TimePoint now) {
  impl_->membership.leave(now);
  impl_->settle(now);
}

void Gossip::note_contact(TimePoint now, const NodeId& id) {
  impl_->membership.note_contact(now, id);
  impl_->settle(now);
}

// --- outputs -------------------------------------------------------------------------------------

std::optional<Transmit> Gossip::poll_transmit() {
  auto next = impl_->courier.poll_transmit();
  if (next) {
    ++impl_->counters.tx_packets;
    impl_->counters.tx_bytes += next->datagram.size();
  }
  return next;
}

std::optional<GossipEvent> Gossip::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  GossipEvent next = std::move(impl_->events.front());
  impl_->events.pop_front();
  return next;
}

std::optional<TimePoint> Gossip::poll_timeout() const {
  return earliest(earliest(impl_->membership.poll_timeout(), impl_->courier.poll_timeout()),
                  impl_->announcements.poll_timeout());
}

// --- memory reads --------------------------------------------------------------------------------

std::span<const NodeId> Gossip::live() const { return impl_->membership.table().live(); }
std::span<const NodeId> Gossip::registrar_candidates() const {
  return impl_->membership.table().candidates();
}
const Member* Gossip::find(const NodeId& id) const { return impl_->membership.table().find(id); }
std::vector<Member> Gossip::members() const { return impl_->membership.table().members(); }
std::uint8_t Gossip::cluster_version() const { return impl_->membership.table().cluster_version(); }

std::size_t Gossip::lookup(TimePoint now, const Digest& digest, std::span<NodeId> out) {
  return impl_->announcements.lookup(now, digest, out);
}
void Gossip::holders(const Digest& digest, std::vector<NodeId>& out) {
  impl_->announcements.holders(digest, out);
}
std::optional<std::uint64_t> Gossip::content_size(const Digest& digest) const {
  return impl_->announcements.content_size(digest);
}
std::optional<NameRecord> Gossip::find_name(std::uint64_t key64) const {
  return impl_->announcements.find_name(key64);
}

bool Gossip::index_ready(TimePoint now) const {
  return impl_->announcements.matched_root() || now - impl_->started >= index_ready_after ||
         (impl_->membership.without_hints() && !impl_->hints_expected);
}
std::uint64_t Gossip::index_root() const { return impl_->announcements.root(); }

std::uint64_t Gossip::state_hash() const {
  Bytes state;
  for (const Member& member : impl_->membership.table().members()) {
    append(state, encode(MemberRecords{false, {{member, {}}}}));
  }
  append_le(state, index_root());
  std::array<std::byte, 16> hash{};
  blake2b(hash, state);
  return load_le<std::uint64_t>(ByteView(hash).first(8));
}

std::vector<CloneSeen> Gossip::clones(TimePoint now) const { return impl_->clones.seen(now); }

GossipStats Gossip::stats() const {
  GossipStats stats = impl_->counters;
  const MemberTable& table = impl_->membership.table();
  stats.dropped_other += impl_->courier.dropped();
  stats.alive = table.count(MemberState::alive);
  stats.suspect = table.count(MemberState::suspect);
  stats.faulty = table.count(MemberState::faulty);
  stats.left = table.count(MemberState::left);
  stats.incompatible = table.incompatible();
  stats.index_digests = impl_->announcements.digest_count();
  stats.index_facts = impl_->announcements.fact_count();
  stats.announcement_lag = impl_->announcements.lag();
  return stats;
}

void Gossip::check_invariants() const {
  impl_->membership.check_invariants();
  impl_->courier.check_invariants();
  impl_->announcements.check_invariants();
  impl_->clones.check_invariants();
}

}  // namespace waggle::gossip
