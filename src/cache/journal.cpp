// Records of the journal: {payload length u16, kind u8, payload, XXH3-64 over the rest, seeded by the last record's}.
#include "cache/journal.hpp"

#include "base/assert.hpp"
#include "base/blob_layout.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <cstring>

#include <xxhash.h>

namespace waggle::cache {
namespace {

constexpr std::uint16_t format_version = 1;
constexpr std::string_view journal_magic = "WGLJRNL\n";
constexpr std::string_view sidecar_magic = "WGLMIDS\n";
constexpr std::size_t record_head_bytes = 3;  // length u16, kind u8
constexpr std::size_t checksum_bytes = 8;

enum class RecordKind : std::uint8_t { header = 1, chunk = 2, link = 3, drop = 4 };

/// A cursor over untrusted bytes: every take fails softly.
class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}
  [[nodiscard]] bool take(std::size_t count, ByteView& out) {
    if (rest_.size() < count) return false;
    out = rest_.first(count);
    rest_ = rest_.subspan(count);
    return true;
  }
  template <typename T>
  [[nodiscard]] bool take_le(T& out) {
    ByteView bytes;
    if (!take(sizeof(T), bytes)) return false;
    out = load_le<T>(bytes);
    return true;
  }
  [[nodiscard]] ByteView rest() const { return rest_; }

 private:
  ByteView rest_;
};

void append_digest(Bytes& out, const Digest& digest) {
  const Bytes wire = digest.to_wire();
  out.push_back(static_cast<std::byte>(wire.size()));
  append(out, wire);
}

bool take_digest(Reader& reader, Digest& out) {
  std::uint8_t length = 0;
  ByteView wire;
  if (!reader.take_le(length) || !reader.take(length, wire)) return false;
  auto digest = Digest::from_wire(wire);
  if (!digest) return false;
  out = *digest;
  return true;
}

bool take_midstate(Reader& reader, Midstate& out) {
  ByteView bytes;
  if (!reader.take(out.bytes.size(), bytes)) return false;
  std::copy(bytes.begin(), bytes.end(), out.bytes.begin());
  return true;
}

Result<JournalHeader> decode_header(ByteView payload) {
  Reader reader(payload);
  ByteView magic;
  std::uint16_t version = 0;
  if (!reader.take(journal_magic.size(), magic) || as_text(magic) != journal_magic) {
    return BaseError::malformed;
  }
  if (!reader.take_le(version)) return BaseError::malformed;
  if (version != format_version) return BaseError::unsupported;
  JournalHeader header;
  if (!take_digest(reader, header.digest) || !reader.take_le(header.size)) {
    return BaseError::malformed;
  }
  if (header.size > limits::blob_bytes_max) return BaseError::limit_exceeded;
  if (reader.rest().size() > limits::origin_bytes_max) return BaseError::limit_exceeded;
  header.origin = as_text(reader.rest());
  return header;
}

bool apply_chunk(Reader& reader, ChunkIndex index, JournalState& state) {
  JournalChunk chunk;
  std::uint8_t kind = 0;
  if (!reader.take_le(chunk.checksum) || !reader.take_le(kind)) return false;
  if (kind < to_value(ProofKind::crec) || kind > to_value(ProofKind::own)) return false;
  if (reader.rest().size() > limits::journal_proof_bytes_max) return false;
  chunk.kind = static_cast<ProofKind>(kind);
  chunk.proof = to_bytes(reader.rest());
  state.chunks.insert_or_assign(index, std::move(chunk));
  return true;
}

/// Applies one record after the header; false when it is not a record this version writes.
bool apply(RecordKind kind, ByteView payload, std::uint32_t chunk_count, JournalState& state) {
  Reader reader(payload);
  std::uint32_t value = 0;
  if (!reader.take_le(value) || value >= chunk_count) return false;
  const ChunkIndex index{value};
  switch (kind) {
    case RecordKind::header: return false;
    case RecordKind::chunk: return apply_chunk(reader, index, state);
    case RecordKind::link: {
      Midstate end;
      if (!take_midstate(reader, end) || !reader.rest().empty()) return false;
      state.links.insert_or_assign(index, end);
      return true;
    }
    case RecordKind::drop:
      if (!reader.rest().empty()) return false;
      state.chunks.erase(index);
      state.links.erase(index);
      return true;
  }
  return false;
}

struct Record {
  RecordKind kind{};
  ByteView payload;
  std::size_t bytes = 0;
  std::uint64_t chain = 0;
};

std::optional<Record> next_record(ByteView rest, std::uint64_t chain) {
  if (rest.size() < record_head_bytes + checksum_bytes) return std::nullopt;
  const std::size_t length = load_le<std::uint16_t>(rest);
  const std::size_t covered = record_head_bytes + length;
  if (rest.size() < covered + checksum_bytes) return std::nullopt;
  const std::uint64_t expected = checksum(rest.first(covered), chain);
  if (load_le<std::uint64_t>(rest.subspan(covered)) != expected) return std::nullopt;
  return Record{static_cast<RecordKind>(rest[2]), rest.subspan(record_head_bytes, length),
                covered + checksum_bytes, expected};
}

}  // namespace

std::uint64_t checksum(ByteView bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Bytes JournalWriter::seal(ByteView payload) {
  // payload[0] is the kind; the length counts what follows it.
  Bytes record;
  record.reserve(2 + payload.size() + checksum_bytes);
  append_le(record, static_cast<std::uint16_t>(payload.size() - 1));
  append(record, payload);
  chain_ = checksum(record, chain_);
  append_le(record, chain_);
  return record;
}

Bytes JournalWriter::header(const JournalHeader& header) {
  WAGGLE_ASSERT(header.origin.size() <= limits::origin_bytes_max);
  WAGGLE_ASSERT(header.size <= limits::blob_bytes_max);
  Bytes payload{static_cast<std::byte>(RecordKind::header)};
  append(payload, as_bytes(journal_magic));
  append_le(payload, format_version);
  append_digest(payload, header.digest);
  append_le(payload, header.size);
  append(payload, as_bytes(header.origin));
  return seal(payload);
}

Bytes JournalWriter::chunk(ChunkIndex index, const JournalChunk& chunk) {
  WAGGLE_ASSERT(chunk.proof.size() <= limits::journal_proof_bytes_max);
  Bytes payload{static_cast<std::byte>(RecordKind::chunk)};
  append_le(payload, to_value(index));
  append_le(payload, chunk.checksum);
  payload.push_back(static_cast<std::byte>(chunk.kind));
  append(payload, chunk.proof);
  return seal(payload);
}

Bytes JournalWriter::link(ChunkIndex index, const Midstate& end) {
  Bytes payload{static_cast<std::byte>(RecordKind::link)};
  append_le(payload, to_value(index));
  append(payload, end.bytes);
  return seal(payload);
}

Bytes JournalWriter::drop(ChunkIndex index) {
  Bytes payload{static_cast<std::byte>(RecordKind::drop)};
  append_le(payload, to_value(index));
  return seal(payload);
}

Result<JournalState> replay_journal(ByteView bytes) {
  if (bytes.size() > limits::journal_bytes_max) return BaseError::limit_exceeded;
  const auto first = next_record(bytes, 0);
  if (!first) return BaseError::truncated;
  if (first->kind != RecordKind::header) return BaseError::malformed;
  auto header = decode_header(first->payload);
  if (!header) return header.error();
  JournalState state;
  state.header = std::move(*header);
  state.valid_bytes = first->bytes;
  state.chain = first->chain;
  const std::uint32_t chunk_count = BlobLayout(state.header.size).chunk_count();
  while (const auto record = next_record(bytes.subspan(state.valid_bytes), state.chain)) {
    if (!apply(record->kind, record->payload, chunk_count, state)) break;
    state.valid_bytes += record->bytes;
    state.chain = record->chain;
  }
  return state;
}

Bytes encode_sidecar(const MidstateList& list) {
  WAGGLE_ASSERT(list.size <= limits::blob_bytes_max);
  WAGGLE_ASSERT(list.midstates.size() <= BlobLayout(list.size).chunk_count());
  Bytes out = to_bytes(as_bytes(sidecar_magic));
  append_le(out, format_version);
  append_digest(out, list.digest);
  append_le(out, list.size);
  append_le(out, static_cast<std::uint32_t>(list.midstates.size()));
  const std::uint64_t head = checksum(out);
  append_le(out, head);
  const std::size_t body = out.size();
  for (const auto& midstate : list.midstates) append(out, midstate.bytes);
  append_le(out, checksum(ByteView(out).subspan(body), head));
  return out;
}

namespace {

struct SidecarHead {
  MidstateList list;
  std::uint32_t count = 0;
  std::uint64_t checksum = 0;
  std::size_t bytes = 0;
};

Result<SidecarHead> take_sidecar_head(ByteView bytes) {
  Reader reader(bytes);
  SidecarHead head;
  ByteView magic;
  std::uint16_t version = 0;
  if (!reader.take(sidecar_magic.size(), magic)) return BaseError::truncated;
  if (as_text(magic) != sidecar_magic) return BaseError::malformed;
  if (!reader.take_le(version)) return BaseError::truncated;
  if (version != format_version) return BaseError::unsupported;
  if (!take_digest(reader, head.list.digest) || !reader.take_le(head.list.size) ||
      !reader.take_le(head.count)) {
    return BaseError::malformed;
  }
  const std::size_t covered = bytes.size() - reader.rest().size();
  if (!reader.take_le(head.checksum)) return BaseError::truncated;
  if (head.checksum != checksum(bytes.first(covered))) return BaseError::malformed;
  if (head.list.size > limits::blob_bytes_max ||
      head.count > BlobLayout(head.list.size).chunk_count()) {
    return BaseError::limit_exceeded;
  }
  head.bytes = covered + checksum_bytes;
  return head;
}

}  // namespace

Result<MidstateList> decode_sidecar_head(ByteView bytes) {
  auto head = take_sidecar_head(bytes);
  if (!head) return head.error();
  return std::move(head->list);
}

Result<MidstateList> decode_sidecar(ByteView bytes) {
  auto head = take_sidecar_head(bytes);
  if (!head) return head.error();
  const ByteView body = bytes.subspan(head->bytes);
  const std::size_t list_bytes = std::size_t{head->count} * sizeof(Midstate::bytes);
  if (body.size() < list_bytes + checksum_bytes) return BaseError::truncated;
  if (body.size() > list_bytes + checksum_bytes) return BaseError::malformed;
  const ByteView entries = body.first(list_bytes);
  if (load_le<std::uint64_t>(body.subspan(list_bytes)) != checksum(entries, head->checksum)) {
    return BaseError::malformed;
  }
  Reader reader(entries);
  head->list.midstates.resize(head->count);
  for (auto& midstate : head->list.midstates) {
    const bool taken = take_midstate(reader, midstate);
    WAGGLE_ASSERT(taken);
  }
  return std::move(head->list);
}

}  // namespace waggle::cache
