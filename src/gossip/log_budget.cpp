// Records in 9 bytes each, and the list of logs by last write.
#include "gossip/log_budget.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

/// A log this short loses all its records at once.
constexpr std::size_t few_records = 8;

}  // namespace

// ---- LogRecords ----

void LogRecords::push_back(LogRecord record) {
  // Doubling from 4: vectors begin at 1, and most origins write a few.
  if (packed_.size() == packed_.capacity()) packed_.reserve(std::max<std::size_t>(4, 2 * size()));
  Packed packed{{}, record.kind};
  store_le(packed.bytes, to_value(record.id));
  packed_.push_back(packed);
  if (record.kind != LogRecord::Kind::name) return;
  if (names_ == nullptr) names_ = std::make_unique<Names>();
  names_->push_back(std::move(record.name));
}

void LogRecords::drop_oldest(std::size_t count) {
  if (base_ != nullptr && count > 0) {
    base_.reset();
    --count;
  }
  const auto end = packed_.begin() + static_cast<std::ptrdiff_t>(count);
  const auto names = std::count_if(packed_.begin(), end, [](const Packed& packed) {
    return packed.kind == LogRecord::Kind::name;
  });
  if (names > 0) names_->erase(names_->begin(), names_->begin() + names);
  if (names_ != nullptr && names_->empty()) names_.reset();
  packed_.erase(packed_.begin(), end);
  // One at a time makes room for the next; else the memory is wanted back.
  if (packed_.empty() || count > 1) packed_.shrink_to_fit();
}

std::size_t LogRecords::memory_bytes() const {
  std::size_t bytes = packed_.capacity() * sizeof(Packed) + (base_ ? sizeof(Base) : 0);
  if (names_ != nullptr) {
    bytes += sizeof(Names) + names_->capacity() * sizeof(names_->front());
    for (const auto& name : *names_) bytes += sizeof(SignedName) + name->record.media_type.size();
  }
  return bytes;
}

// ---- LogBudget ----

void LogBudget::count(LogRecords& records) {
  bytes_ -= records.counted_bytes_;
  records.counted_bytes_ = static_cast<std::uint32_t>(records.memory_bytes());
  bytes_ += records.counted_bytes_;
}

void LogBudget::unlink(LogRecords& records) {
  if (oldest_ != &records && records.older_ == nullptr) return;  // not in the list
  (records.older_ == nullptr ? oldest_ : records.older_->newer_) = records.newer_;
  (records.newer_ == nullptr ? newest_ : records.newer_->older_) = records.older_;
  records.older_ = records.newer_ = nullptr;
}

void LogBudget::written(LogRecords& records) {
  unlink(records);
  records.older_ = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer_) = &records;
  newest_ = &records;
  count(records);
  while (bytes_ > bytes_max_) {
    LogRecords& victim = *oldest_;
    const std::size_t size = victim.size();
    victim.drop_oldest(size <= few_records ? size : (size + 1) / 2);
    count(victim);
    if (victim.size() > 0) continue;
    unlink(victim);
    if (&victim == &records) break;
  }
}

void LogBudget::forget(LogRecords& records) {
  unlink(records);
  bytes_ -= std::exchange(records.counted_bytes_, 0U);
}

bool LogBudget::park() {
  if (parked_ >= parked_max_) return false;
  ++parked_;
  return true;
}

}  // namespace waggle::gossip
