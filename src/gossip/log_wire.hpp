// Pieces of logs as messages carry them: records, states of logs, ranges to pull. Packed, because
// they are nearly all that gossip sends. Format: docs/wire-announcements.md.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/packed.hpp"
#include "gossip/records.hpp"

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace waggle::gossip {

/// What an id64 stands for.
struct Definition {
  Digest digest;
  std::uint64_t size = 0;
  auto operator<=>(const Definition&) const = default;
};

/// A NAME with its author's signature over name_signed_bytes(). The author is the origin of the log
/// it stands in.
struct SignedName {
  NameRecord record;
  NodeId author;
  std::uint64_t hlc_ms = 0;
  Signature signature;
};

// Records of an origin's log. Each takes one sequence number, the first is 1.
struct Have {
  Id64 id{};
};
/// A HAVE that also says what the id stands for; the id is computed from the digest, so it cannot
/// be a lie.
struct DefinedHave {
  Definition definition;
};
struct Drop {
  Id64 id{};
};
struct Named {
  std::shared_ptr<const SignedName> name;  ///< its author is not on the wire: zero after decoding
};
/// Opens a log whose set is what (incarnation, seq) of the same origin had: receivers with that
/// state keep it.
struct Base {
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;
  std::uint64_t set_hash = 0;
  auto operator<=>(const Base&) const = default;
};
using Record = std::variant<Have, DefinedHave, Drop, Named, Base>;

/// How messages name a member: by the first 4 bytes of its id, or by all 16 where the sender knows
/// two members with the same 4. Ordered as ids.
struct NodeRef {
  NodeId id;          ///< of a short one the other 12 bytes are zero
  bool whole = true;  ///< all 16 bytes are meant
  auto operator<=>(const NodeRef&) const = default;
  [[nodiscard]] static NodeRef short_of(const NodeId& id);
  /// The first 4 bytes as a number in id order.
  [[nodiscard]] std::uint32_t prefix() const { return prefix_of(id); }
  [[nodiscard]] static std::uint32_t prefix_of(const NodeId& id);
  /// The lowest id with these first 4 bytes.
  [[nodiscard]] static NodeId lowest(std::uint32_t prefix);
};

/// Messages carry only this much of an incarnation: they are about the one that both sides know
/// from membership, or they are ignored.
[[nodiscard]] constexpr std::uint16_t low_bits(std::uint64_t incarnation) {
  return static_cast<std::uint16_t>(incarnation);
}
/// And of a set hash.
[[nodiscard]] constexpr std::uint32_t short_hash(std::uint64_t set_hash) {
  return static_cast<std::uint32_t>(set_hash);
}

/// Consecutive records of one log, from any node that has them.
struct LogSlice {
  NodeRef origin;
  std::uint16_t incarnation = 0;  ///< low_bits()
  std::uint64_t first_seq = 1;
  std::vector<Record> records;  ///< 1..limits::records_per_slice_max
  /// Of the first record when the slice is sent: since its origin appended it, as far as the sender
  /// knows. Rounded on the wire (age_code()).
  std::optional<Duration> age;
};

/// Ages travel as a number below age_codes: steps of 4 ms up to 64 ms, then of an eighth to a
/// sixteenth, up to 61 s; the nearest one. Longer ones count as 61 s, negative ones as 0.
inline constexpr std::uint8_t age_codes = 96;
[[nodiscard]] std::uint8_t age_code(Duration age);
/// @pre code < age_codes
[[nodiscard]] Duration age_of(std::uint8_t code);

/// State of one log at the sender.
struct LogState {
  NodeRef origin;
  std::uint16_t incarnation = 0;  ///< low_bits()
  std::uint64_t seq = 1;          ///< last applied without a gap
  std::uint32_t set_hash = 0;     ///< short_hash()
  /// Records before and at `seq` that the sender can give; up to limits::log_depth_told_max.
  std::uint8_t log_depth = 0;
  auto operator<=>(const LogState&) const = default;
};

/// Records wanted: those of one log from `from_seq` on.
struct LogRange {
  NodeRef origin;
  std::uint16_t incarnation = 0;  ///< low_bits()
  std::uint64_t from_seq = 1;
  auto operator<=>(const LogRange&) const = default;
};

/// How every packed piece begins: a number of 7 bits, a log, a place in it.
struct PieceHead {
  std::uint8_t number = 0;  ///< below 128
  NodeRef origin;
  std::uint16_t incarnation = 0;  ///< low_bits()
  std::uint64_t seq = 1;
};
void append_head(Bytes& out, const PieceHead& head);
[[nodiscard]] PieceHead read_head(PackedReader& in);
[[nodiscard]] std::size_t packed_bytes(const PieceHead& head);

void append_packed(Bytes& out, const LogSlice& slice);
void append_packed(Bytes& out, const LogState& state);
void append_packed(Bytes& out, const LogRange& range);
/// Each reads one; the reader fails on anything that append_packed() does not write.
[[nodiscard]] LogSlice read_slice(PackedReader& in);
[[nodiscard]] LogState read_state(PackedReader& in);
[[nodiscard]] LogRange read_range(PackedReader& in);

/// How many bytes append_packed() writes for a slice that grows record by record.
class SliceSize {
 public:
  /// @param head  its origin, first_seq and age count, its records do not
  explicit SliceSize(const LogSlice& head);
  /// What one more record would add.
  [[nodiscard]] std::size_t cost_of(const Record& next) const;
  void add(const Record& next);
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  [[nodiscard]] bool joins_run(const Record& next) const;

  std::size_t bytes_;
  std::size_t run_kind_ = 0;
  std::size_t run_records_ = 0;  ///< of the last run
};
[[nodiscard]] std::size_t packed_bytes(const LogState& state);
/// Bytes of a range, at most.
inline constexpr std::size_t range_bytes_max = 1 + 16 + 2 + 10;

/// What a NAME's author signs: a domain, the cluster's id key and every field, each of fixed or
/// stated length.
[[nodiscard]] Bytes name_signed_bytes(const IdKey& key, const SignedName& name);

/// One id's share of a set hash: SipHash of the id.
[[nodiscard]] std::uint64_t id_hash(const IdKey& key, Id64 id);

}  // namespace waggle::gossip
