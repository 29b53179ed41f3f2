// Sequence rules of one origin's log.
#include "gossip/announcement_log.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

namespace waggle::gossip {

AnnouncementLog::AnnouncementLog(const IdKey& key, std::uint64_t incarnation)
    : key_(key), incarnation_(incarnation) {}

std::uint64_t AnnouncementLog::first_kept() const {
  return seq_ + 1 - records_.size() - (base_ ? 1 : 0);
}

AnnouncementLog::Order AnnouncementLog::order_of(std::uint64_t seq) const {
  if (seq <= seq_) return Order::duplicate;
  if (seq == seq_ + 1) return Order::next;
  return seq - seq_ <= limits::log_window_max + 1 ? Order::early : Order::gap;
}

void AnnouncementLog::append(LogRecord record, bool changes_set) {
  if (changes_set && record.kind != LogRecord::Kind::name) {
    set_hash_ ^= id_hash(key_, record.id);
    if (record.kind != LogRecord::Kind::drop) {
      ++id_count_;
    } else if (id_count_ > 0) {  // drops of refused facts may outnumber the rest
      --id_count_;
    }
  }
  records_.push_back(std::move(record));
  ++seq_;
  if (records_.size() + (base_ ? 1 : 0) <= limits::log_records_per_origin_max) return;
  if (base_) {
    base_.reset();  // the oldest record
  } else {
    records_.pop_front();
  }
}

void AnnouncementLog::open_with(const Base& base, std::uint64_t id_count) {
  WAGGLE_ASSERT(seq_ == 0);
  base_ = base;
  seq_ = 1;
  set_hash_ = base.set_hash;
  id_count_ = id_count;
}

void AnnouncementLog::park(std::uint64_t seq, Record record) {
  WAGGLE_ASSERT(order_of(seq) == Order::early);
  parked_.try_emplace(seq, std::move(record));
}

std::optional<Record> AnnouncementLog::take_parked() {
  parked_.erase(parked_.begin(), parked_.upper_bound(seq_));
  if (parked_.empty() || parked_.begin()->first != seq_ + 1) return std::nullopt;
  Record record = std::move(parked_.begin()->second);
  parked_.erase(parked_.begin());
  return record;
}

void AnnouncementLog::install(std::uint64_t seq, std::uint64_t set_hash, std::uint64_t id_count) {
  seq_ = seq;
  set_hash_ = set_hash;
  id_count_ = id_count;
  base_.reset();
  records_.clear();
  parked_.erase(parked_.begin(), parked_.upper_bound(seq_));
}

std::vector<Record> AnnouncementLog::records_from(std::uint64_t from_seq,
                                                  std::vector<std::size_t>& defined) const {
  std::vector<Record> out;
  if (from_seq < first_kept() || from_seq > seq_) return out;
  if (base_ && from_seq == 1) out.push_back(*base_);
  const std::uint64_t first_record = seq_ + 1 - records_.size();
  const std::uint64_t skipped = from_seq > first_record ? from_seq - first_record : 0;
  for (std::size_t i = skipped; i < records_.size(); ++i) {
    const LogRecord& record = records_[i];
    switch (record.kind) {
      case LogRecord::Kind::defined_have:
        defined.push_back(out.size());
        out.emplace_back(Have{record.id});
        break;
      case LogRecord::Kind::have:
        out.emplace_back(Have{record.id});
        break;
      case LogRecord::Kind::drop:
        out.emplace_back(Drop{record.id});
        break;
      case LogRecord::Kind::name:
        out.emplace_back(Named{record.name});
        break;
    }
  }
  return out;
}

void AnnouncementLog::check_invariants() const {
  WAGGLE_ASSERT(records_.size() + (base_ ? 1 : 0) <= limits::log_records_per_origin_max);
  WAGGLE_ASSERT(records_.size() + (base_ ? 1 : 0) <= seq_);
  WAGGLE_ASSERT(parked_.size() <= limits::log_window_max);
  WAGGLE_ASSERT(parked_.empty() || parked_.begin()->first > seq_ + 1);
}

}  // namespace waggle::gossip
