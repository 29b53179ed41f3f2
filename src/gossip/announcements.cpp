// The node's own announcements, the members they go to, and time. Repair is in
// announcements_repair.cpp.
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
      last_flush_(now - flush_interval),
      repair_bytes_(limits::repair_reply_bytes_per_second, limits::repair_reply_bytes_per_second,
                    now),
      set_pulls_(limits::set_pulls_served_per_second, limits::set_pulls_served_per_second, now) {
  WAGGLE_ASSERT(config.self == identity.node_id());
  WAGGLE_ASSERT(config.message_bytes_max >= 512);
  const auto slot = slots_.allocate(now, config.self);
  // The own slot is never live: holders() names others.
  origins_.emplace(config.self,
                   Origin{identity.public_key(),
                          AnnouncementLog(config_.id_key, config.incarnation, log_budget_), *slot,
                          std::nullopt, std::nullopt, std::nullopt});
}

// ---- own log ----

void Announcements::announce(TimePoint now, const Digest& digest, std::uint64_t size) {
  const Id64 id = id64_of(config_.id_key, digest);
  Origin& own = self();
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

void Announcements::withdraw(TimePoint now, const Digest& digest) {
  const Id64 id = id64_of(config_.id_key, digest);
  Origin& own = self();
  if (!index_.holds(id, digest, own.slot)) return;
  index_.remove(id, own.slot);
  append_own(now, {LogRecord::Kind::drop, id, nullptr});
}

void Announcements::announce_name(TimePoint now, const NameRecord& record, std::uint64_t hlc_ms) {
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
  Origin& own = self();
  if (incarnation <= own.log.incarnation()) return;
  flush(now);  // who gets these can go on from BASE
  const Base former{own.log.incarnation(), own.log.seq(), own.log.set_hash()};
  const std::uint64_t id_count = own.log.id_count();
  own.log = AnnouncementLog(config_.id_key, incarnation, log_budget_);
  flushed_seq_ = 0;
  if (former.seq == 0) return;
  own.log.open_with(former, id_count);
  timers_.arm(Timer::flush, now + first_flush_delay);
}

void Announcements::append_own(TimePoint now, LogRecord record) {
  self().log.append(std::move(record), true);
  if (timers_.armed(Timer::flush)) return;
  timers_.arm(Timer::flush, std::max(now + first_flush_delay, last_flush_ + flush_interval));
}

void Announcements::flush(TimePoint now) {
  timers_.disarm(Timer::flush);
  const Origin& own = self();
  if (own.log.seq() == flushed_seq_) return;
  const std::uint64_t first = flushed_seq_ + 1;
  flushed_seq_ = own.log.seq();
  last_flush_ = now;
  if (first < own.log.first_kept()) {
    // A burst beyond the log: say how far it goes, and receivers pull the set.
    const OriginVector vector = vector_of(config_.self, own);
    send_to_live(pack_vectors({&vector, 1}, false, config_.message_bytes_max));
  } else {
    send_to_live(pack_records(config_.self, own.log.incarnation(), first, records_from(own, first),
                              config_.message_bytes_max));
  }
}

// ---- members ----

void Announcements::member_up(TimePoint now, const NodeId& id, std::uint64_t incarnation,
                              const NodePublicKey& key) {
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
                                    *slot, std::nullopt, std::nullopt, std::nullopt})
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
  origin.clear_at.reset();
  mask(origin);
  arm_sweep();
  if (const OriginVector own = vector_of(config_.self, self()); own.seq > 0) {
    send(id, pack_vectors({&own, 1}, false, config_.message_bytes_max).front());
  }
  // The first member is asked at once, so that a joiner is ready after one exchange.
  if (!last_repair_) {
    repair_with(now, id);
  } else if (!timers_.armed(Timer::repair)) {
    timers_.arm(Timer::repair, std::max(now, *last_repair_ + join_repair_interval));
  }
}

void Announcements::member_down(TimePoint now, const NodeId& id) {
  const auto found = origins_.find(id);
  if (id == config_.self || found == origins_.end() || !found->second.live) return;
  found->second.live = false;
  found->second.clear_at = now + down_facts_time;
  mask(found->second);
  anti_entropy_.cancel_peer(id);
  arm_sweep();
}

void Announcements::mask(Origin& origin) {
  slots_.set_live(origin.slot, origin.live);
  if (origin.old_slot) slots_.set_live(*origin.old_slot, origin.live);
}

void Announcements::begin_transition(TimePoint now, const NodeId& id, Origin& origin,
                                     std::uint64_t incarnation) {
  // Without a record of the last incarnation the facts are still those of the one before.
  if (!origin.transition || origin.log.seq() > 0) {
    end_transition(now, origin);
    origin.transition =
        Transition{{origin.log.incarnation(), origin.log.seq(), origin.log.set_hash()},
                   origin.log.id_count(),
                   now + old_facts_time};
  }
  origin.log = AnnouncementLog(config_.id_key, incarnation, log_budget_);
  anti_entropy_.cancel(id);
  arm_sweep();
}

void Announcements::end_transition(TimePoint now, Origin& origin) {
  if (!origin.transition) return;
  if (origin.old_slot) {
    drop_old_slot(now, origin);
  } else if (origin.log.seq() == 0) {
    index_.clear(origin.slot);  // the new log never began
  }
  origin.transition.reset();
}

void Announcements::forget(TimePoint now, const NodeId& id) {
  Origin& origin = origins_.at(id);
  drop_slot(now, origin.slot);
  drop_old_slot(now, origin);
  anti_entropy_.cancel(id);
  origins_.erase(id);
}

void Announcements::drop_slot(TimePoint now, NodeSlot slot) {
  index_.clear(slot);
  slots_.release(now, slot);
}

void Announcements::drop_old_slot(TimePoint now, Origin& origin) {
  if (!origin.old_slot) return;
  drop_slot(now, *origin.old_slot);
  origin.old_slot.reset();
  --old_slot_count_;
}

// ---- time ----

void Announcements::handle_timeout(TimePoint now) {
  while (const auto timer = timers_.pop_due(now)) {
    switch (*timer) {
      case Timer::flush:
        flush(now);
        break;
      case Timer::repair:
        repair_with_random(now);
        break;
      case Timer::sweep:
        sweep(now);
        break;
      case Timer::count:
        break;
    }
  }
}

void Announcements::sweep(TimePoint now) {
  anti_entropy_.expire(now);
  std::vector<NodeId> gone;
  for (auto& [id, origin] : origins_) {
    if (origin.clear_at && *origin.clear_at <= now) {
      gone.push_back(id);
    } else if (origin.transition && origin.transition->until <= now) {
      end_transition(now, origin);
    }
  }
  for (const auto& id : gone) forget(now, id);
  arm_sweep();
}

void Announcements::arm_sweep() {
  std::optional<TimePoint> next = anti_entropy_.next_deadline();
  for (const auto& [id, origin] : origins_) {
    next = earliest(next, origin.clear_at);
    if (origin.transition) next = earliest(next, origin.transition->until);
  }
  timers_.disarm(Timer::sweep);
  if (next) timers_.arm(Timer::sweep, *next);
}

std::optional<TimePoint> Announcements::poll_timeout() const { return timers_.next(); }

// ---- queues ----

bool Announcements::may_answer(TimePoint now, std::size_t bytes) {
  const bool allowed = repair_bytes_.take(now, static_cast<double>(bytes));
  if (!allowed) ++stats_.refused_questions;
  return allowed;
}

void Announcements::send(const NodeId& to, std::shared_ptr<const Bytes> body, bool reply) {
  // Half of the queue is kept for what this node has to say: no flood of questions can drown it.
  const std::size_t room = limits::announcement_queue_messages_max / (reply ? 2 : 1);
  if (messages_.size() >= room) {
    ++stats_.dropped_messages;
    return;
  }
  messages_.push_back({to, std::move(body)});
}

void Announcements::send(const NodeId& to, Bytes body, bool reply) {
  send(to, std::make_shared<const Bytes>(std::move(body)), reply);
}

void Announcements::send_to_live(const std::vector<Bytes>& bodies) {
  for (const auto& body : bodies) {
    const auto shared = std::make_shared<const Bytes>(body);
    for (const auto& [id, origin] : origins_) {
      if (origin.live && id != config_.self) send(id, shared, false);
    }
  }
}

void Announcements::send_bulk(const NodeId& to, Bytes frame) {
  if (bulk_bytes_ + frame.size() > limits::announcement_queue_bulk_bytes_max) {
    ++stats_.dropped_messages;
    return;
  }
  bulk_bytes_ += frame.size();
  bulk_.push_back({to, std::move(frame)});
}

std::optional<AnnouncementMessage> Announcements::poll_message() {
  if (messages_.empty()) return std::nullopt;
  AnnouncementMessage message{messages_.front().to, *messages_.front().body};
  messages_.pop_front();
  return message;
}

std::optional<AnnouncementBulk> Announcements::poll_bulk() {
  if (bulk_.empty()) return std::nullopt;
  AnnouncementBulk bulk = std::move(bulk_.front());
  bulk_.pop_front();
  bulk_bytes_ -= bulk.frame.size();
  return bulk;
}

// ---- reads ----

std::size_t Announcements::lookup(TimePoint now, const Digest& digest, std::span<NodeId> out) {
  SlotWords words;
  const auto found =
      index_.holders(id64_of(config_.id_key, digest), digest, slots_.live_mask(), words);
  if (found.empty()) return 0;
  slots_.drop_doubles(found);
  std::array<NodeSlot, limits::lookup_holders_max> chosen;
  const std::size_t total =
      choose_slots(now, found, slots_, prng_, std::span(chosen).first(out.size()));
  for (std::size_t i = 0; i < std::min(total, out.size()); ++i) out[i] = slots_.id(chosen[i]);
  return total;
}

void Announcements::holders(const Digest& digest, std::vector<NodeId>& out) {
  const std::size_t first = out.size();
  SlotWords words;
  const auto found =
      index_.holders(id64_of(config_.id_key, digest), digest, slots_.live_mask(), words);
  slots_.drop_doubles(found);
  for_each_slot(found, [&](NodeSlot slot) { out.push_back(slots_.id(slot)); });
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

std::vector<OriginVector> Announcements::live_vectors() const {
  std::vector<OriginVector> vectors;
  for (const auto& [id, origin] : origins_) {
    if (origin.live && origin.log.seq() > 0) vectors.push_back(vector_of(id, origin));
  }
  return vectors;
}

void Announcements::check_invariants() const {
  index_.check_invariants();
  names_.check_invariants();
  std::size_t slots = 0;
  std::size_t old_slots = 0;
  std::size_t facts = 0;
  for (const auto& [id, origin] : origins_) {
    origin.log.check_invariants();
    WAGGLE_ASSERT(origin.live == !origin.clear_at.has_value());
    WAGGLE_ASSERT(!origin.old_slot || origin.transition);
    WAGGLE_ASSERT(slots_.id(origin.slot) == id);
    const std::vector<Id64> ids = index_.ids_of(origin.slot);
    WAGGLE_ASSERT(ids.size() <= limits::ids_per_origin_max);
    slots += origin.old_slot ? 2 : 1;
    old_slots += origin.old_slot ? 1 : 0;
    facts += ids.size() + (origin.old_slot ? index_.ids_of(*origin.old_slot).size() : 0);
    // The set hash is that of the facts, unless some were refused or the new log has not begun.
    if (!origin.whole || (origin.transition && origin.log.seq() == 0)) continue;
    std::uint64_t hash = 0;
    for (const Id64 held : ids) hash ^= id_hash(config_.id_key, held);
    WAGGLE_ASSERT(hash == origin.log.set_hash());
  }
  WAGGLE_ASSERT(slots == slots_.taken());
  WAGGLE_ASSERT(old_slots == old_slot_count_);
  WAGGLE_ASSERT(facts == index_.fact_count());
  WAGGLE_ASSERT(origins_.size() <= limits::members_max);
  WAGGLE_ASSERT(messages_.size() <= limits::announcement_queue_messages_max);
  WAGGLE_ASSERT(unresolved_.size() <= limits::unresolved_ids_max);
  std::size_t bulk_bytes = 0;
  for (const auto& bulk : bulk_) bulk_bytes += bulk.frame.size();
  WAGGLE_ASSERT(bulk_bytes == bulk_bytes_);
}

}  // namespace waggle::gossip
