// The node's own log, its members, time and reads. What leaves is in announcements_spread.cpp,
// repair in announcements_repair.cpp.
#include "gossip/announcements.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "gossip/holder_choice.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace waggle::gossip {

Announcements::Announcements(const AnnouncementsConfig& config, const Identity& identity,
                             TimePoint now)
    : config_(config),
      identity_(identity),
      prng_(config.seed),
      started_(now),
      index_(mix_seed(config.seed ^ 0x1d64), limits::distinct_ids_max),
      plan_(config.id_key, config.self),
      budget_(now),
      last_flush_(now - std::chrono::hours(1)),
      last_relay_(now - std::chrono::hours(1)),
      now_(now),
      repair_bytes_(limits::repair_reply_bytes_per_second, limits::repair_reply_bytes_per_second,
                    now),
      set_pulls_(limits::set_pulls_served_per_second, limits::set_pulls_served_per_second, now),
      snapshot_parts_(limits::snapshot_parts_served_per_second,
                      limits::snapshot_parts_served_per_second, now),
      import_after_(now) {
  WAGGLE_ASSERT(config.self == identity.node_id());
  WAGGLE_ASSERT(config.message_bytes_max >= 512);
  const auto slot = slots_.allocate(now, config.self);
  // The own slot is never live: holders() names others.
  origins_.emplace(config.self,
                   Origin{identity.public_key(),
                          AnnouncementLog(config_.id_key, config.incarnation, log_budget_), *slot});
  if (config.told && config.told->seq > 0) open_told(*config.told);
  config_.told.reset();
}

void Announcements::open_told(const ToldLog& told) {
  Origin& own = self();
  std::uint64_t hash = 0;
  for (const Id64 id : told.ids) {
    if (index_.add(id, own.slot, nullptr, true) != ContentIndex::Change::added) continue;
    unconfirmed_.insert(id);
    hash ^= id_hash(config_.id_key, id);
  }
  own.log.open_with(Base{told.incarnation, told.seq, hash}, unconfirmed_.size());
  note_state(config_.self, own);
}

void Announcements::store_scanned(TimePoint now) {
  now_ = now;
  for (const Id64 id : std::exchange(unconfirmed_, {})) {
    index_.remove(id, self().slot);
    append_own(now, {LogRecord::Kind::drop, id, nullptr});
  }
}

// ---- own log ----

void Announcements::announce(TimePoint now, const Digest& digest, std::uint64_t size) {
  now_ = now;
  const Id64 id = id64_of(config_.id_key, digest);
  Origin& own = self();
  if (unconfirmed_.erase(id) > 0 && confirm(id, {digest, size})) return;
  if (index_.holds(id, digest, own.slot)) return;
  if (index_.holds(id, own.slot) || own.log.id_count() >= limits::ids_per_origin_max ||
      size > limits::blob_bytes_max) {
    ++stats_.refused_facts;
    return;
  }
  // Whoever announces first says what the id stands for; later ones need not.
  const bool known = index_.is_plain(id, digest);
  const Definition definition{digest, size};
  if (index_.add(id, own.slot, &definition, true) == ContentIndex::Change::refused) {
    ++stats_.refused_facts;
    return;
  }
  unresolved_.erase(id);
  append_own(now, {known ? LogRecord::Kind::have : LogRecord::Kind::defined_have, id, nullptr});
}

bool Announcements::confirm(Id64 id, const Definition& definition) {
  (void)index_.define(id, definition);
  unresolved_.erase(id);
  return index_.holds(id, definition.digest, self().slot);
}

void Announcements::withdraw(TimePoint now, const Digest& digest) {
  now_ = now;
  const Id64 id = id64_of(config_.id_key, digest);
  Origin& own = self();
  if (!index_.holds(id, digest, own.slot)) return;
  index_.remove(id, own.slot);
  append_own(now, {LogRecord::Kind::drop, id, nullptr});
}

void Announcements::announce_name(TimePoint now, const NameRecord& record, std::uint64_t hlc_ms) {
  now_ = now;
  if (record.media_type.size() > limits::media_type_bytes_max || hlc_ms > limits::hlc_ms_max ||
      record.size > limits::blob_bytes_max) {
    ++stats_.refused_names;
    return;
  }
  auto name = std::make_shared<SignedName>();
  name->record = record;
  name->author = config_.self;
  name->hlc_ms = hlc_ms;
  if (!names_.is_newer(*name)) return;
  name->signature = identity_.sign(name_signed_bytes(config_.id_key, *name));
  names_.insert(name);
  append_own(now, {LogRecord::Kind::name, Id64{}, name});
}

void Announcements::set_incarnation(TimePoint now, std::uint64_t incarnation) {
  now_ = now;
  Origin& own = self();
  if (incarnation <= own.log.incarnation()) return;
  flush(now);  // who gets these can go on from BASE
  const Base former{own.log.incarnation(), own.log.seq(), own.log.set_hash()};
  const std::uint64_t id_count = own.log.id_count();
  own.log = AnnouncementLog(config_.id_key, incarnation, log_budget_);
  own.dated.reset();
  flushed_seq_ = 0;
  note_state(config_.self, own);
  if (former.seq == 0) return;
  own.log.open_with(former, id_count);
  note_state(config_.self, own);
  timers_.disarm(Timer::flush);
  last_flush_ = now - std::chrono::hours(1);
  arm_flush(now, first_flush_delay);
}

// ---- members ----

void Announcements::member_up(TimePoint now, const NodeId& id, std::uint64_t incarnation,
                              const NodePublicKey& key) {
  now_ = now;
  if (id == config_.self) return;
  auto found = origins_.find(id);
  const bool came_up = found == origins_.end() || !found->second.live;
  if (found == origins_.end()) {
    const auto slot = origins_.size() < limits::members_max && key.node_id() == id
                          ? slots_.allocate(now, id)
                          : std::nullopt;
    if (!slot) {
      ++stats_.refused_members;
      return;
    }
    found = origins_
                .emplace(id, Origin{key, AnnouncementLog(config_.id_key, incarnation, log_budget_),
                                    *slot})
                .first;
  }
  Origin& origin = found->second;
  if (incarnation > origin.log.incarnation()) {
    if (incarnation - origin.log.incarnation() > limits::incarnation_jump_max) {
      ++stats_.refused_members;
    } else {
      begin_transition(now, id, origin, incarnation);
    }
  }
  if (!came_up) return;
  origin.live = true;
  origin.since = now;
  origin.clear_at.reset();
  mask(origin);
  note_state(id, origin);
  const bool was_alone = plan_.member_count() == 0;
  plan_.add(id);
  choose_spreading();
  const auto own = origins_.find(config_.self);
  if (own->second.log.seq() > 0 && was_alone) {
    flushed_seq_ = 0;
    arm_flush(now, first_company_delay);
  } else if (own->second.log.seq() > 0 && spreading() == BroadcastMode::unicast) {
    const LogState state = wire_state(own);
    send({&id, 1}, pack_some_states({&state, 1}, config_.message_bytes_max));
  }
  // The first member is asked at once, so that a joiner is ready after one exchange.
  if (!last_repair_) {
    repair_with(now, id);
  } else if (!timers_.armed(Timer::repair)) {
    timers_.arm(Timer::repair, std::max(now, *last_repair_ + join_repair_interval));
  }
}

void Announcements::member_down(TimePoint now, const NodeId& id) {
  now_ = now;
  const auto found = origins_.find(id);
  if (id == config_.self || found == origins_.end() || !found->second.live) return;
  found->second.live = false;
  found->second.clear_at = now + down_facts_time;
  mask(found->second);
  note_state(id, found->second);
  plan_.remove(id);
  choose_spreading();
  anti_entropy_.cancel_peer(id);
  leave_import(now, id);
  arm_sweep(found->second.clear_at);
}

void Announcements::mask(Origin& origin) {
  slots_.set_live(origin.slot, origin.live);
  if (origin.old_slot) slots_.set_live(*origin.old_slot, origin.live);
}

void Announcements::begin_transition(TimePoint now, const NodeId& id, Origin& origin,
                                     std::uint64_t incarnation) {
  leave_import(now, id);
  clear_left();
  origin.replay.reset();
  // Without a record of the last incarnation the facts are still those of the one before.
  if (!origin.transition || origin.log.seq() > 0) {
    end_transition(now, origin);
    origin.transition = std::make_unique<Transition>(
        Transition{{origin.log.incarnation(), origin.log.seq(), origin.log.set_hash()},
                   origin.log.id_count(),
                   now + old_facts_time});
  }
  origin.log = AnnouncementLog(config_.id_key, incarnation, log_budget_);
  origin.dated.reset();
  origin.hole_since.reset();
  note_state(id, origin);
  anti_entropy_.cancel(id);
  arm_sweep(origin.transition->until);
}

void Announcements::end_transition(TimePoint now, Origin& origin) {
  Emptied emptied;
  end_transition(origin, emptied);
  empty(now, emptied);
}

void Announcements::end_transition(Origin& origin, Emptied& emptied) {
  if (!origin.transition) return;
  if (origin.old_slot) {
    drop_old_slot(origin, emptied);
  } else if (origin.log.seq() == 0) {
    emptied.slots.push_back(origin.slot);  // the new log never began
  }
  origin.transition.reset();
}

void Announcements::forget(const NodeId& id, Emptied& emptied) {
  Origin& origin = origins_.at(id);
  emptied.slots.push_back(origin.slot);
  emptied.freed.push_back(origin.slot);
  drop_old_slot(origin, emptied);
  anti_entropy_.cancel(id);
  WAGGLE_ASSERT(origin.root_hash == 0);  // it is down
  origins_.erase(id);
}

void Announcements::empty(TimePoint now, const Emptied& emptied) {
  if (emptied.slots.empty()) return;
  index_.clear(emptied.slots);
  for (const NodeSlot slot : emptied.freed) slots_.release(now, slot);
}

void Announcements::drop_old_slot(Origin& origin, Emptied& emptied) {
  if (!origin.old_slot) return;
  emptied.slots.push_back(*origin.old_slot);
  emptied.freed.push_back(*origin.old_slot);
  origin.old_slot.reset();
  --old_slot_count_;
}

// ---- time ----

void Announcements::handle_timeout(TimePoint now) {
  now_ = now;
  while (const auto timer = timers_.pop_due(now)) {
    switch (*timer) {
      case Timer::flush:
        flush(now);
        break;
      case Timer::relay:
        flush_relay(now);
        break;
      case Timer::repair:
        repair_with_random(now);
        break;
      case Timer::expire:
        anti_entropy_.expire(now);
        arm_expiry();
        break;
      case Timer::sweep:
        sweep(now);
        break;
      case Timer::snapshot:
        drive_import(now);
        break;
      case Timer::count:
        break;
    }
  }
}

void Announcements::sweep(TimePoint now) {
  std::vector<NodeId> gone;
  Emptied emptied;  // one pass over the index, however many go
  for (auto& [id, origin] : origins_) {
    if (origin.clear_at && *origin.clear_at <= now) {
      gone.push_back(id);
    } else if (origin.transition && origin.transition->until <= now) {
      end_transition(origin, emptied);
    }
  }
  for (const auto& id : gone) forget(id, emptied);
  empty(now, emptied);
  for (const auto& [id, origin] : origins_) {
    arm_sweep(origin.clear_at);
    if (origin.transition) arm_sweep(origin.transition->until);
  }
}

// Only earlier, never later: a deadline that no longer holds costs one sweep for nothing, which is
// less than to look at every origin each time.
void Announcements::arm_sweep(std::optional<TimePoint> deadline) {
  const auto armed = timers_.deadline(Timer::sweep);
  if (deadline && (!armed || *armed > *deadline)) timers_.arm(Timer::sweep, *deadline);
}

// Apart from the sweep: pulls end every few seconds, and a sweep looks at every origin.
void Announcements::arm_expiry() {
  const auto deadline = anti_entropy_.next_deadline();
  const auto armed = timers_.deadline(Timer::expire);
  if (deadline && (!armed || *armed > *deadline)) timers_.arm(Timer::expire, *deadline);
}

std::optional<TimePoint> Announcements::poll_timeout() const {
  const std::deque<Outgoing>* const queue = next_queue();
  if (queue == nullptr) return timers_.next();
  return earliest(timers_.next(), budget_.ready_at(now_, queue->front().body->size()));
}

// ---- origins ----

void Announcements::note_state(const NodeId& id, Origin& origin) {
  const bool counts = origin.live && origin.log.seq() > 0;
  const std::uint64_t hash = counts ? RootTable::hash_of(config_.id_key, state_of(id, origin)) : 0;
  roots_.toggle(id, origin.root_hash ^ hash);
  origin.root_hash = hash;
}

OriginState Announcements::state_of(const NodeId& id, const Origin& origin) {
  const AnnouncementLog& log = origin.log;
  return {id, log.incarnation(), log.seq(), log.set_hash(), log.first_kept()};
}

LogState Announcements::wire_state(Origins::const_iterator origin) const {
  return to_wire(state_of(origin->first, origin->second), ref_of(origin));
}

NodeRef Announcements::ref_of(Origins::const_iterator origin) const {
  const std::uint32_t prefix = NodeRef::prefix_of(origin->first);
  const auto next = std::next(origin);
  const bool shared =
      (next != origins_.end() && NodeRef::prefix_of(next->first) == prefix) ||
      (origin != origins_.begin() && NodeRef::prefix_of(std::prev(origin)->first) == prefix);
  return shared ? NodeRef{origin->first, true} : NodeRef::short_of(origin->first);
}

Announcements::Origins::iterator Announcements::find(const NodeRef& ref) {
  if (ref.whole) return origins_.find(ref.id);
  const auto found = origins_.lower_bound(ref.id);
  if (found == origins_.end() || NodeRef::prefix_of(found->first) != ref.prefix()) {
    return origins_.end();
  }
  const auto next = std::next(found);
  const bool ambiguous = next != origins_.end() && NodeRef::prefix_of(next->first) == ref.prefix();
  return ambiguous ? origins_.end() : found;
}

// ---- reads ----

std::size_t Announcements::lookup(TimePoint now, const Digest& digest, std::span<NodeId> out) {
  const auto found = index_.find_holders(id64_of(config_.id_key, digest), digest);
  if (!found) return 0;
  std::array<NodeSlot, limits::lookup_holders_max> chosen;
  const std::size_t total =
      choose_holders(now, *found, slots_, prng_, std::span(chosen).first(out.size()));
  for (std::size_t i = 0; i < std::min(total, out.size()); ++i) out[i] = slots_.id(chosen[i]);
  return total;
}

void Announcements::holders(const Digest& digest, std::vector<NodeId>& out) {
  const std::size_t first = out.size();
  const auto found = index_.find_holders(id64_of(config_.id_key, digest), digest);
  if (!found) return;
  SlotWords words;
  const auto live = found->expand(slots_.live_mask(), words);
  slots_.drop_doubles(live);
  for_each_slot(live, [&](NodeSlot slot) { out.push_back(slots_.id(slot)); });
  prng_.shuffle(std::span(out).subspan(first));
}

void Announcements::member_load(TimePoint now, const NodeId& id, std::uint8_t load) {
  const auto found = origins_.find(id);
  if (found != origins_.end()) slots_.set_load(now, found->second.slot, load);
}

std::optional<std::uint64_t> Announcements::content_size(const Digest& digest) const {
  return index_.size(id64_of(config_.id_key, digest), digest);
}

std::optional<NameRecord> Announcements::find_name(std::uint64_t key64) const {
  const SignedName* const name = names_.find(key64);
  if (name == nullptr) return std::nullopt;
  return name->record;
}

std::vector<OriginState> Announcements::live_states() const {
  std::vector<OriginState> states;
  for (const auto& [id, origin] : origins_) {
    if (origin.live && origin.log.seq() > 0) states.push_back(state_of(id, origin));
  }
  return states;
}

void Announcements::check_invariants() const {
  index_.check_invariants();
  names_.check_invariants();
  std::size_t slots = 0;
  std::size_t old_slots = 0;
  std::size_t facts = 0;
  std::size_t live = 0;
  RootTable roots;
  for (const auto& [id, origin] : origins_) {
    origin.log.check_invariants();
    live += origin.live ? 1 : 0;
    if (origin.live && origin.log.seq() > 0) {
      roots.toggle(id, RootTable::hash_of(config_.id_key, state_of(id, origin)));
    }
    WAGGLE_ASSERT(origin.live == !origin.clear_at.has_value());
    WAGGLE_ASSERT(!origin.old_slot || origin.transition);
    WAGGLE_ASSERT(slots_.id(origin.slot) == id);
    const std::vector<Id64> ids = index_.ids_of(origin.slot);
    WAGGLE_ASSERT(ids.size() <= limits::ids_per_origin_max || is_importing(id));
    slots += origin.old_slot ? 2 : 1;
    old_slots += origin.old_slot ? 1 : 0;
    facts += ids.size() + (origin.old_slot ? index_.ids_of(*origin.old_slot).size() : 0);
    // The set hash is that of the facts, unless some were refused, records have to be replayed or
    // the new log has not begun.
    WAGGLE_ASSERT(!origin.replay || (!origin.whole && origin.log.seq() < origin.replay->until));
    std::uint64_t hash = 0;
    for (const Id64 held : ids) hash ^= id_hash(config_.id_key, held);
    if (origin.replay) {
      WAGGLE_ASSERT(hash == origin.replay->facts_hash && ids.size() == origin.replay->id_count);
    }
    if (is_importing(id)) {
      WAGGLE_ASSERT(origin.log.seq() == 0 && !origin.transition);
    } else if (origin.whole && !(origin.transition && origin.log.seq() == 0)) {
      WAGGLE_ASSERT(hash == origin.log.set_hash());
    }
  }
  WAGGLE_ASSERT(slots == slots_.taken());
  WAGGLE_ASSERT(old_slots == old_slot_count_);
  WAGGLE_ASSERT(facts == index_.fact_count());
  WAGGLE_ASSERT(origins_.size() <= limits::members_max);
  WAGGLE_ASSERT(roots.buckets() == roots_.buckets());
  WAGGLE_ASSERT(live == cluster_size());
  plan_.check_invariants();
  WAGGLE_ASSERT(news_.size() <= limits::announcement_queue_messages_max);
  WAGGLE_ASSERT(replies_.size() <= limits::announcement_replies_max);
  for (const auto& [rows, batch] : relay_) {
    std::size_t records = 0;
    for (const LogSlice& slice : batch.slices) records += slice.records.size();
    WAGGLE_ASSERT(records == batch.records && records <= limits::relay_records_max);
  }
  WAGGLE_ASSERT(unresolved_.size() <= limits::unresolved_ids_max);
  std::size_t bulk_bytes = 0;
  for (const auto& bulk : bulk_) bulk_bytes += bulk.frame.size();
  WAGGLE_ASSERT(bulk_bytes == bulk_bytes_);
}

}  // namespace waggle::gossip
