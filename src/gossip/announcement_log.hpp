// The log of one origin: its incarnation, how far it is applied without a gap, and its newest
// records.
#pragma once

#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "gossip/announcement_wire.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
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

/// Sequence rules of a single-writer log. Records are applied in order; those that come early wait
/// in a window. The set hash follows from the records alone: nodes with equal (incarnation, seq)
/// have equal hashes.
class AnnouncementLog {
 public:
  enum class Order {
    next,       ///< apply it now
    duplicate,  ///< it was applied before
    early,      ///< park it
    gap,        ///< beyond the window: pull what is missing
  };

  AnnouncementLog(const IdKey& key, std::uint64_t incarnation);

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
  /// Keeps an early record. @pre order_of(seq) == Order::early
  void park(std::uint64_t seq, Record record);
  /// The parked record seq() + 1, if there is one; parked duplicates are dropped on the way.
  [[nodiscard]] std::optional<Record> take_parked();
  /// A whole set at `seq` replaces what the records said.
  void install(std::uint64_t seq, std::uint64_t set_hash, std::uint64_t id_count);
  /// Records from `from_seq` to seq(); empty when some of them are gone. Those of kind defined_have
  /// come as Have with their number in `defined`, for the caller to fill in.
  [[nodiscard]] std::vector<Record> records_from(std::uint64_t from_seq,
                                                 std::vector<std::size_t>& defined) const;
  [[nodiscard]] std::size_t parked_count() const { return parked_.size(); }
  void check_invariants() const;

 private:
  IdKey key_;
  std::uint64_t incarnation_;
  std::uint64_t seq_ = 0;
  std::uint64_t set_hash_ = 0;
  std::uint64_t id_count_ = 0;
  std::optional<Base> base_;       // record 1, when the log opened with one and still has it
  std::deque<LogRecord> records_;  // the last ones, up to seq_
  std::map<std::uint64_t, Record> parked_;
};

}  // namespace waggle::gossip
