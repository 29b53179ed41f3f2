// Sequence rules of one origin's log.
#include "gossip/announcement_log.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <utility>

namespace waggle::gossip {

AnnouncementLog::AnnouncementLog(const IdKey& key, std::uint64_t incarnation, LogBudget& budget)
    : key_(&key), budget_(&budget), incarnation_(incarnation) {}

AnnouncementLog::AnnouncementLog(AnnouncementLog&& other) noexcept = default;

AnnouncementLog& AnnouncementLog::operator=(AnnouncementLog&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  key_ = other.key_;
  budget_ = other.budget_;
  incarnation_ = other.incarnation_;
  seq_ = other.seq_;
  set_hash_ = other.set_hash_;
  id_count_ = other.id_count_;
  records_ = std::move(other.records_);
  parked_ = std::move(other.parked_);
  return *this;
}

AnnouncementLog::~AnnouncementLog() { give_back(); }

void AnnouncementLog::give_back() {
  if (records_ != nullptr) budget_->forget(*records_);
  if (parked_ != nullptr) budget_->unpark(parked_->size());
}

LogRecords& AnnouncementLog::records() {
  if (records_ == nullptr) records_ = std::make_unique<LogRecords>();
  return *records_;
}

std::uint64_t AnnouncementLog::first_kept() const { return seq_ + 1 - kept(); }

AnnouncementLog::Order AnnouncementLog::order_of(std::uint64_t seq) const {
  if (seq <= seq_) return Order::duplicate;
  if (seq == seq_ + 1) return Order::next;
  return seq - seq_ <= limits::log_window_max + 1 ? Order::early : Order::gap;
}

void AnnouncementLog::append(LogRecord record, bool changes_set) {
  if (changes_set && record.kind != LogRecord::Kind::name) {
    set_hash_ ^= id_hash(*key_, record.id);
    if (record.kind != LogRecord::Kind::drop) {
      ++id_count_;
    } else if (id_count_ > 0) {  // drops of refused facts may outnumber the rest
      --id_count_;
    }
  }
  if (kept() == limits::log_records_per_origin_max) records_->drop_oldest(1);
  records().push_back(std::move(record));
  ++seq_;
  budget_->written(*records_);
}

void AnnouncementLog::open_with(const Base& base, std::uint64_t id_count) {
  WAGGLE_ASSERT(seq_ == 0);
  records().set_base(base);
  seq_ = 1;
  set_hash_ = base.set_hash;
  id_count_ = id_count;
  budget_->written(*records_);
}

void AnnouncementLog::park(std::uint64_t seq, Record record) {
  WAGGLE_ASSERT(order_of(seq) == Order::early);
  if (parked_ != nullptr && parked_->contains(seq)) return;
  if (!budget_->park()) return;
  if (parked_ == nullptr) parked_ = std::make_unique<Parked>();
  parked_->emplace(seq, std::move(record));
}

void AnnouncementLog::drop_parked_up_to(std::uint64_t seq) {
  if (parked_ == nullptr) return;
  while (!parked_->empty() && parked_->begin()->first <= seq) {
    parked_->erase(parked_->begin());
    budget_->unpark(1);
  }
  if (parked_->empty()) parked_.reset();
}

std::optional<Record> AnnouncementLog::take_parked() {
  drop_parked_up_to(seq_);
  if (parked_ == nullptr || parked_->begin()->first != seq_ + 1) return std::nullopt;
  Record record = std::move(parked_->begin()->second);
  drop_parked_up_to(seq_ + 1);
  return record;
}

void AnnouncementLog::install(std::uint64_t seq, std::uint64_t set_hash, std::uint64_t id_count) {
  seq_ = seq;
  set_hash_ = set_hash;
  id_count_ = id_count;
  if (records_ != nullptr) budget_->forget(*records_);
  records_.reset();
  drop_parked_up_to(seq_);
}

std::vector<Record> AnnouncementLog::records_from(std::uint64_t from_seq,
                                                  std::vector<std::size_t>& defined) const {
  std::vector<Record> out;
  if (from_seq < first_kept() || from_seq > seq_) return out;
  std::size_t skipped = from_seq - first_kept();
  if (records_->base() != nullptr) {
    if (skipped == 0) out.push_back(*records_->base());
    skipped -= skipped > 0 ? 1 : 0;
  }
  records_->for_each_from(skipped, [&](LogRecord::Kind kind, Id64 id, const auto* name) {
    switch (kind) {
      case LogRecord::Kind::defined_have:
        defined.push_back(out.size());
        out.emplace_back(Have{id});
        break;
      case LogRecord::Kind::have:
        out.emplace_back(Have{id});
        break;
      case LogRecord::Kind::drop:
        out.emplace_back(Drop{id});
        break;
      case LogRecord::Kind::name:
        out.emplace_back(Named{*name});
        break;
    }
  });
  return out;
}

void AnnouncementLog::check_invariants() const {
  WAGGLE_ASSERT(kept() <= limits::log_records_per_origin_max);
  WAGGLE_ASSERT(kept() <= seq_);
  WAGGLE_ASSERT(parked_count() <= limits::log_window_max);
  WAGGLE_ASSERT(parked_ == nullptr || (!parked_->empty() && parked_->begin()->first > seq_ + 1));
}

}  // namespace waggle::gossip
