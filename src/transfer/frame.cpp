// Record headers and the incremental decoder.
#include "transfer/frame.hpp"

#include "base/assert.hpp"
#include "transfer/error.hpp"

#include <algorithm>
#include <cstring>

namespace waggle::transfer {
namespace {

constexpr std::uint32_t length_mask = 0x00ff'ffffU;
constexpr std::uint32_t kind_shift = 24;
constexpr std::size_t flag_bytes = 1;
constexpr std::uint32_t relayed_bit = 0x8000'0000U;

/// Message bytes in one full control record.
constexpr std::size_t control_part_bytes = limits::frame_bytes_max - record_tag_bytes - flag_bytes;

}  // namespace

void PayloadHeader::to_wire(std::span<std::byte, payload_header_bytes> out) const {
  std::ranges::copy(tag.bytes, out.begin());
  store_le(out.subspan(16), to_value(chunk));
  store_le(out.subspan(20), offset);
  store_le(out.subspan(24), length | (relayed ? relayed_bit : 0));
}

PayloadHeader PayloadHeader::from_wire(std::span<const std::byte, payload_header_bytes> wire) {
  PayloadHeader header;
  std::ranges::copy(wire.first(16), header.tag.bytes.begin());
  header.chunk = ChunkIndex{load_le<std::uint32_t>(wire.subspan(16))};
  header.offset = load_le<std::uint32_t>(wire.subspan(20));
  const auto length = load_le<std::uint32_t>(wire.subspan(24));
  header.length = length & ~relayed_bit;
  header.relayed = (length & relayed_bit) != 0;
  return header;
}

std::array<std::byte, record_header_bytes> RecordHeader::to_wire() const {
  std::array<std::byte, record_header_bytes> out{};
  store_le(out, length | (static_cast<std::uint32_t>(kind) << kind_shift));
  return out;
}

Result<RecordHeader> RecordHeader::from_wire(std::span<const std::byte, record_header_bytes> wire) {
  const auto word = load_le<std::uint32_t>(wire);
  const std::size_t length = word & length_mask;
  const RecordHeader header{static_cast<RecordKind>(word >> kind_shift), word & length_mask};
  switch (header.kind) {
    case RecordKind::control:
      if (length < record_tag_bytes + flag_bytes || length > limits::frame_bytes_max) break;
      return header;
    case RecordKind::payload:
      if (length < record_tag_bytes + payload_header_bytes ||
          length > payload_sealed_bytes(limits::payload_bytes_max)) {
        break;
      }
      return header;
  }
  return make_error_code(TransferError::bad_record);
}

FrameReader::FrameReader(std::size_t capacity)
    : buffer_(std::make_unique_for_overwrite<std::byte[]>(capacity)), capacity_(capacity) {
  WAGGLE_ASSERT(capacity >= record_bytes_max);
}

MutableByteView FrameReader::prepare() {
  // Moving the unfinished tail costs less than a read that is split because the free end is short.
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (begin_ > 0 && capacity_ - end_ < capacity_ / 2) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return {buffer_.get() + end_, capacity_ - end_};
}

void FrameReader::commit(std::size_t size) {
  WAGGLE_ASSERT(size <= capacity_ - end_);
  end_ += size;
}

void FrameReader::take_rest(FrameReader& from) {
  WAGGLE_ASSERT(begin_ == end_ && capacity_ == from.capacity_);
  begin_ = 0;
  end_ = from.buffered();
  std::memcpy(buffer_.get(), from.buffer_.get() + from.begin_, end_);
  from.begin_ = from.end_;
}

Result<std::optional<Record>> FrameReader::next() {
  const MutableByteView held(buffer_.get() + begin_, end_ - begin_);
  if (held.size() < record_header_bytes) return std::optional<Record>{};
  const auto header = RecordHeader::from_wire(held.first<record_header_bytes>());
  if (!header) return header.error();
  if (held.size() - record_header_bytes < header->length) return std::optional<Record>{};
  begin_ += record_header_bytes + header->length;
  return std::optional<Record>(Record{header->kind, held.first(record_header_bytes),
                                      held.subspan(record_header_bytes, header->length)});
}

std::size_t FrameReader::lacking() const {
  if (buffered() < record_header_bytes) return 1;
  const ByteView header(buffer_.get() + begin_, record_header_bytes);
  const std::size_t length = load_le<std::uint32_t>(header) & length_mask;
  return std::max<std::size_t>(
      1, record_header_bytes + length - std::min(buffered(), record_header_bytes + length));
}

Result<std::optional<Bytes>> ControlJoiner::add(ByteView plaintext) {
  if (plaintext.empty()) return make_error_code(TransferError::bad_record);
  const std::byte flag = plaintext.front();
  const ByteView part = plaintext.subspan(flag_bytes);
  if (flag != control_last && flag != control_more) {
    return make_error_code(TransferError::bad_record);
  }
  if (parts_.size() + part.size() > limits::control_frame_bytes_max) {
    return make_error_code(TransferError::control_too_long);
  }
  append(parts_, part);
  // A part that is not full and not last would let a peer send endless empty parts.
  if (flag == control_more) {
    if (part.size() != control_part_bytes) return make_error_code(TransferError::bad_record);
    return std::optional<Bytes>{};
  }
  return std::optional<Bytes>(std::exchange(parts_, {}));
}

std::vector<ByteView> control_parts(ByteView message) {
  std::vector<ByteView> parts;
  do {
    parts.push_back(message.first(std::min(message.size(), control_part_bytes)));
    message = message.subspan(parts.back().size());
  } while (!message.empty());
  return parts;
}

std::size_t control_wire_bytes(std::size_t size) {
  const std::size_t records =
      std::max<std::size_t>(1, (size + control_part_bytes - 1) / control_part_bytes);
  return size + records * (record_header_bytes + flag_bytes + record_tag_bytes);
}

}  // namespace waggle::transfer
