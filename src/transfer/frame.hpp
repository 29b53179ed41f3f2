// The record layer of a session's byte stream: headers, the incremental decoder, and the joining of
// control messages. It knows lengths and kinds, no keys (session_crypt.hpp). Page:
// docs/wire-transfer.md, "Records".
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace waggle::transfer {

enum class RecordKind : std::uint8_t { control = 1, payload = 2 };

inline constexpr std::size_t record_header_bytes = 4;
inline constexpr std::size_t record_tag_bytes = 16;
inline constexpr std::size_t payload_header_bytes = 28;
inline constexpr std::byte control_last{0};  ///< flag byte: the message ends in this record
inline constexpr std::byte control_more{1};  ///< flag byte: more records follow

/// Sealed bytes of a payload record with `length` bytes of data.
[[nodiscard]] constexpr std::size_t payload_sealed_bytes(std::size_t length) {
  return payload_header_bytes + length + record_tag_bytes;
}
/// Bytes on the wire of the same.
[[nodiscard]] constexpr std::size_t payload_record_bytes(std::size_t length) {
  return record_header_bytes + payload_sealed_bytes(length);
}
inline constexpr std::size_t record_bytes_max = payload_record_bytes(limits::payload_bytes_max);
static_assert(record_bytes_max > record_header_bytes + limits::frame_bytes_max);

/// Names the bytes of one payload frame: `length` bytes from `offset` of a chunk of a swarm's blob.
struct PayloadHeader {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::uint32_t offset = 0;  ///< within the chunk [bytes]
  std::uint32_t length = 0;  ///< 0..limits::payload_bytes_max
  bool relayed = false;      ///< part of a stripe announced by RELAY, not asked for
  auto operator<=>(const PayloadHeader&) const = default;

  /// tag 16 | chunk u32 | offset u32 | length u32, little-endian; the length's high bit: relayed.
  void to_wire(std::span<std::byte, payload_header_bytes> out) const;
  [[nodiscard]] static PayloadHeader from_wire(
      std::span<const std::byte, payload_header_bytes> wire);
};

/// The clear header of a record: its kind and how many sealed bytes follow.
struct RecordHeader {
  RecordKind kind = RecordKind::control;
  std::uint32_t length = 0;  ///< sealed bytes, tag included

  /// u32 little-endian: length in the low 24 bits, kind in the high 8.
  [[nodiscard]] std::array<std::byte, record_header_bytes> to_wire() const;
  /// bad_record: unknown kind, or a length that this kind cannot have.
  [[nodiscard]] static Result<RecordHeader> from_wire(
      std::span<const std::byte, record_header_bytes> wire);
};

/// One whole record in the reader's buffer. The body may be opened in place.
struct Record {
  RecordKind kind = RecordKind::control;
  ByteView header;       ///< the 4 header bytes: AAD of payload records
  MutableByteView body;  ///< sealed bytes and tag
};

/// Cuts a byte stream into records, whatever the splits. One buffer of fixed size; nothing is
/// copied but the unfinished record at a buffer's end. Contract: fill prepare(), commit() what was
/// read, then take next() until it is empty. Views of a record are valid until the following
/// prepare(). After an error the stream is lost: close it.
class FrameReader {
 public:
  /// @param capacity  at least one record of the largest size
  explicit FrameReader(std::size_t capacity = limits::session_read_buffer_bytes);

  /// Free space at the end, never empty when next() has returned nothing.
  [[nodiscard]] MutableByteView prepare();
  /// @pre size <= the last prepare().size()
  void commit(std::size_t size);
  /// The next whole record; nothing when more bytes are needed; bad_record when the stream is not
  /// ours.
  [[nodiscard]] Result<std::optional<Record>> next();
  /// Bytes that the next whole record lacks, at least 1. @pre next() returned nothing
  [[nodiscard]] std::size_t lacking() const;
  /// Bytes held that next() has not given out.
  [[nodiscard]] std::size_t buffered() const { return end_ - begin_; }
  /// Takes over what `from` holds and has not given out; views of records of `from` stay valid.
  /// @pre nothing is held here, and the capacities are the same
  void take_rest(FrameReader& from);

 private:
  // Not zeroed: a session that only ever sees small messages touches the first pages only.
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t capacity_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

/// Joins the opened control records of one session into messages. Each begins with a flag byte; a
/// part that more follow is full.
class ControlJoiner {
 public:
  /// The message when `plaintext` ends one; nothing while parts are missing.
  /// control_too_long past limits::control_frame_bytes_max; bad_record for an unknown flag, none,
  /// or a short part that is not the last.
  [[nodiscard]] Result<std::optional<Bytes>> add(ByteView plaintext);

 private:
  Bytes parts_;
};

/// The parts a control message is sent in, one record each, all but the last full; views into
/// `message`.
[[nodiscard]] std::vector<ByteView> control_parts(ByteView message);
/// Bytes on the wire of a control message of `size` bytes.
[[nodiscard]] std::size_t control_wire_bytes(std::size_t size);

}  // namespace waggle::transfer
