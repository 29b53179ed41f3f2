// SWIM with Lifeguard: what each message and each timer does to the member table, and what is said
// about it.
#include "gossip/membership.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace waggle::gossip {
namespace {

using namespace std::chrono_literals;

constexpr Duration gossip_interval = 200ms;
/// After a quiet time the first news goes out as soon as what came with it is read: a death has
/// passed the whole cluster in a few round trips.
constexpr Duration gossip_delay = 5ms;
constexpr std::size_t gossip_fanout = 3;
constexpr Duration rejoin_interval = 30s;
constexpr Duration rejoin_interval_alone = 1s;
constexpr Duration housekeeping_interval = 60s;
/// Who counts as faulty for less long may be alive and only need to hear of it.
constexpr Duration gossip_to_the_dead = 60s;
/// In this time after the start tombstones of unknown members are taken over: a joiner's table
/// shall know whom to look for. Later they would travel between tables for ever.
constexpr Duration joining_time = 60s;
/// Tables are compared at most this often; while news is spreading they differ anyway.
constexpr Duration repair_interval_quiet = 1s;
constexpr Duration repair_interval_busy = 5s;
/// A timer served this late means that the process did not run: its silence condemns nobody.
constexpr Duration pause_recognised = 500ms;
/// How many answer a PING to the group, on average: one lost answer must not cost a second.
constexpr double group_answers_wanted = 3;
/// Who hears of a suspicion probes the suspect next, so many of them on average: without chance
/// meetings alone a few in a hundred would wait for their confirmations, up to six times as long.
constexpr double confirmers_wanted = 4;
constexpr std::size_t news_max = 32;       ///< per message, well inside the decoder's array limit
constexpr std::size_t small_cluster = 64;  ///< random choices walk all of it

}  // namespace

Membership::Membership(const MembershipConfig& config, const Member& self, TimePoint now)
    : config_(config),
      prng_(mix_seed(config.seed)),
      table_(config.id_key, self),
      prober_(now, mix_seed(config.seed + 1)),
      refutations_(now),
      started_(now),
      repair_records_(limits::repair_records_per_second, limits::repair_records_per_second, now) {
  timers_.arm(Timer::rejoin, now + rejoin_interval_alone);
  timers_.arm(Timer::housekeeping, now + housekeeping_interval);
}

// --- what is learnt ------------------------------------------------------------------------------

void Membership::learn(TimePoint now, const MemberUpdate& update, const NodeId& teller,
                       Source source) {
  const Member& claim = update.member;
  if (claim.id == table_.self().id) return dispute(now, claim);
  if (!table_.is_news(claim)) {
    const Member* known = table_.find(claim.id);
    if (claim.state == MemberState::suspect && known->state == MemberState::suspect &&
        known->incarnation == claim.incarnation) {
      learn_suspicion(now, update, teller);
    }
    return;
  }
  const Member* known = table_.find(claim.id);
  if (known == nullptr && !is_live(claim.state) && source != Source::itself &&
      now - started_ > joining_time) {
    return;
  }
  Member accepted = claim;
  if (source == Source::repair && claim.state == MemberState::faulty && known != nullptr &&
      is_live(known->state)) {
    // The teller may come from the other side of a partition: let the member itself have its say
    // first.
    accepted.state = MemberState::suspect;
    if (!table_.is_news(accepted)) return;
  }
  accept(now, accepted, update.accuser.is_zero() ? teller : update.accuser, source);
}

std::optional<std::uint64_t> Membership::up(const Member* member) const {
  const bool counts =
      member != nullptr && !member->is_self && is_live(member->state) && member->compatible;
  return counts ? std::optional(member->incarnation) : std::nullopt;
}

void Membership::accept(TimePoint now, const Member& record, const NodeId& accuser, Source source) {
  const NodeId& id = record.id;
  const Member* known = table_.find(id);
  const std::uint8_t version_before = table_.cluster_version();
  const auto up_before = up(known);
  const bool was_live = known != nullptr && is_live(known->state);
  if (was_live) hints_.remove_member(known->endpoints);
  const MemberTable::Outcome outcome = table_.apply(now, record);
  known = table_.find(id);
  const bool live_now = known != nullptr && is_live(known->state);
  if (live_now) hints_.add_member(known->endpoints);
  const bool added = outcome == MemberTable::Outcome::added;
  if (!added && outcome != MemberTable::Outcome::changed) return;
  if (!live_now) {
    prober_.remove(id);
    hurry_rejoin(now);
  } else if (!was_live && !has_left()) {
    prober_.add(id);
  }
  suspicions_.end(id);
  const bool suspect = record.state == MemberState::suspect;
  if (suspect) {
    suspicions_.start(now, id, accuser, table_.live().size());
    const auto members = static_cast<double>(table_.live().size());
    if (accuser != table_.self().id && prng_.chance(confirmers_wanted / members)) {
      prober_.hurry(id);
    }
  }
  // A joiner's first copy of the table is no news to anybody else.
  if (source != Source::repair || !added) spread(now, *known, suspect ? accuser : NodeId{});
  events_.emplace_back(
      RecordChanged{id, known->state, source == Source::itself, up_before, up(known)});
  note_version(version_before);
}

void Membership::note_version(std::uint8_t before) {
  const std::uint8_t version = table_.cluster_version();
  if (version != before) events_.emplace_back(VersionChanged{version});
}

void Membership::learn_suspicion(TimePoint now, const MemberUpdate& update, const NodeId& teller) {
  const NodeId accuser = update.accuser.is_zero() ? teller : update.accuser;
  if (suspicions_.confirm(update.member.id, accuser)) {
    spread(now, *table_.find(update.member.id), accuser);
  }
}

void Membership::spread(TimePoint now, const Member& record, const NodeId& accuser) {
  dissemination_.add({record.id, accuser}, encoded_bytes({record, accuser}));
  if (timers_.armed(Timer::gossip)) return;
  const TimePoint soon = now + gossip_delay;
  timers_.arm(Timer::gossip, gossiped_at_ ? std::max(soon, *gossiped_at_ + gossip_interval) : soon);
}

std::vector<MemberUpdate> Membership::take_news(std::size_t budget_bytes) {
  std::vector<MemberUpdate> updates;
  const std::size_t retransmits = Dissemination::retransmits(table_.live().size());
  for (const auto& news : dissemination_.take(budget_bytes, retransmits)) {
    updates.push_back({*table_.find(news.about), news.accuser});
  }
  return updates;
}

void Membership::dispute(TimePoint now, const Member& claim) {
  const Member& self = table_.self();
  if (has_left()) return;
  const bool is_news = table_.is_news(claim);
  const bool is_alive = claim.state == MemberState::alive;
  const bool ahead = is_news && claim.incarnation > self.incarnation;
  const bool beside =
      claim.incarnation == self.incarnation && is_alive && claim.endpoints != self.endpoints;
  if (ahead || beside) events_.emplace_back(ForeignClaim{claim.endpoints});
  if (!is_news) return;
  if (is_alive) {
    if (!refutations_.admit(now, claim.incarnation)) return;
  } else {
    prober_.note_refuted();
  }
  refute(now, claim.incarnation);
}

void Membership::refute(TimePoint now, std::uint64_t claimed_incarnation) {
  const std::uint64_t ours = table_.self().incarnation;
  raise_incarnation(now, table_.self(), std::max(claimed_incarnation, ours) + 1);
  refutations_.refuted(claimed_incarnation);
}

void Membership::raise_incarnation(TimePoint now, Member self, std::uint64_t incarnation) {
  self.incarnation = incarnation;
  table_.update_self(self);
  spread(now, self, {});
  events_.emplace_back(IncarnationRaised{incarnation});
  events_.emplace_back(RecordChanged{self.id, self.state, true, {}, {}});
}

void Membership::declare(TimePoint now, const NodeId& id, MemberState state) {
  const Member* known = table_.find(id);
  if (known == nullptr) return;
  MemberUpdate update{*known, state == MemberState::suspect ? table_.self().id : NodeId{}};
  update.member.state = state;
  learn(now, update, table_.self().id, Source::news);
}

void Membership::handle_self_record(TimePoint now, const Member& record) {
  learn(now, {record, {}}, record.id, Source::itself);
}

// --- messages ------------------------------------------------------------------------------------

void Membership::handle_ping(TimePoint now, const NodeId& from, const Endpoint& address,
                             const Ping& ping) {
  if (ping.self) handle_self_record(now, *ping.self);
  for (const MemberUpdate& update : ping.news) learn(now, update, from, Source::news);
  Ack ack;
  ack.seq = ping.seq;
  ack.table_hash = table_.hash();
  if (ping.self) ack.self = table_.self();
  ack.news = held_against(from, ping.self ? ping.self->incarnation : 0);
  GossipMessage message = std::move(ack);
  add_news(message, from);
  outgoing_.push_back({from, address, false, std::move(message)});
}

void Membership::handle_ack(TimePoint now, const NodeId& from, const Ack& ack) {
  if (ack.self) handle_self_record(now, *ack.self);
  for (const MemberUpdate& update : ack.news) learn(now, update, from, Source::news);
  prober_.handle_ack(ack.seq, ack.target.value_or(from));
  const auto relayed = relayed_.find(ack.seq);
  if (relayed != relayed_.end() && !ack.target && relayed->second.target == from) {
    Ack answer;
    answer.seq = relayed->second.asker_seq;
    answer.target = from;
    answer.table_hash = table_.hash();
    outgoing_.push_back({relayed->second.asker, std::nullopt, false, std::move(answer)});
    relayed_.erase(relayed);
  }
  maybe_repair(now, from, ack.table_hash);
}

void Membership::handle_ping_req(TimePoint now, const NodeId& from, const PingReq& request) {
  const Member* target = table_.find(request.target);
  if (target == nullptr || target->is_self || relayed_.size() >= limits::relayed_probes_max) {
    outgoing_.push_back({from, std::nullopt, false, Nack{request.seq}});
    return;
  }
  const Ping ping = make_ping(request.target);
  relayed_[ping.seq] = {from, request.target, request.seq, now + Prober::direct_timeout};
  outgoing_.push_back({request.target, std::nullopt, true, ping});
}

void Membership::handle_hashes(TimePoint now, const NodeId& from, const MemberHashes& message) {
  // Own hashes go first, so that the other side compares before our records change its table.
  if (message.want_hashes) {
    outgoing_.push_back({from, std::nullopt, false, MemberHashes{false, table_.bucket_hashes()}});
  }
  // Whole buckets, each time from another one on: what found no room comes with the next exchange.
  const auto room = static_cast<std::size_t>(std::max(0.0, repair_records_.available(now)));
  const std::vector<const Member*> records =
      table_.differing(message.hashes, static_cast<std::size_t>(prng_.below(member_buckets)), room);
  repair_records_.spend(now, static_cast<double>(records.size()));
  MemberRecords copy{true, {}};
  std::size_t bytes = records_overhead_bytes;
  for (const Member* record : records) {
    MemberUpdate update{*record, {}};
    const std::size_t size = encoded_bytes(update);
    if (bytes + size > config_.body_bytes_max || copy.records.size() >= news_max) {
      outgoing_.push_back({from, std::nullopt, false, std::exchange(copy, {true, {}})});
      bytes = records_overhead_bytes;
    }
    bytes += size;
    copy.records.push_back(std::move(update));
  }
  if (!copy.records.empty()) outgoing_.push_back({from, std::nullopt, false, std::move(copy)});
}

void Membership::handle_records(TimePoint now, const NodeId& from, const MemberRecords& message) {
  const Source source = message.repair ? Source::repair : Source::news;
  for (const MemberUpdate& update : message.records) learn(now, update, from, source);
}

void Membership::maybe_repair(TimePoint now, const NodeId& peer, std::uint64_t their_hash) {
  if (their_hash == table_.hash() || has_left() || !is_compatible(peer)) return;
  const Duration interval = dissemination_.empty() ? repair_interval_quiet : repair_interval_busy;
  if (repaired_at_ && *repaired_at_ + interval > now) return;
  repaired_at_ = now;
  outgoing_.push_back({peer, std::nullopt, false, MemberHashes{true, table_.bucket_hashes()}});
}

// --- what is said --------------------------------------------------------------------------------

std::vector<MemberUpdate> Membership::held_against(const NodeId& id,
                                                   std::uint64_t its_incarnation) const {
  const Member* known = table_.find(id);
  if (known == nullptr) return {};
  const bool ahead = its_incarnation != 0 && known->incarnation > its_incarnation;
  if (known->state == MemberState::alive && !ahead) return {};
  const bool suspect = known->state == MemberState::suspect;
  return {{*known, suspect ? table_.self().id : NodeId{}}};
}

Ping Membership::make_ping(const std::optional<NodeId>& to) {
  return make_ping(to, prober_.take_seq());
}

Ping Membership::make_ping(const std::optional<NodeId>& to, std::uint64_t seq) const {
  Ping ping;
  ping.seq = seq;
  ping.to = to;
  ping.table_hash = table_.hash();
  if (to) ping.news = held_against(*to, 0);
  return ping;
}

void Membership::add_news(GossipMessage& message, const NodeId& to) {
  if (dissemination_.empty() || !is_compatible(to)) return;
  const std::size_t used = encode(message).size();
  if (used >= config_.body_bytes_max) return;
  // The array's length may take two bytes more than it did.
  const std::size_t room = config_.body_bytes_max - used;
  auto news = take_news(room > 2 ? room - 2 : 0);
  auto* held = std::holds_alternative<Ping>(message) ? &std::get<Ping>(message).news
                                                     : &std::get<Ack>(message).news;
  std::move(news.begin(), news.end(), std::back_inserter(*held));
}

bool Membership::is_compatible(const NodeId& id) const {
  const Member* member = table_.find(id);
  return member == nullptr || member->compatible;
}

std::vector<NodeId> Membership::random_live(std::size_t count,
                                            const std::optional<NodeId>& except) {
  const auto live = table_.live();
  const auto may = [&](const NodeId& id) {
    return id != table_.self().id && id != except && is_compatible(id);
  };
  std::vector<NodeId> chosen;
  if (live.size() <= small_cluster) {
    std::copy_if(live.begin(), live.end(), std::back_inserter(chosen), may);
    prng_.shuffle(std::span(chosen));
    chosen.resize(std::min(count, chosen.size()));
    return chosen;
  }
  for (std::size_t tries = 0; tries < 8 * count && chosen.size() < count; ++tries) {
    const NodeId& id = live[static_cast<std::size_t>(prng_.below(live.size()))];
    if (may(id) && std::find(chosen.begin(), chosen.end(), id) == chosen.end()) {
      chosen.push_back(id);
    }
  }
  return chosen;
}

// --- inputs of the owner -------------------------------------------------------------------------

void Membership::set_hints(TimePoint now, std::vector<Endpoint> hints) {
  if (hints_.set(hints, table_.self().endpoints)) {
    for (const NodeId& id : table_.live()) {
      if (id != table_.self().id) hints_.add_member(table_.find(id)->endpoints);
    }
  }
  if (has_left()) return;
  ping_hints(limits::hints_at_once);
  if (is_alone()) ping_group();
  hurry_rejoin(now);
}

void Membership::hurry_rejoin(TimePoint now) {
  // Never later than it was: hints may be renewed more often than a rejoin round comes.
  const auto due = timers_.deadline(Timer::rejoin);
  const TimePoint alone_due = now + rejoin_interval_alone;
  if (is_alone() && !has_left() && (!due || *due > alone_due))
    timers_.arm(Timer::rejoin, alone_due);
}

void Membership::set_draining(TimePoint now, bool draining) {
  Member self = table_.self();
  if (self.draining == draining || has_left()) return;
  self.draining = draining;
  raise_incarnation(now, self, self.incarnation + 1);
}

void Membership::set_keys(TimePoint now, const KeyNames& keys) {
  Member self = table_.self();
  if (self.keys == keys || has_left()) return;
  self.keys = keys;
  raise_incarnation(now, self, self.incarnation + 1);
}

void Membership::leave(TimePoint now) {
  if (has_left()) return;
  Member self = table_.self();
  self.state = MemberState::left;
  table_.update_self(self);
  spread(now, self, {});
  prober_.stop();
  suspicions_.clear();
  timers_.disarm(Timer::rejoin);
  events_.emplace_back(RecordChanged{self.id, self.state, true, {}, {}});
  // In a large cluster those who are told tell the others.
  for (const NodeId& id : random_live(limits::leave_told_max, std::nullopt)) {
    outgoing_.push_back({id, std::nullopt, false, MemberRecords{false, {{self, {}}}}});
  }
}

void Membership::note_contact(TimePoint now, const NodeId& id) {
  if (!suspicions_.note_contact(now, id)) return;
  outgoing_.push_back({id, std::nullopt, false, make_ping(id)});  // it carries the suspicion
}

std::optional<NodeId> Membership::suspect_at(const Endpoint& endpoint, const NodeId& but) const {
  for (const NodeId& id : suspicions_.suspects()) {
    const auto& endpoints = table_.find(id)->endpoints;
    const bool is_there =
        std::find(endpoints.begin(), endpoints.end(), endpoint) != endpoints.end();
    if (id != but && is_there) return id;
  }
  return std::nullopt;
}

// --- time ----------------------------------------------------------------------------------------

void Membership::handle_timeout(TimePoint now) {
  forgive_pause(now);
  step_prober(now);
  step_relayed(now);
  step_suspicions(now);
  if (const auto claimed = refutations_.take_due(now)) {
    if (*claimed > table_.self().incarnation && !has_left()) refute(now, *claimed);
  }
  while (const auto timer = timers_.pop_due(now)) {
    switch (*timer) {
      case Timer::gossip:
        step_gossip(now);
        break;
      case Timer::rejoin:
        step_rejoin(now);
        break;
      case Timer::housekeeping:
        housekeep(now);
        break;
      case Timer::count:
        break;
    }
  }
}

void Membership::forgive_pause(TimePoint now) {
  const auto expected = poll_timeout();
  if (!expected || now - *expected < pause_recognised) return;
  prober_.abandon();
  suspicions_.extend_all(now - *expected);
}

void Membership::step_prober(TimePoint now) {
  while (const auto step = prober_.next_step(now)) {
    const Member* target = table_.find(step->target);
    WAGGLE_ASSERT(target != nullptr);
    switch (step->kind) {
      case Prober::StepKind::ping:
        outgoing_.push_back(
            {step->target, std::nullopt, false, make_ping(step->target, step->seq)});
        break;
      case Prober::StepKind::ask_helpers:
        ask_helpers(step->target, step->seq);
        ping_everywhere(*target, step->seq);
        events_.emplace_back(FallbackPing{step->target, step->seq});
        break;
      case Prober::StepKind::failed:
        judge_failed(now, step->target);
        events_.emplace_back(Unreached{step->target});
        break;
    }
  }
}

void Membership::judge_failed(TimePoint now, const NodeId& target) {
  const NodeId& self = table_.self().id;
  if (!suspicions_.contains(target)) {
    declare(now, target, MemberState::suspect);
  } else if (suspicions_.confirm(target, self)) {
    spread(now, *table_.find(target), self);
  }
}

void Membership::ask_helpers(const NodeId& target, std::uint64_t seq) {
  // Not suspects: when many die at once, helpers that cannot answer would make everybody doubt its
  // own health and probe less often.
  std::vector<NodeId> helpers = random_live(2 * Prober::helpers_wanted, target);
  std::erase_if(helpers, [&](const NodeId& id) { return suspicions_.contains(id); });
  helpers.resize(std::min(helpers.size(), Prober::helpers_wanted));
  prober_.set_helpers(helpers.size());
  for (const NodeId& helper : helpers) {
    outgoing_.push_back({helper, std::nullopt, false, PingReq{seq, target}});
  }
}

void Membership::ping_everywhere(const Member& member, std::uint64_t seq) {
  for (const Endpoint& endpoint : member.endpoints) {
    outgoing_.push_back({member.id, endpoint, true, make_ping(member.id, seq)});
  }
}

void Membership::step_relayed(TimePoint now) {
  while (!relayed_.empty() && relayed_.begin()->second.nack_at <= now) {
    const Relayed relayed = relayed_.begin()->second;
    relayed_.erase(relayed_.begin());
    outgoing_.push_back({relayed.asker, std::nullopt, false, Nack{relayed.asker_seq}});
  }
}

void Membership::step_suspicions(TimePoint now) {
  while (const auto id = suspicions_.due(now)) declare(now, *id, MemberState::faulty);
}

void Membership::step_gossip(TimePoint now) {
  if (dissemination_.empty()) return;
  gossiped_at_ = now;
  for (const NodeId& id : random_live(gossip_fanout, std::nullopt)) {
    MemberRecords message{false, take_news(config_.body_bytes_max - records_overhead_bytes)};
    if (message.records.empty()) break;
    outgoing_.push_back({id, std::nullopt, false, std::move(message)});
  }
  // A PING tells who was just declared faulty what is held against it: the living refute.
  const Member* dead = table_.some_faulty(now - gossip_to_the_dead, prng_.next());
  if (dead != nullptr && !has_left()) ping_everywhere(*dead, prober_.take_seq());
  if (is_alone()) {
    // Nobody to tell: whoever comes compares tables.
    while (!take_news(config_.body_bytes_max).empty()) {
    }
    return;
  }
  timers_.arm(Timer::gossip, now + gossip_interval);
}

void Membership::step_rejoin(TimePoint now) {
  if (has_left()) return;
  timers_.arm(Timer::rejoin, now + (is_alone() ? rejoin_interval_alone : rejoin_interval));
  ping_hints(is_alone() ? limits::hints_at_once : 1);
  ping_group();
  const Member* dead = table_.some_faulty(TimePoint::min(), prng_.next());
  if (dead != nullptr) ping_everywhere(*dead, prober_.take_seq());
}

void Membership::ping_hints(std::size_t count) {
  for (const Endpoint& hint : hints_.pick(prng_, count)) {
    outgoing_.push_back({std::nullopt, hint, true, make_ping(std::nullopt)});
  }
}

void Membership::ping_group() {
  if (!config_.join_group) return;
  outgoing_.push_back({std::nullopt, config_.join_group, true, make_ping(std::nullopt)});
}

bool Membership::answers_group_ping() {
  return prng_.chance(group_answers_wanted / static_cast<double>(table_.live().size()));
}

void Membership::housekeep(TimePoint now) {
  timers_.arm(Timer::housekeeping, now + housekeeping_interval);
  for (const NodeId& id : table_.expire(now)) {
    dissemination_.remove(id);
    events_.emplace_back(RecordForgotten{id});
  }
}

// --- outputs -------------------------------------------------------------------------------------

std::optional<Outgoing> Membership::poll_outgoing() {
  if (outgoing_.empty()) return std::nullopt;
  Outgoing next = std::move(outgoing_.front());
  outgoing_.pop_front();
  return next;
}

std::optional<MembershipEvent> Membership::poll_event() {
  if (events_.empty()) return std::nullopt;
  MembershipEvent next = events_.front();
  events_.pop_front();
  return next;
}

std::optional<TimePoint> Membership::poll_timeout() const {
  auto next = earliest(timers_.next(), prober_.poll_timeout());
  next = earliest(next, suspicions_.next_deadline());
  next = earliest(next, refutations_.due());
  if (!relayed_.empty()) next = earliest(next, relayed_.begin()->second.nack_at);
  return next;
}

void Membership::check_invariants() const {
  table_.check_invariants();
  dissemination_.check_invariants();
  WAGGLE_ASSERT(relayed_.size() <= limits::relayed_probes_max);
  WAGGLE_ASSERT(hints_.size() <= limits::join_hints_max);
  suspicions_.check_invariants();
  WAGGLE_ASSERT(suspicions_.size() == table_.count(MemberState::suspect) || has_left());
  for (const NodeId& id : table_.live()) {
    const Member& member = *table_.find(id);
    WAGGLE_ASSERT(member.state == MemberState::suspect || !suspicions_.contains(id));
  }
  if (!has_left()) WAGGLE_ASSERT(prober_.target_count() + 1 == table_.live().size());
}

}  // namespace waggle::gossip
