// A snapshot of the content index as it travels: whose facts it shows, and the facts turned around,
// id -> holders. Packed like logs (log_wire.hpp). Format: docs/wire-announcements.md.
#pragma once

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/siphash.hpp"
#include "gossip/log_wire.hpp"
#include "gossip/packed.hpp"
#include "gossip/slot_words.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Where a part begins: first come the ids, then the names, each ascending.
struct SnapshotCursor {
  bool names = false;
  std::uint64_t at = 0;  ///< an id64, or the key64 of a name
  auto operator<=>(const SnapshotCursor&) const = default;
};

/// An origin as the giver of a part knows it. Its position in the table numbers it in the part.
struct SnapshotOrigin {
  NodeRef origin;
  std::uint16_t incarnation = 0;  ///< low_bits()
  std::uint64_t seq = 1;
  std::uint64_t set_hash = 0;
  auto operator<=>(const SnapshotOrigin&) const = default;
};

/// Asks for the part at `from`; answered by SNAPSHOT_PART or SNAPSHOT_NONE.
struct SnapshotPull {
  SnapshotCursor from;
  std::uint64_t table_hash = 0;  ///< of the table that the asker has; 0 = none
};
/// What the giver's index has from a cursor on, at the time of the answer.
struct SnapshotPart {
  SnapshotCursor from;
  std::uint64_t next = 0;               ///< where the following part begins; 0: nothing follows
  std::uint64_t table_hash = 0;         ///< snapshot_table_hash()
  std::size_t origin_count = 0;         ///< rows of the table, up to limits::members_max
  std::vector<SnapshotOrigin> origins;  ///< the table, ascending; empty when the asker has it
  Bytes entries;                        ///< SnapshotPacker's; none in a part of names
  std::vector<std::shared_ptr<const SignedName>> names;  ///< ascending by key64
};
/// The asked node gives too many parts already.
struct SnapshotNone {};

void append_packed(Bytes& out, const SnapshotOrigin& row);
[[nodiscard]] SnapshotOrigin read_snapshot_origin(PackedReader& in);
/// SipHash of the packed table: equal tables number the same origins in the same states.
[[nodiscard]] std::uint64_t snapshot_table_hash(const IdKey& key,
                                                std::span<const SnapshotOrigin> table);

/// One bit per row of the largest table.
using SnapshotBits = std::array<std::uint64_t, words_for(limits::members_max)>;

/// An id with its holders.
struct SnapshotEntry {
  std::optional<Definition> definition;    ///< the id follows from it
  Id64 id{};                               ///< only without a definition
  std::span<const std::uint64_t> holders;  ///< bit i of word i/64: row i; at least one
  [[nodiscard]] Id64 id64(const IdKey& key) const {
    return definition ? id64_of(key, definition->digest) : id;
  }
};

/// Packs entries up to a number of bytes. Holders are a list or a bitmap, whichever is smaller.
class SnapshotPacker {
 public:
  SnapshotPacker(std::size_t origin_count, std::size_t bytes_max)
      : origin_count_(origin_count), bytes_max_(bytes_max) {}

  /// False when the entry does not fit any more. Cost O(holders), about 2 ns each.
  [[nodiscard]] bool append(const SnapshotEntry& entry);
  [[nodiscard]] std::size_t size() const { return packed_.size(); }
  /// Takes back what was appended since the packer had this size.
  void shrink_to(std::size_t size) { packed_.resize(size); }
  [[nodiscard]] Bytes take() { return std::move(packed_); }

 private:
  std::size_t origin_count_;
  std::size_t bytes_max_;
  Bytes packed_;
};

/// Reads packed entries one after the other.
class SnapshotReader {
 public:
  SnapshotReader(ByteView packed, std::size_t origin_count)
      : in_(packed), origin_count_(origin_count) {}

  /// Nullopt at the end, and at the first entry that is not as the packer writes them: then ok() is
  /// false. The holders live until the next call.
  [[nodiscard]] std::optional<SnapshotEntry> next();
  [[nodiscard]] bool ok() const { return in_.ok(); }

 private:
  void read_list();
  void read_bitmap();

  PackedReader in_;
  std::size_t origin_count_;
  SnapshotBits bits_;
};

}  // namespace waggle::gossip
