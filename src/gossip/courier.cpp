// Session set-up, parking, sealing and opening.
#include "gossip/courier.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "gossip/error.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace waggle::gossip {
namespace {

/// Below the smallest IPv6 MTU two records of the largest size would not fit one PING.
constexpr std::size_t packet_bytes_min = 1280;
/// Who has payload waiting is asked for a session again after so long, then after twice as long
/// each time: a lost packet costs little, and who does not answer is not asked often.
constexpr Duration parked_retry = limits::parked_for / 32;
/// A member whose multicasts cannot be read yet is asked for its boot this often.
constexpr Duration boot_question_interval = std::chrono::seconds(1);

Boot fresh_boot(RandomSource& random) {
  std::array<std::byte, 8> bytes{};
  random.fill(bytes);
  return load_le<Boot>(bytes);
}

bool has_endpoint(const Member& member, const Endpoint& endpoint) {
  return std::find(member.endpoints.begin(), member.endpoints.end(), endpoint) !=
         member.endpoints.end();
}

bool is_probe(const GossipMessage& message) {
  const PacketType type = type_of(message);
  return type == PacketType::ping || type == PacketType::ack || type == PacketType::ping_req ||
         type == PacketType::nack;
}

const std::optional<Member>* self_record(const GossipMessage& message) {
  if (const auto* ping = std::get_if<Ping>(&message)) return &ping->self;
  if (const auto* ack = std::get_if<Ack>(&message)) return &ack->self;
  return nullptr;
}

bool is_for_other(const GossipMessage& message, const NodeId& self) {
  const auto* ping = std::get_if<Ping>(&message);
  return ping != nullptr && ping->to && *ping->to != self;
}

}  // namespace

std::size_t Courier::body_bytes_max(std::size_t packet_bytes) {
  return std::clamp(packet_bytes, packet_bytes_min, limits::datagram_bytes_max) -
         limits::ip_udp_header_bytes - seal_bytes;
}

Courier::Courier(const GossipConfig& config, Membership& membership, RandomSource& random)
    : membership_(membership),
      self_(membership.table().self().id),
      body_bytes_max_(body_bytes_max(config.packet_bytes)),
      sessions_(random),
      seal_(config.keys, config.cluster_name, self_, fresh_boot(random)),
      group_(config.multicast_group),
      introductions_(limits::introductions_per_second, limits::introductions_per_second),
      boot_questions_(limits::boot_questions_per_second, limits::boot_questions_per_second) {}

// --- receiving -----------------------------------------------------------------------------------

Result<std::optional<Received>> Courier::receive(TimePoint now, const Endpoint& from,
                                                 ByteView datagram) {
  if (datagram.size() > limits::datagram_bytes_max) return GossipError::too_large;
  auto packet = seal_.open(datagram);
  if (!packet) return packet.error();
  const PacketHeader& header = packet->header;
  const bool is_own = header.sender == self_.prefix();
  if (is_own && header.boot == seal_.boot()) {
    if (header.multicast) return std::optional<Received>{};  // the group hears itself
    return GossipError::no_session;                          // an own PING to an own address
  }
  const Sessions::Standing standing = sessions_.standing(header);
  if (is_own || standing == Sessions::Standing::replaced) {
    auto message = decode(header.type, packet->body);
    if (!message) return message.error();
    return meet_double(now, from, header, std::move(*message));
  }
  if (standing == Sessions::Standing::current && !sessions_.accept_counter(now, header)) {
    return GossipError::replayed;
  }
  auto message = decode(header.type, packet->body);
  if (!message) return message.error();
  if (is_for_other(*message, self_)) return GossipError::no_session;
  const auto* record = self_record(*message);
  if (record != nullptr && *record && (*record)->id.prefix() != header.sender) {
    return GossipError::id_mismatch;
  }
  // All hear it; some three are to answer, however many there are.
  if (header.multicast && header.type == PacketType::ping && !membership_.answers_group_ping()) {
    return std::optional<Received>{};
  }
  return standing == Sessions::Standing::current
             ? read(now, from, header, std::move(*message))
             : read_stranger(now, from, header, std::move(*message));
}

Result<std::optional<Received>> Courier::read(TimePoint now, const Endpoint& from,
                                              const PacketHeader& header, GossipMessage&& message) {
  const NodeId id = sessions_.node(header);
  if (const auto* ack = std::get_if<Ack>(&message)) {
    const auto awaited = sessions_.take_awaited(now, ack->seq);
    const Member* member = membership_.table().find(id);
    if (awaited && member != nullptr && has_endpoint(*member, from)) sessions_.set_path(id, from);
    settle_ack(now, id, *ack, awaited && !awaited->confirm);
  }
  return std::optional(Received{id, std::move(message), header.multicast});
}

Result<std::optional<Received>> Courier::read_stranger(TimePoint now, const Endpoint& from,
                                                       const PacketHeader& header,
                                                       GossipMessage&& message) {
  if (auto* ping = std::get_if<Ping>(&message))
    return admit_ping(now, from, header, std::move(*ping));
  if (auto* ack = std::get_if<Ack>(&message)) return admit_ack(now, from, header, std::move(*ack));
  if (header.multicast) ask_boot(now, header);
  return GossipError::no_session;
}

void Courier::ask_boot(TimePoint now, const PacketHeader& header) {
  // Live members are sorted by id, and the header's sender is how an id begins.
  NodeId first;
  store_le(MutableByteView(first.bytes).first(8), header.sender);
  const auto live = membership_.table().live();
  const auto it = std::lower_bound(live.begin(), live.end(), first);
  if (it == live.end() || it->prefix() != header.sender) return;
  std::erase_if(boot_asked_,
                [&](const auto& asked) { return asked.second + boot_question_interval <= now; });
  if (boot_asked_.contains(*it) || !boot_questions_.take(now)) return;
  boot_asked_.emplace(*it, now);
  send_ping(now, {*it, std::nullopt, true, {}}, membership_.make_ping(*it), false);
}

Result<std::optional<Received>> Courier::admit_ping(TimePoint now, const Endpoint& from,
                                                    const PacketHeader& header, Ping&& ping) {
  if (!ping.self) return GossipError::no_session;
  const NodeId id = ping.self->id;
  if (!header.directed || !sessions_.proves(now, header, ping.echo)) {
    // A recording of an earlier boot gets here too, as often as it is sent.
    if (!introductions_.take(now)) return GossipError::over_rate;
    Ack answer;
    answer.seq = ping.seq;
    answer.cookie = sessions_.cookie(now, header);
    answer.table_hash = membership_.table().hash();
    answer.self = membership_.table().self();
    transmit(from, Destination{id, header.boot}, std::move(answer));
    return std::optional<Received>{};
  }
  if (!install(now, from, header, *ping.self)) return GossipError::no_session;
  // It could direct this PING, so it has our boot.
  sessions_.set_mutual(id, true);
  flush(id);
  return std::optional(Received{id, std::move(ping)});
}

Result<std::optional<Received>> Courier::admit_ack(TimePoint now, const Endpoint& from,
                                                   const PacketHeader& header, Ack&& ack) {
  if (!ack.self || ack.target) return GossipError::no_session;
  const auto awaited = sessions_.take_awaited(now, ack.seq);
  const NodeId id = ack.self->id;
  if (!awaited || (awaited->target && *awaited->target != id)) return GossipError::no_session;
  if (!install(now, from, header, *ack.self)) return GossipError::no_session;
  settle_ack(now, id, ack, !awaited->confirm);
  return std::optional(Received{id, std::move(ack)});
}

Result<std::optional<Received>> Courier::meet_double(TimePoint now, const Endpoint& from,
                                                     const PacketHeader& header,
                                                     GossipMessage&& message) {
  const NodeId id = header.sender == self_.prefix() ? self_ : sessions_.node(header);
  if (id != self_ && *sessions_.installed(id) + limits::double_grace > now) {
    return GossipError::replayed;  // sent before its node restarted
  }
  const auto* record = self_record(message);
  if (record == nullptr || (*record && (*record)->id != id) || is_for_other(message, self_)) {
    return GossipError::replayed;
  }
  if (auto* ping = std::get_if<Ping>(&message)) {
    return meet_double(now, from, header, id, std::move(*ping));
  }
  return meet_double(now, from, header, id, std::move(std::get<Ack>(message)));
}

Result<std::optional<Received>> Courier::meet_double(TimePoint now, const Endpoint& from,
                                                     const PacketHeader& header, const NodeId& id,
                                                     Ping&& ping) {
  if (!introductions_.take(now)) return GossipError::over_rate;
  Ack answer;
  answer.seq = ping.seq;
  answer.table_hash = ping.table_hash;  // nothing is repaired with it
  answer.self = membership_.table().self();
  if (header.directed && sessions_.proves(now, header, ping.echo)) {
    if (id != self_ && sessions_.revive(now, header, from)) {
      sessions_.set_mutual(id, true);
      flush(id);
      return std::optional(Received{id, std::move(ping)});
    }
    note_double(id, from, ping.self);
    answer.news = membership_.held_against(id, ping.self ? ping.self->incarnation : 0);
  } else {
    answer.cookie = sessions_.cookie(now, header);
  }
  transmit(from, Destination{id, header.boot}, answer);
  return std::optional<Received>{};
}

Result<std::optional<Received>> Courier::meet_double(TimePoint now, const Endpoint& from,
                                                     const PacketHeader& header, const NodeId& id,
                                                     Ack&& ack) {
  const auto awaited = sessions_.take_awaited(now, ack.seq);
  if (!awaited || ack.target || (awaited->target && *awaited->target != id)) {
    return GossipError::replayed;
  }
  if (id == self_) {
    if (ack.cookie != 0 && !awaited->confirm) prove_to_double(now, from, header, ack.cookie);
  } else {
    if (awaited->sent <= *sessions_.installed(id)) return GossipError::replayed;
    if (sessions_.revive(now, header, from)) {
      settle_ack(now, id, ack, !awaited->confirm);
      return std::optional(Received{id, std::move(ack)});
    }
    // One of the two is there, so the probe has not failed.
    membership_.handle_fallback_ack(ack.seq, id);
  }
  note_double(id, from, ack.self);
  return std::optional<Received>{};
}

void Courier::prove_to_double(TimePoint now, const Endpoint& from, const PacketHeader& header,
                              std::uint64_t cookie) {
  Ping proof = membership_.make_ping(self_);
  proof.echo = cookie;
  proof.self = membership_.table().self();
  sessions_.await(now, proof.seq, self_, true);
  transmit(from, Destination{self_, header.boot}, proof);
}

void Courier::note_double(const NodeId& id, const Endpoint& from,
                          const std::optional<Member>& record) {
  double_ =
      CloneSeen{id, id == self_ ? membership_.table().self().endpoints.front() : sessions_.path(id),
                from, record ? record->name : std::string()};
}

bool Courier::install(TimePoint now, const Endpoint& from, const PacketHeader& header,
                      const Member& record) {
  membership_.handle_self_record(now, record);
  if (membership_.table().find(record.id) == nullptr) return false;  // the table is full
  return sessions_.install(now, record.id, header,
                           has_endpoint(record, from) ? from : record.endpoints.front());
}

void Courier::settle_ack(TimePoint now, const NodeId& id, const Ack& ack, bool may_confirm) {
  if (ack.cookie == 0) {
    sessions_.set_mutual(id, true);
    flush(id);
    return;
  }
  sessions_.set_mutual(id, false);
  if (!may_confirm) return;
  Ping ping = membership_.make_ping(id);
  // In a large cluster a probe that found its target alive needs no session: nearly every member
  // is probed for the first time in many minutes.
  const bool is_small = membership_.table().live().size() <= limits::sessions_with_all_below;
  if (!is_small && !parked_.contains(id) && ping.news.empty()) return;
  ping.echo = ack.cookie;
  send_ping(now, {id, std::nullopt, false, {}}, std::move(ping), true);
}

// --- sending -------------------------------------------------------------------------------------

void Courier::send(TimePoint now, Outgoing&& outgoing) {
  if (auto* ping = std::get_if<Ping>(&outgoing.message)) {
    send_ping(now, outgoing, std::move(*ping), false);
    return;
  }
  if (is_group(outgoing)) {
    transmit(*group_, std::nullopt, std::move(outgoing.message), Cast::multicast);
    return;
  }
  WAGGLE_ASSERT(outgoing.to);  // only PINGs are for whoever answers
  const NodeId& to = *outgoing.to;
  const Member* member = membership_.table().find(to);
  if (member != nullptr && !member->compatible && !is_probe(outgoing.message)) return;
  const auto destination = sessions_.destination(to);
  if (std::holds_alternative<Ack>(outgoing.message) && destination) {
    const auto address = outgoing.address ? outgoing.address : address_of(to);
    if (address) transmit(*address, destination, std::move(outgoing.message));
    return;
  }
  const auto address = address_of(to);
  if (!address) return;
  if (!destination || !sessions_.is_mutual(to)) {
    park(now, to, std::move(outgoing.message));
  } else {
    transmit(*address, destination, std::move(outgoing.message));
  }
}

bool Courier::is_group(const Outgoing& outgoing) const {
  return !outgoing.to && group_ && outgoing.address == group_;
}

void Courier::send_ping(TimePoint now, const Outgoing& outgoing, Ping&& ping, bool confirm) {
  std::optional<Destination> destination;
  if (outgoing.to && !outgoing.undirected) destination = sessions_.destination(*outgoing.to);
  const auto address = outgoing.address ? outgoing.address : address_of(*outgoing.to);
  if (!address) return;
  const bool mutual = destination && sessions_.is_mutual(*outgoing.to);
  if (!mutual) ping.self = membership_.table().self();
  const bool to_group = is_group(outgoing);
  sessions_.await(now, ping.seq, outgoing.to, confirm, to_group ? limits::group_answers_max : 1);
  GossipMessage message = std::move(ping);
  if (mutual) membership_.add_news(message, *outgoing.to);
  transmit(*address, destination, std::move(message), to_group ? Cast::multicast : Cast::unicast);
}

void Courier::park(TimePoint now, const NodeId& to, GossipMessage&& message) {
  auto it = parked_.find(to);
  if (it == parked_.end()) {
    if (parked_.size() >= limits::parked_members_max) {
      ++dropped_;
      return;
    }
    it = parked_.emplace(to, Parked{now + limits::parked_for, {}, parked_retry, {}}).first;
    ask_for_session(now, *it);
  }
  if (it->second.messages.size() >= limits::parked_payloads_per_member) {
    ++dropped_;
    return;
  }
  it->second.messages.push_back(std::move(message));
}

void Courier::ask_for_session(TimePoint now, std::pair<const NodeId, Parked>& waiting) {
  Parked& parked = waiting.second;
  parked.ask_at = std::min(now + parked.ask_again, parked.until);
  parked.ask_again *= 2;
  parked_due_.emplace(parked.ask_at, waiting.first);
  send_ping(now, {waiting.first, std::nullopt, true, {}}, membership_.make_ping(waiting.first),
            false);
}

void Courier::flush(const NodeId& id) {
  const auto it = parked_.find(id);
  if (it == parked_.end()) return;
  const auto address = address_of(id);
  for (GossipMessage& message : it->second.messages) {
    if (address) transmit(*address, sessions_.destination(id), std::move(message));
  }
  unpark(it);
}

void Courier::unpark(std::map<NodeId, Parked>::iterator it) {
  parked_due_.erase({it->second.ask_at, it->first});
  parked_.erase(it);
}

void Courier::forget(const NodeId& id) {
  sessions_.erase(id);
  const auto it = parked_.find(id);
  if (it == parked_.end()) return;
  dropped_ += it->second.messages.size();
  unpark(it);
}

void Courier::ask_double(TimePoint now, const std::vector<Endpoint>& endpoints) {
  if (double_asked_ && *double_asked_ + limits::double_asked_every > now) return;
  double_asked_ = now;
  for (const Endpoint& endpoint : endpoints) {
    Ping ping = membership_.make_ping(self_);
    ping.self = membership_.table().self();
    sessions_.await(now, ping.seq, self_, false);
    transmit(endpoint, std::nullopt, ping);
  }
}

bool Courier::is_at(const NodeId& id, const Endpoint& endpoint) const {
  if (id == self_) return has_endpoint(membership_.table().self(), endpoint);
  return sessions_.is_mutual(id) && sessions_.path(id) == endpoint;
}

void Courier::handle_timeout(TimePoint now) {
  while (!parked_due_.empty() && parked_due_.begin()->first <= now) {
    const auto it = parked_.find(parked_due_.begin()->second);
    if (it->second.until <= now) {
      dropped_ += it->second.messages.size();
      unpark(it);
      continue;
    }
    // Any of the three packets may have been lost.
    parked_due_.erase(parked_due_.begin());
    ask_for_session(now, *it);
  }
}

std::optional<Endpoint> Courier::address_of(const NodeId& id) const {
  const Member* member = membership_.table().find(id);
  if (member == nullptr) return std::nullopt;
  if (sessions_.destination(id) && has_endpoint(*member, sessions_.path(id)))
    return sessions_.path(id);
  return member->endpoints.front();
}

void Courier::transmit(const Endpoint& to, const std::optional<Destination>& destination,
                       GossipMessage&& message, Cast cast) {
  if (auto* ping = std::get_if<Ping>(&message)) ping->load = load_;
  if (auto* ack = std::get_if<Ack>(&message)) ack->load = load_;
  const Bytes body = encode(message);
  WAGGLE_ASSERT(body.size() <= body_bytes_max_);
  auto& queue = is_probe(message) ? probes_ : others_;
  queue.push_back({to, seal_.seal(type_of(message), destination, body, cast)});
}

std::optional<Transmit> Courier::poll_transmit() {
  auto& queue = probes_.empty() ? others_ : probes_;
  if (queue.empty()) return std::nullopt;
  Transmit next = std::move(queue.front());
  queue.pop_front();
  return next;
}

std::optional<TimePoint> Courier::poll_timeout() const {
  if (parked_due_.empty()) return std::nullopt;
  return parked_due_.begin()->first;
}

void Courier::check_invariants() const {
  sessions_.check_invariants();
  WAGGLE_ASSERT(parked_.size() <= limits::parked_members_max);
  WAGGLE_ASSERT(parked_due_.size() == parked_.size());
  for (const auto& [id, parked] : parked_) {
    WAGGLE_ASSERT(parked_due_.contains({parked.ask_at, id}));
    WAGGLE_ASSERT(parked.messages.size() <= limits::parked_payloads_per_member);
  }
}

}  // namespace waggle::gossip
