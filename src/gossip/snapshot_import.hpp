// The receiving side of a snapshot: which part to ask whom for, and what the parts together say
// about each origin. Announcements carries it out (announcements_snapshot.cpp).
#pragma once

#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/announcement_wire.hpp"
#include "gossip/content_index.hpp"
#include "gossip/node_slots.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace waggle::gossip {

/// One import of a snapshot. It is a fuzzy checkpoint: each part shows an origin as it was when the
/// part was made. What all parts say about an origin, with the records that came after the oldest
/// of these states, is its set: HAVE of what is there and DROP of what is not change nothing.
/// An origin that is missing from a part's table *leaves*: its facts are to be cleared.
///
/// One question is outstanding; a member that is silent for 5 s, gives nothing or something bad is
/// replaced, and the import goes on where it was. Parts are asked for at most as fast as
/// limits::snapshot_bytes_per_second.
/// @source fuzzy checkpoints: Hagmann 1986, "A crash recovery scheme for a memory-resident
/// database"
class SnapshotImport {
 public:
  /// An origin here that a row of a table names.
  struct Match {
    NodeId origin;
    NodeSlot slot = 0;
    bool wanted = false;  ///< nothing of it is known yet: its facts may be imported
  };
  /// What the parts say of one origin so far.
  struct Column {
    NodeId origin;
    NodeSlot slot = 0;
    std::uint64_t seq = 0;         ///< the lowest of all tables
    std::uint64_t set_hash = 0;    ///< at it
    std::uint64_t last_seq = 0;    ///< the highest
    std::uint64_t facts_hash = 0;  ///< XOR of id_hash() of the ids imported
    std::size_t id_count = 0;
    bool refused = false;  ///< the index had no room for all of it
    bool left = false;
  };
  enum class Verdict {
    taken,
    ended,  ///< taken, and it was the last one
    unasked,
    bad,   ///< contradicts itself: another member is to be asked
    poor,  ///< knows too few of the origins: likewise
  };

  SnapshotImport(TimePoint now, const NodeId& server);

  // Questions.
  [[nodiscard]] const NodeId& server() const { return server_; }
  /// The question that is due, once.
  [[nodiscard]] std::optional<SnapshotPull> poll_question(TimePoint now);
  /// The member asked said nothing for too long.
  [[nodiscard]] bool is_silent(TimePoint now) const;
  /// Another member is to be asked for the same part.
  void move_to(TimePoint now, const NodeId& server);
  /// Too many members gave nothing, or it took too long.
  [[nodiscard]] bool has_failed(TimePoint now) const;
  [[nodiscard]] TimePoint next_deadline() const;
  [[nodiscard]] SnapshotCursor cursor() const { return cursor_; }

  // Parts.
  /// Whether this answers the question, and holds together.
  [[nodiscard]] Verdict check(const NodeId& from, const SnapshotPart& part, const IdKey& key) const;
  /// Takes the table, when there is one. @pre check() said taken
  /// @param rows  the origin here of each row, ascending, each once
  /// @return false when it lacks too many origins: nothing changed then
  [[nodiscard]] bool take_table(const SnapshotPart& part,
                                std::span<const std::optional<Match>> rows);
  /// Puts the part's facts into the index and moves the cursor. @param slot_words  words for every
  /// slot of the node  @param undefined  gets the ids that nobody explained
  /// @pre check() said taken, and take_table() did
  [[nodiscard]] Verdict apply(const SnapshotPart& part, const IdKey& key, ContentIndex& index,
                              std::size_t slot_words, std::vector<Id64>& undefined);

  // Origins.
  /// Its facts come by this import; also after it left, until clear_left().
  [[nodiscard]] bool has(const NodeId& origin) const;
  /// True until the first table came: any origin may be part of it.
  [[nodiscard]] bool is_open() const { return table_hash_ == 0; }
  /// It is down, restarted or wrong. False when it is not (any more) part of the import.
  bool leave(const NodeId& origin);
  void leave_all();
  /// The slots whose facts are to be cleared, each once.
  [[nodiscard]] std::vector<NodeSlot> take_left();
  /// More ids than an origin may have were said to be of some that left for it.
  [[nodiscard]] bool was_overfull() const { return overfull_; }
  /// Those that did not leave, ascending by id.
  [[nodiscard]] std::span<const Column> columns() const { return columns_; }

 private:
  static constexpr std::uint16_t none = UINT16_MAX;
  /// Parts of a member that knows so much less are worth less than another question.
  static constexpr std::size_t poor_share = 4;

  [[nodiscard]] std::size_t find(const NodeId& origin) const;  // columns_.size() when it has none
  void note(std::size_t row, Column& column, const SnapshotOrigin& state);

  NodeId server_;
  SnapshotCursor cursor_;
  TimePoint ends_at_;
  TimePoint next_at_;                  // earliest next question
  std::optional<TimePoint> asked_at_;  // of the outstanding one
  std::size_t tries_ = 0;
  bool overfull_ = false;
  std::uint64_t table_hash_ = 0;
  std::vector<Column> columns_;           // ascending by id
  std::vector<std::uint16_t> column_of_;  // by row of the present table
};

}  // namespace waggle::gossip
