// What the logs of all origins may keep together, and whose records go first when it is full.
#pragma once

#include "base/limits.hpp"
#include "gossip/announcement_wire.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace waggle::gossip {

/// A record as the log keeps it: definitions stay in the content index, only the note that there
/// was one is kept.
struct LogRecord {
  enum class Kind : std::uint8_t { have, defined_have, drop, name };
  Kind kind = Kind::have;
  Id64 id{};
  std::shared_ptr<const SignedName> name;
};

class LogBudget;

/// The records of one log, oldest first: 9 bytes each, NAMEs beside them.
class LogRecords {
 public:
  LogRecords() = default;
  LogRecords(const LogRecords&) = delete;
  LogRecords& operator=(const LogRecords&) = delete;

  /// Records kept, BASE included.
  [[nodiscard]] std::size_t size() const { return packed_.size() + (base_ ? 1 : 0); }
  [[nodiscard]] const std::unique_ptr<const Base>& base() const { return base_; }
  void set_base(const Base& base) { base_ = std::make_unique<const Base>(base); }
  void push_back(LogRecord record);
  void drop_oldest(std::size_t count);
  void clear() { drop_oldest(size()); }
  /// The records behind BASE, from number `first` on, one after the other.
  template <typename Visit>
  void for_each_from(std::size_t first, Visit visit) const {
    std::size_t name = 0;
    for (std::size_t i = 0; i < packed_.size(); ++i) {
      const bool is_name = packed_[i].kind == LogRecord::Kind::name;
      if (i >= first) visit(packed_[i].kind, packed_[i].id(), is_name ? &(*names_)[name] : nullptr);
      name += is_name ? 1 : 0;
    }
  }
  /// Heap bytes, those of the NAMEs included.
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  friend class LogBudget;
  struct Packed {
    std::array<std::byte, 8> bytes;
    LogRecord::Kind kind;
    [[nodiscard]] Id64 id() const { return Id64{load_le<std::uint64_t>(bytes)}; }
  };
  static_assert(sizeof(Packed) == 9);
  using Names = std::vector<std::shared_ptr<const SignedName>>;

  std::vector<Packed> packed_;
  std::unique_ptr<Names> names_;  // of the NAMEs among them, in their order
  std::unique_ptr<const Base> base_;
  // The budget's list of logs with records, least recently written first.
  LogRecords* older_ = nullptr;
  LogRecords* newer_ = nullptr;
  std::uint32_t counted_bytes_ = 0;
};

/// Shared by all logs of a node. When their records take more than bytes_max, the least recently
/// written log loses its older half, then the rest, then the next log does: whoever lacks one of
/// them pulls the origin's set. Cost O(1) for each record written, amortised.
class LogBudget {
 public:
  explicit LogBudget(std::size_t bytes_max = limits::log_bytes_max,
                     std::size_t parked_max = limits::log_parked_records_max)
      : bytes_max_(bytes_max), parked_max_(parked_max) {}
  LogBudget(const LogBudget&) = delete;
  LogBudget& operator=(const LogBudget&) = delete;

  /// The log was written: counts it anew, makes it the most recent one and keeps the total. What it
  /// has itself goes last.
  void written(LogRecords& records);
  /// The log goes, or has no records any more.
  void forget(LogRecords& records);
  /// Room for one more early record; give it back with unpark().
  [[nodiscard]] bool park();
  void unpark(std::size_t count) { parked_ -= count; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t parked() const { return parked_; }

 private:
  void count(LogRecords& records);
  void unlink(LogRecords& records);

  std::size_t bytes_max_;
  std::size_t parked_max_;
  std::size_t bytes_ = 0;
  std::size_t parked_ = 0;
  LogRecords* oldest_ = nullptr;
  LogRecords* newest_ = nullptr;
};

}  // namespace waggle::gossip
