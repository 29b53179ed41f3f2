// What leaves: own records by unicast, relay or multicast, the row's records to the members
// outside it, and the queues with their budget.
#include "gossip/announcements.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {

// ---- own records ----

void Announcements::append_own(TimePoint now, LogRecord record) {
  Origin& own = self();
  own.log.append(std::move(record), true);
  if (!own.dated || own.dated->done) own.dated = Dated{own.log.seq(), now, false};
  note_state(config_.self, own);
  arm_flush(now, first_flush_delay);
}

void Announcements::arm_flush(TimePoint now, Duration delay) {
  // Alone there is nobody to tell: the first member that comes up is.
  if (plan_.member_count() == 0) return;
  const TimePoint next =
      std::max(now + delay, last_flush_ + budget_.origin_interval(now, cluster_size()));
  const auto armed = timers_.deadline(Timer::flush);
  if (!armed || *armed > next) timers_.arm(Timer::flush, next);
}

void Announcements::flush(TimePoint now) {
  timers_.disarm(Timer::flush);
  const auto own = origins_.find(config_.self);
  const AnnouncementLog& log = own->second.log;
  if (log.seq() == flushed_seq_ || plan_.member_count() == 0) return;
  const std::uint64_t first = flushed_seq_ + 1;
  flushed_seq_ = log.seq();
  last_flush_ = now;
  if (own->second.dated) own->second.dated->done = true;
  const BroadcastMode mode = spreading();
  if (first < log.first_kept()) {
    note_told(first, {});
    // A burst beyond the log: say how far it goes, and receivers pull the set. Where not everybody
    // is told, they tell each other.
    const LogState state = wire_state(own);
    const bool to_all = mode == BroadcastMode::unicast;
    send(to_all ? live_members() : plan_.row_mates(),
         pack_some_states({&state, 1}, config_.message_bytes_max));
    return;
  }
  LogSlice slice = slice_from(now, own, first);
  if (!budget_.is_light(now) && prng_.below(aged_batches_share) != 0) slice.age.reset();
  note_told(first, slice.records);
  const std::uint32_t rows = mode == BroadcastMode::relay ? plan_.rows() : 0;
  const auto bodies = pack_records(rows, {&slice, 1}, config_.message_bytes_max);
  if (mode == BroadcastMode::multicast) {
    for (const Bytes& body : bodies) {
      enqueue(news_, std::nullopt, std::make_shared<const Bytes>(body));
    }
  } else if (mode == BroadcastMode::relay) {
    send(plan_.row_mates(), bodies);
    relay(now, rows, std::move(slice));
  } else {
    send(live_members(), bodies);
  }
}

void Announcements::note_told(std::uint64_t first, const std::vector<Record>& records) {
  const Origin& own = self();
  // A log that opens with BASE goes on from the set that was told before.
  const bool begins = first == 1 && !records.empty() && !std::holds_alternative<Base>(records[0]);
  LogTold told{own.log.incarnation(), own.log.seq(), begins || records.empty(), {}, {}};
  if (told.whole) {
    told.held = index_.ids_of(own.slot);
  } else {
    std::map<Id64, bool> holds;
    for (const Record& record : records) {
      if (const auto* have = std::get_if<Have>(&record)) {
        holds[have->id] = true;
      } else if (const auto* defined = std::get_if<DefinedHave>(&record)) {
        holds[id64_of(config_.id_key, defined->definition.digest)] = true;
      } else if (const auto* drop = std::get_if<Drop>(&record)) {
        holds[drop->id] = false;
      }
    }
    for (const auto& [id, held] : holds) (held ? told.held : told.dropped).push_back(id);
  }
  // Nobody polls while a core is tested alone; the last whole state and what came after it suffice.
  if (told.whole) told_.clear();
  if (told_.size() < limits::told_changes_max) told_.push_back(std::move(told));
}

std::optional<LogTold> Announcements::poll_told() {
  if (told_.empty()) return std::nullopt;
  LogTold told = std::move(told_.front());
  told_.pop_front();
  return told;
}

// ---- hop 2 ----

void Announcements::relay(TimePoint now, std::uint32_t rows, LogSlice slice) {
  RelayBatch& batch = relay_[rows];
  if (batch.records + slice.records.size() > limits::relay_records_max) {
    ++stats_.dropped_messages;
    return;
  }
  if (batch.slices.empty()) batch.began = now;
  if (slice.age) *slice.age -= now - batch.began;
  batch.records += slice.records.size();
  LogSlice* const last = batch.slices.empty() ? nullptr : &batch.slices.back();
  const bool continues = last != nullptr && last->origin == slice.origin &&
                         last->incarnation == slice.incarnation &&
                         last->first_seq + last->records.size() == slice.first_seq;
  if (continues) {
    last->records.insert(last->records.end(), std::make_move_iterator(slice.records.begin()),
                         std::make_move_iterator(slice.records.end()));
  } else {
    batch.slices.push_back(std::move(slice));
  }
  if (timers_.armed(Timer::relay)) return;
  const TimePoint next = last_relay_ + budget_.relay_interval(now, cluster_size());
  timers_.arm(Timer::relay, std::max(now + relay_delay, next));
}

void Announcements::flush_relay(TimePoint now) {
  last_relay_ = now;
  for (auto& [rows, batch] : std::exchange(relay_, {})) {
    for (LogSlice& slice : batch.slices) {
      if (slice.age) *slice.age += now - batch.began;
    }
    send(plan_.targets(rows, budget_.redundancy(now)),
         pack_records(0, batch.slices, config_.message_bytes_max));
  }
}

// ---- mode ----

BroadcastMode Announcements::spreading() const {
  if (version_ < relay_version) return BroadcastMode::unicast;
  if (config_.broadcast != BroadcastMode::automatic) return config_.broadcast;
  return relaying_ ? BroadcastMode::relay : BroadcastMode::unicast;
}

void Announcements::choose_spreading() {
  if (cluster_size() > relay_above) relaying_ = true;
  if (cluster_size() < unicast_below) relaying_ = false;
}

// ---- queues ----

bool Announcements::may_answer(TimePoint now, std::size_t bytes) {
  const bool allowed = repair_bytes_.take(now, static_cast<double>(bytes));
  if (!allowed) ++stats_.refused_questions;
  return allowed;
}

std::vector<NodeId> Announcements::live_members() const {
  std::vector<NodeId> live;
  for (const auto& [id, origin] : origins_) {
    if (origin.live && id != config_.self) live.push_back(id);
  }
  return live;
}

void Announcements::send(std::span<const NodeId> to, const std::vector<Bytes>& bodies) {
  for (const Bytes& body : bodies) {
    const auto shared = std::make_shared<const Bytes>(body);
    for (const NodeId& id : to) enqueue(news_, id, shared);
  }
}

void Announcements::reply(const NodeId& to, Bytes body) {
  enqueue(replies_, to, std::make_shared<const Bytes>(std::move(body)));
}

void Announcements::enqueue(std::deque<Outgoing>& queue, const std::optional<NodeId>& to,
                            std::shared_ptr<const Bytes> body) {
  // Questions of others fill their own queue only: no flood of them can drown what this node says.
  const std::size_t room = &queue == &replies_ ? limits::announcement_replies_max
                                               : limits::announcement_queue_messages_max;
  if (queue.size() >= room) {
    ++stats_.dropped_messages;
    return;
  }
  queue.push_back({to, std::move(body)});
}

const std::deque<Announcements::Outgoing>* Announcements::next_queue() const {
  if (!news_.empty()) return &news_;
  return replies_.empty() ? nullptr : &replies_;
}

std::optional<AnnouncementMessage> Announcements::poll_message() {
  const std::deque<Outgoing>* const next = next_queue();
  if (next == nullptr) return std::nullopt;
  const std::size_t bytes = next->front().body->size();
  if (budget_.ready_at(now_, bytes) > now_) return std::nullopt;
  budget_.spend(now_, bytes);
  AnnouncementMessage message{next->front().to, *next->front().body};
  (next == &news_ ? news_ : replies_).pop_front();
  return message;
}

void Announcements::send_bulk(const NodeId& to, Bytes frame) {
  if (bulk_bytes_ + frame.size() > limits::announcement_queue_bulk_bytes_max) {
    ++stats_.dropped_messages;
    return;
  }
  bulk_bytes_ += frame.size();
  bulk_.push_back({to, std::move(frame)});
}

std::optional<AnnouncementBulk> Announcements::poll_bulk() {
  if (bulk_.empty()) return std::nullopt;
  AnnouncementBulk bulk = std::move(bulk_.front());
  bulk_.pop_front();
  bulk_bytes_ -= bulk.frame.size();
  return bulk;
}

}  // namespace waggle::gossip
