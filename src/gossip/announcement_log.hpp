// The log of one origin: its incarnation, how far it is applied without a gap, and its newest
// records.
#pragma once

#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/log_budget.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace waggle::gossip {

/// Sequence rules of a single-writer log. Records are applied in order; those that come early wait
/// in a window. The set hash follows from the records alone: nodes with equal (incarnation, seq)
/// have equal hashes. Takes 56 bytes until the first record, about 100 more with a few.
class AnnouncementLog {
 public:
  enum class Order {
    next,       ///< apply it now
    duplicate,  ///< it was applied before
    early,      ///< park it
    gap,        ///< beyond the window: pull what is missing
  };

  /// @param key, budget  must outlive the log; the budget is shared by all logs of the node
  AnnouncementLog(const IdKey& key, std::uint64_t incarnation, LogBudget& budget);
  AnnouncementLog(AnnouncementLog&& other) noexcept;
  AnnouncementLog& operator=(AnnouncementLog&& other) noexcept;
  AnnouncementLog(const AnnouncementLog&) = delete;
  AnnouncementLog& operator=(const AnnouncementLog&) = delete;
  ~AnnouncementLog();

  [[nodiscard]] std::uint64_t incarnation() const { return incarnation_; }
  [[nodiscard]] std::uint64_t seq() const { return seq_; }
  [[nodiscard]] std::uint64_t set_hash() const { return set_hash_; }
  /// Ids that the origin holds by its records.
  [[nodiscard]] std::uint64_t id_count() const { return id_count_; }
  /// Oldest record still kept; seq() + 1 when there is none.
  [[nodiscard]] std::uint64_t first_kept() const;

  [[nodiscard]] Order order_of(std::uint64_t seq) const;
  /// Applies the record seq() + 1. @param changes_set  false for a HAVE of an id already held and a
  /// DROP of one not
  void append(LogRecord record, bool changes_set);
  /// Applies BASE as record 1: the set goes on from another log of the same origin. @pre seq() == 0
  void open_with(const Base& base, std::uint64_t id_count);
  /// Keeps an early record, unless the node has no room for further ones: then it is as if it had
  /// not come. @pre order_of(seq) == Order::early
  void park(std::uint64_t seq, Record record);
  /// The parked record seq() + 1, if there is one; parked duplicates are dropped on the way.
  [[nodiscard]] std::optional<Record> take_parked();
  /// A whole set at `seq` replaces what the records said.
  void install(std::uint64_t seq, std::uint64_t set_hash, std::uint64_t id_count);
  /// Says how many ids there are, once that is known better than the records alone tell it.
  void recount(std::uint64_t id_count) { id_count_ = id_count; }
  /// Records from `from_seq` to seq(); empty when some of them are gone. Those of kind defined_have
  /// come as Have with their number in `defined`, for the caller to fill in.
  [[nodiscard]] std::vector<Record> records_from(std::uint64_t from_seq,
                                                 std::vector<std::size_t>& defined) const;
  [[nodiscard]] std::size_t parked_count() const { return parked_ ? parked_->size() : 0; }
  void check_invariants() const;

 private:
  using Parked = std::map<std::uint64_t, Record>;
  [[nodiscard]] std::size_t kept() const { return records_ ? records_->size() : 0; }
  [[nodiscard]] LogRecords& records();
  void drop_parked_up_to(std::uint64_t seq);
  void give_back();

  const IdKey* key_;
  LogBudget* budget_;
  std::uint64_t incarnation_;
  std::uint64_t seq_ = 0;
  std::uint64_t set_hash_ = 0;
  std::uint64_t id_count_ = 0;
  std::unique_ptr<LogRecords> records_;  // the last ones, up to seq_; the budget may take some
  std::unique_ptr<Parked> parked_;
};

}  // namespace waggle::gossip
