// Packed tables and entries of a snapshot.
#include "gossip/snapshot_wire.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace waggle::gossip {
namespace {

// The first byte of an entry: what says the id, and how the holders are written.
enum class What : std::uint8_t { bare_id = 0, sha256 = 1, sha512 = 2 };
constexpr std::uint8_t bitmap_flag = 0x80;

std::size_t bitmap_bytes(std::size_t origin_count) { return (origin_count + 7) / 8; }

What what_of(const SnapshotEntry& entry) {
  if (!entry.definition) return What::bare_id;
  return entry.definition->digest.algorithm() == DigestAlgorithm::sha512 ? What::sha512
                                                                         : What::sha256;
}

/// Calls visit(distance from the holder before) for each.
template <typename Visit>
void for_each_step(std::span<const std::uint64_t> words, Visit visit) {
  std::size_t next = 0;
  for_each_slot(words, [&](std::size_t row) {
    visit(row - next);
    next = row + 1;
  });
}

}  // namespace

void append_packed(Bytes& out, const SnapshotOrigin& row) {
  append_head(out, {0, row.origin, row.incarnation, row.seq});
  append_le(out, row.set_hash);
}

SnapshotOrigin read_snapshot_origin(PackedReader& in) {
  const PieceHead head = read_head(in);
  if (head.number != 0) in.fail();
  return {head.origin, head.incarnation, head.seq, in.le<std::uint64_t>()};
}

std::uint64_t snapshot_table_hash(const IdKey& key, std::span<const SnapshotOrigin> table) {
  Bytes packed;
  for (const SnapshotOrigin& row : table) append_packed(packed, row);
  return siphash(key, packed);
}

// ---- entries ----

bool SnapshotPacker::append(const SnapshotEntry& entry) {
  WAGGLE_ASSERT(entry.holders.size() == words_for(origin_count_));
  const std::size_t before = packed_.size();
  std::size_t count = 0;
  std::size_t list_bytes = 0;
  for_each_step(entry.holders, [&](std::size_t step) {
    ++count;
    list_bytes += varint_bytes(step);
  });
  WAGGLE_ASSERT(count > 0);
  const What what = what_of(entry);
  const bool as_bitmap = varint_bytes(count) + list_bytes > bitmap_bytes(origin_count_);
  packed_.push_back(
      static_cast<std::byte>(static_cast<unsigned>(what) | (as_bitmap ? bitmap_flag : 0U)));
  if (what == What::bare_id) {
    append_le(packed_, to_value(entry.id));
  } else {
    waggle::append(packed_, entry.definition->digest.bytes());
    append_varint(packed_, entry.definition->size);
  }
  if (as_bitmap) {
    std::size_t left = bitmap_bytes(origin_count_);
    for (const std::uint64_t word : entry.holders) {
      std::array<std::byte, 8> bytes;
      store_le(MutableByteView(bytes), word);
      waggle::append(packed_, ByteView(bytes).first(std::min<std::size_t>(8, left)));
      left -= std::min<std::size_t>(8, left);
    }
  } else {
    append_varint(packed_, count);
    for_each_step(entry.holders, [&](std::size_t step) { append_varint(packed_, step); });
  }
  if (packed_.size() <= bytes_max_) return true;
  packed_.resize(before);
  return false;
}

std::optional<SnapshotEntry> SnapshotReader::next() {
  if (!in_.ok() || in_.empty()) return std::nullopt;
  const auto head = in_.le<std::uint8_t>();
  SnapshotEntry entry;
  switch (static_cast<What>(head & ~unsigned{bitmap_flag})) {
    case What::bare_id:
      entry.id = Id64{in_.le<std::uint64_t>()};
      break;
    case What::sha256:
    case What::sha512: {
      const bool is_long = static_cast<What>(head & ~unsigned{bitmap_flag}) == What::sha512;
      const auto algorithm = is_long ? DigestAlgorithm::sha512 : DigestAlgorithm::sha256;
      const ByteView hash = in_.bytes(is_long ? 64 : 32);
      const std::uint64_t size = in_.varint(limits::blob_bytes_max);
      if (in_.ok()) entry.definition = Definition{Digest(algorithm, hash), size};
      break;
    }
    default:
      in_.fail();
  }
  std::fill_n(bits_.begin(), words_for(origin_count_), 0);
  (head & bitmap_flag) != 0 ? read_bitmap() : read_list();
  if (!in_.ok()) return std::nullopt;
  entry.holders = std::span(bits_).first(words_for(origin_count_));
  return entry;
}

void SnapshotReader::read_list() {
  const std::uint64_t count = in_.varint(origin_count_);
  if (count == 0) in_.fail();
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < count && in_.ok(); ++i) {
    const std::uint64_t row = next + in_.varint(origin_count_);
    if (row >= origin_count_) return in_.fail();
    set_slot(bits_, row);
    next = row + 1;
  }
}

void SnapshotReader::read_bitmap() {
  const ByteView bytes = in_.bytes(bitmap_bytes(origin_count_));
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    any |= bits_[i / 8] |= std::to_integer<std::uint64_t>(bytes[i]) << (i % 8 * 8);
  }
  const std::size_t beyond = origin_count_ % 64;
  const bool padded = beyond != 0 && in_.ok() && bits_[origin_count_ / 64] >> beyond != 0;
  if (any == 0 || padded) in_.fail();
}

}  // namespace waggle::gossip
