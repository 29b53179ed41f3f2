// SWIM with Lifeguard: what each message and each timer does to the member table, and what is said
// about it.
#include "gossip/membership.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

using namespace std::chrono_literals;

constexpr Duration gossip_interval = 200ms;
constexpr std::size_t gossip_fanout = 3;
constexpr Duration rejoin_interval = 30s;
constexpr Duration rejoin_interval_alone = 1s;
constexpr Duration housekeeping_interval = 60s;
constexpr Duration nudge_interval = 1s;
/// Tables are compared at most this often; while news is spreading they differ anyway.
constexpr Duration repair_interval_quiet = 1s;
constexpr Duration repair_interval_busy = 5s;
/// A timer served this late means that the process did not run: its silence condemns nobody.
constexpr Duration pause_recognised = 500ms;
/// How many answer a PING to the group, on average: one lost answer must not cost a second.
constexpr double group_answers_wanted = 3;
constexpr std::size_t news_max = 32;  ///< per message, well inside the decoder's array limit

bool is_live(MemberState state) {
  return state == MemberState::alive || state == MemberState::suspect;
}

}  // namespace

Membership::Membership(const MembershipConfig& config, const Member& self, TimePoint now)
    : config_(config),
      prng_(mix_seed(config.seed)),
      table_(config.id_key, self),
      prober_(now, mix_seed(config.seed + 1)),
      repair_tokens_(static_cast<double>(limits::repair_records_per_second)),
      repair_tokens_at_(now) {
  timers_.arm(Timer::rejoin, now + rejoin_interval_alone);
  timers_.arm(Timer::housekeeping, now + housekeeping_interval);
}

// --- what is learnt ------------------------------------------------------------------------------

void Membership::learn(TimePoint now, const MemberUpdate& update, const NodeId& teller,
                       Source source) {
  const Member& claim = update.member;
  if (!table_.is_news(claim)) {
    const Member* known = table_.find(claim.id);
    if (claim.state == MemberState::suspect && known->state == MemberState::suspect &&
        known->incarnation == claim.incarnation) {
      learn_suspicion(now, update, teller);
    }
    return;
  }
  if (claim.id == table_.self().id) {
    refute(now, claim.incarnation);
    return;
  }
  const Member* known = table_.find(claim.id);
  Member accepted = claim;
  if (source == Source::repair && claim.state == MemberState::faulty && known != nullptr &&
      is_live(known->state)) {
    // The teller may come from the other side of a partition: let the member itself have its say
    // first.
    accepted.state = MemberState::suspect;
    if (!table_.is_news(accepted)) return;
  }
  const MemberTable::Outcome outcome = table_.apply(now, accepted);
  if (outcome != MemberTable::Outcome::added && outcome != MemberTable::Outcome::changed) return;
  const NodeId accuser = update.accuser.is_zero() ? teller : update.accuser;
  changed(now, accepted, accuser, source, outcome == MemberTable::Outcome::added);
}

void Membership::learn_suspicion(TimePoint now, const MemberUpdate& update, const NodeId& teller) {
  const auto it = suspected_.find(update.member.id);
  if (it == suspected_.end()) return;
  const NodeId accuser = update.accuser.is_zero() ? teller : update.accuser;
  if (it->second.suspicion.confirm(accuser)) {
    spread(now, {*table_.find(update.member.id), accuser});
  }
}

void Membership::changed(TimePoint now, const Member& record, const NodeId& accuser, Source source,
                         bool added) {
  const NodeId& id = record.id;
  if (is_live(record.state)) {
    if (!has_left()) prober_.add(id);
  } else {
    prober_.remove(id);
    hurry_rejoin(now);
  }
  suspected_.erase(id);
  const bool suspect = record.state == MemberState::suspect;
  if (suspect) suspected_.emplace(id, Suspected{Suspicion(now, accuser, table_.live().size()), {}});
  // A joiner's first copy of the table is no news to anybody else.
  if (source != Source::repair || !added) spread(now, {record, suspect ? accuser : NodeId{}});
  events_.emplace_back(RecordChanged{id, source == Source::itself});
}

void Membership::spread(TimePoint now, const MemberUpdate& update) {
  dissemination_.add(update);
  if (!timers_.armed(Timer::gossip)) timers_.arm(Timer::gossip, now + gossip_interval);
}

void Membership::refute(TimePoint now, std::uint64_t claimed_incarnation) {
  if (has_left()) return;
  prober_.note_refuted();
  raise_incarnation(now, table_.self(),
                    std::max(claimed_incarnation, table_.self().incarnation) + 1);
}

void Membership::raise_incarnation(TimePoint now, Member self, std::uint64_t incarnation) {
  self.incarnation = incarnation;
  table_.update_self(self);
  spread(now, {self, {}});
  events_.emplace_back(IncarnationRaised{incarnation});
  events_.emplace_back(RecordChanged{self.id, true});
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
  add_news(message);
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
  const double rate = static_cast<double>(limits::repair_records_per_second);
  repair_tokens_ = std::min(rate, repair_tokens_ + rate * to_seconds(now - repair_tokens_at_));
  repair_tokens_at_ = now;
  const std::vector<Member> records = table_.differing(message.hashes);
  if (repair_tokens_ < static_cast<double>(records.size())) return;
  repair_tokens_ -= static_cast<double>(records.size());
  MemberRecords copy{true, {}};
  std::size_t bytes = records_overhead_bytes;
  for (const Member& record : records) {
    MemberUpdate update{record, {}};
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
  if (their_hash == table_.hash() || has_left()) return;
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

void Membership::add_news(GossipMessage& message) {
  const std::size_t used = encode(message).size();
  if (dissemination_.empty() || used >= config_.body_bytes_max) return;
  // The array's length may take two bytes more than it did.
  const std::size_t room = config_.body_bytes_max - used;
  auto news = dissemination_.take(room > 2 ? room - 2 : 0,
                                  Dissemination::retransmits(table_.live().size()));
  auto* held = std::holds_alternative<Ping>(message) ? &std::get<Ping>(message).news
                                                     : &std::get<Ack>(message).news;
  held->insert(held->end(), news.begin(), news.end());
}

std::vector<NodeId> Membership::random_live(std::size_t count,
                                            const std::optional<NodeId>& except) {
  std::vector<NodeId> pool;
  for (const NodeId& id : table_.live()) {
    if (id != table_.self().id && id != except) pool.push_back(id);
  }
  count = std::min(count, pool.size());
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(pool[i], pool[i + static_cast<std::size_t>(prng_.below(pool.size() - i))]);
  }
  pool.resize(count);
  return pool;
}

// --- inputs of the owner -------------------------------------------------------------------------

void Membership::set_hints(TimePoint now, std::vector<Endpoint> hints) {
  const auto& own = table_.self().endpoints;
  hints_.clear();
  for (const Endpoint& hint : hints) {
    const bool is_own = std::find(own.begin(), own.end(), hint) != own.end();
    const bool repeated = std::find(hints_.begin(), hints_.end(), hint) != hints_.end();
    if (!is_own && !repeated && hints_.size() < limits::join_hints_max) hints_.push_back(hint);
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

void Membership::leave(TimePoint now) {
  if (has_left()) return;
  Member self = table_.self();
  self.state = MemberState::left;
  table_.update_self(self);
  spread(now, {self, {}});
  prober_.stop();
  suspected_.clear();
  timers_.disarm(Timer::rejoin);
  events_.emplace_back(RecordChanged{self.id, true});
  for (const NodeId& id : table_.live()) {
    if (id == self.id) continue;
    outgoing_.push_back({id, std::nullopt, false, MemberRecords{false, {{self, {}}}}});
  }
}

void Membership::note_contact(TimePoint now, const NodeId& id) {
  const auto it = suspected_.find(id);
  if (it == suspected_.end()) return;
  it->second.suspicion.at_least_from(now);
  auto& nudged = it->second.nudged;
  if (nudged && *nudged + nudge_interval > now) return;
  nudged = now;
  outgoing_.push_back({id, std::nullopt, false, make_ping(id)});  // it carries the suspicion
}

// --- time ----------------------------------------------------------------------------------------

void Membership::handle_timeout(TimePoint now) {
  forgive_pause(now);
  step_prober(now);
  step_relayed(now);
  step_suspicions(now);
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
  for (auto& [id, suspected] : suspected_) suspected.suspicion.extend(now - *expected);
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
      case Prober::StepKind::failed: {
        const auto it = suspected_.find(step->target);
        if (it == suspected_.end()) {
          declare(now, step->target, MemberState::suspect);
        } else if (it->second.suspicion.confirm(table_.self().id)) {
          spread(now, {*target, table_.self().id});
        }
        break;
      }
    }
  }
}

void Membership::ask_helpers(const NodeId& target, std::uint64_t seq) {
  const std::vector<NodeId> helpers = random_live(Prober::helpers_wanted, target);
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
  std::vector<NodeId> expired;
  for (const auto& [id, suspected] : suspected_) {
    if (suspected.suspicion.deadline() <= now) expired.push_back(id);
  }
  for (const NodeId& id : expired) declare(now, id, MemberState::faulty);
}

void Membership::step_gossip(TimePoint now) {
  if (dissemination_.empty()) return;
  const std::size_t retransmits = Dissemination::retransmits(table_.live().size());
  for (const NodeId& id : random_live(gossip_fanout, std::nullopt)) {
    const std::size_t room = config_.body_bytes_max - records_overhead_bytes;
    MemberRecords message{false, dissemination_.take(room, retransmits)};
    if (message.records.empty()) break;
    outgoing_.push_back({id, std::nullopt, false, std::move(message)});
  }
  if (is_alone()) {
    // Nobody to tell: whoever comes compares tables.
    while (!dissemination_.take(config_.body_bytes_max, 1).empty()) {
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
  const std::vector<NodeId> faulty = table_.with_state(MemberState::faulty);
  if (faulty.empty()) return;
  const NodeId& id = faulty[static_cast<std::size_t>(prng_.below(faulty.size()))];
  ping_everywhere(*table_.find(id), prober_.take_seq());
}

void Membership::ping_hints(std::size_t count) {
  // A hint that is a live member's address leads nowhere new, so the others come first.
  std::vector<Endpoint> known;
  for (const NodeId& id : table_.live()) {
    const Member& member = *table_.find(id);
    known.insert(known.end(), member.endpoints.begin(), member.endpoints.end());
  }
  std::sort(known.begin(), known.end());
  std::vector<Endpoint> order = hints_;
  prng_.shuffle(std::span<Endpoint>(order));
  std::stable_partition(order.begin(), order.end(), [&](const Endpoint& hint) {
    return !std::binary_search(known.begin(), known.end(), hint);
  });
  order.resize(std::min(order.size(), count));
  for (const Endpoint& hint : order) {
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
  for (const auto& [id, suspected] : suspected_) {
    next = earliest(next, suspected.suspicion.deadline());
  }
  if (!relayed_.empty()) next = earliest(next, relayed_.begin()->second.nack_at);
  return next;
}

void Membership::check_invariants() const {
  table_.check_invariants();
  dissemination_.check_invariants();
  WAGGLE_ASSERT(relayed_.size() <= limits::relayed_probes_max);
  WAGGLE_ASSERT(hints_.size() <= limits::join_hints_max);
  const std::size_t suspects = table_.count(MemberState::suspect);
  WAGGLE_ASSERT(suspected_.size() == suspects || has_left());
  for (const auto& [id, suspected] : suspected_) {
    WAGGLE_ASSERT(table_.find(id) != nullptr && table_.find(id)->state == MemberState::suspect);
  }
  if (!has_left()) WAGGLE_ASSERT(prober_.target_count() + 1 == table_.live().size());
}

}  // namespace waggle::gossip
