// Encoding and strict decoding of announcement messages. Format: docs/wire-announcements.md.
#include "gossip/announcement_wire.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/msg.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace waggle::gossip {
namespace {

enum class Kind : std::uint8_t {
  records = 1,
  ae_root = 2,
  ae_states = 3,
  ae_pull = 4,
  definition_pull = 5,
  definitions = 6,
  set_pull = 7,
  set_data = 8,
  set_none = 9,
  ae_buckets = 10,
  snapshot_pull = 11,
  snapshot_part = 12,
  snapshot_none = 13,
};

constexpr MsgLimits message_limits{.depth = 3,
                                   .elements = limits::definitions_per_message_max,
                                   .str_bytes = 0,
                                   .bin_bytes = limits::datagram_bytes_max};
constexpr MsgLimits bulk_limits{.depth = 4,
                                .elements = limits::definitions_per_frame_max,
                                .str_bytes = limits::media_type_bytes_max,
                                .bin_bytes = limits::ids_per_origin_max * 8};
// Worst case of everything in a message beside its records or vectors, rounded up.
constexpr std::size_t header_bytes = 48;

std::uint64_t number(Kind kind) { return static_cast<std::uint64_t>(kind); }

// ---- parts ----

Digest read_digest(MsgReader& in) {
  const auto digest = Digest::from_wire(in.bin());
  if (!digest) {
    in.fail(BaseError::malformed);
    return {};
  }
  return *digest;
}
NodeId read_node(MsgReader& in) { return NodeId{in.bin_array<16>()}; }

std::uint64_t read_positive(MsgReader& in, std::uint64_t max = UINT64_MAX) {
  const std::uint64_t value = in.uint(max);
  if (value == 0) in.fail(BaseError::malformed);
  return value;
}

void write_name(MsgWriter& out, const SignedName& name) {
  out.uint(name.record.key64).bin(name.record.digest.to_wire()).uint(name.record.size);
  out.str(name.record.media_type).uint(name.hlc_ms).bin(name.signature.bytes);
}
std::shared_ptr<const SignedName> read_name(MsgReader& in, const NodeId& author) {
  auto name = std::make_shared<SignedName>();
  name->author = author;
  name->record.key64 = in.uint();
  name->record.digest = read_digest(in);
  name->record.size = in.uint(limits::blob_bytes_max);
  name->record.media_type = in.str();
  if (name->record.media_type.size() > limits::media_type_bytes_max) {
    in.fail(BaseError::limit_exceeded);
  }
  name->hlc_ms = in.uint(limits::hlc_ms_max);
  name->signature.bytes = in.bin_array<64>();
  return name;
}

/// A nested list of min..max elements, each read by `read`.
template <typename Read>
auto read_list(MsgReader& in, std::size_t min, std::size_t max, Read read) {
  MsgReader list = in.array();
  std::vector<decltype(read(list))> out;
  if (list.remaining() > max) list.fail(BaseError::limit_exceeded);
  if (list.ok() && list.remaining() < min) list.fail(BaseError::malformed);
  if (list.ok()) out.reserve(list.remaining());
  while (list.ok() && list.remaining() > 0) out.push_back(read(list));
  if (!list.done()) in.fail(list.error());
  return out;
}

void write_ids(MsgWriter& out, const std::vector<Id64>& ids) {
  Bytes packed;
  packed.reserve(ids.size() * 8);
  for (const Id64 id : ids) append_le(packed, to_value(id));
  out.bin(packed);
}
std::vector<Id64> read_ids(MsgReader& in, std::size_t max) {
  const ByteView packed = in.bin();
  std::vector<Id64> ids;
  if (packed.size() % 8 != 0) in.fail(BaseError::malformed);
  if (packed.size() / 8 > max) in.fail(BaseError::limit_exceeded);
  if (!in.ok()) return ids;
  ids.reserve(packed.size() / 8);
  for (std::size_t at = 0; at < packed.size(); at += 8) {
    ids.push_back(Id64{load_le<std::uint64_t>(packed.subspan(at, 8))});
  }
  // Ascending without repeats: one form per set, and nothing to sort or count twice.
  if (std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) != ids.end()) {
    in.fail(BaseError::malformed);
  }
  return ids;
}

// ---- messages ----

template <typename T>
Bytes pack(const std::vector<T>& items) {
  Bytes packed;
  for (const T& item : items) append_packed(packed, item);
  return packed;
}

/// A bin that holds min..max packed items and nothing else.
template <typename Read>
auto read_packed(MsgReader& in, std::size_t min, std::size_t max, Read read) {
  PackedReader packed(in.bin());
  std::vector<decltype(read(packed))> items;
  while (packed.ok() && !packed.empty() && items.size() < max) items.push_back(read(packed));
  if (!packed.ok() || !packed.empty() || items.size() < min) in.fail(BaseError::malformed);
  return items;
}

void write(MsgWriter& out, const Records& m) {
  out.array(3).uint(number(Kind::records)).uint(m.rows).bin(pack(m.logs));
}
void write(MsgWriter& out, const AeRoot& m) {
  out.array(3).uint(number(Kind::ae_root)).uint(m.root).boolean(m.answer);
}
void write(MsgWriter& out, const AeStates& m) {
  out.array(5).uint(number(Kind::ae_states)).boolean(m.full).uint(m.from).uint(m.to);
  out.bin(pack(m.states));
}
void write(MsgWriter& out, const AeBuckets& m) {
  Bytes hashes;
  for (const std::uint64_t hash : m.hashes) append_le(hashes, hash);
  out.array(2).uint(number(Kind::ae_buckets)).bin(hashes);
}
void write(MsgWriter& out, const AePull& m) {
  out.array(2).uint(number(Kind::ae_pull)).bin(pack(m.ranges));
}
void write(MsgWriter& out, const DefinitionPull& m) {
  out.array(2).uint(number(Kind::definition_pull));
  write_ids(out, m.ids);
}
void write(MsgWriter& out, const Definitions& m) {
  out.array(2).uint(number(Kind::definitions)).array(m.definitions.size());
  for (const auto& definition : m.definitions) {
    out.array(2).bin(definition.digest.to_wire()).uint(definition.size);
  }
}
void write(MsgWriter& out, const SetPull& m) {
  out.array(2).uint(number(Kind::set_pull)).array(m.origins.size());
  for (const auto& origin : m.origins) out.bin(origin.bytes);
}
void write(MsgWriter& out, const SetData& m) {
  out.array(9).uint(number(Kind::set_data)).bin(m.origin.bytes).uint(m.incarnation).uint(m.seq);
  out.uint(m.set_hash).uint(m.part).uint(m.parts);
  write_ids(out, m.ids);
  out.array(m.names.size());
  for (const auto& name : m.names) {
    out.array(6);
    write_name(out, *name);
  }
}
void write(MsgWriter& out, const SetNone& m) {
  out.array(2).uint(number(Kind::set_none)).bin(m.origin.bytes);
}

void write(MsgWriter& out, const SnapshotPull& m) {
  out.array(4).uint(number(Kind::snapshot_pull)).boolean(m.from.names).uint(m.from.at);
  out.uint(m.table_hash);
}
void write(MsgWriter& out, const SnapshotPart& m) {
  out.array(9).uint(number(Kind::snapshot_part)).boolean(m.from.names).uint(m.from.at);
  out.uint(m.next).uint(m.table_hash).uint(m.origin_count).bin(pack(m.origins)).bin(m.entries);
  out.array(m.names.size());
  for (const auto& name : m.names) {
    out.array(7).bin(name->author.bytes);
    write_name(out, *name);
  }
}
void write(MsgWriter& out, const SnapshotNone&) { out.array(1).uint(number(Kind::snapshot_none)); }

/// Each origin once: nothing to sort, and nobody can ask for the same a hundred times.
template <typename T>
bool ascends(const std::vector<T>& items) {
  const auto out_of_order = [](const T& a, const T& b) { return a.origin >= b.origin; };
  return std::adjacent_find(items.begin(), items.end(), out_of_order) == items.end();
}

Records read_records(MsgReader& in) {
  Records m;
  m.rows = static_cast<std::uint32_t>(in.uint(limits::relay_rows_max));
  if (m.rows != 0 && !std::has_single_bit(m.rows)) in.fail(BaseError::malformed);
  m.logs = read_packed(in, 1, limits::slices_per_message_max, read_slice);
  return m;
}

AeStates read_states(MsgReader& in) {
  AeStates m;
  m.full = in.boolean();
  m.from = static_cast<std::uint32_t>(in.uint(UINT32_MAX));
  m.to = static_cast<std::uint32_t>(in.uint(UINT32_MAX));
  if (m.full ? m.from > m.to : m.from != 0 || m.to != 0) in.fail(BaseError::malformed);
  m.states = read_packed(in, 0, limits::states_per_message_max, read_state);
  const bool in_range =
      !m.full || m.states.empty() ||
      (m.states.front().origin.prefix() >= m.from && m.states.back().origin.prefix() <= m.to);
  if (!ascends(m.states) || !in_range) in.fail(BaseError::malformed);
  return m;
}

AeBuckets read_buckets(MsgReader& in) {
  AeBuckets m;
  const auto hashes = in.bin_array<index_buckets * 8>();
  for (std::size_t i = 0; i < index_buckets; ++i) {
    m.hashes[i] = load_le<std::uint64_t>(ByteView(hashes).subspan(8 * i));
  }
  return m;
}

Definition read_definition(MsgReader& list) {
  MsgReader in = list.array();
  Definition definition;
  definition.digest = read_digest(in);
  definition.size = in.uint(limits::blob_bytes_max);
  if (!in.done()) list.fail(in.error());
  return definition;
}

SetData read_set_data(MsgReader& in) {
  SetData m;
  m.origin = read_node(in);
  m.incarnation = in.uint();
  m.seq = read_positive(in);
  m.set_hash = in.uint();
  m.part = in.uint(limits::set_parts_max - 1);
  m.parts = read_positive(in, limits::set_parts_max);
  if (m.part >= m.parts) in.fail(BaseError::malformed);
  m.ids = read_ids(in, limits::ids_per_origin_max);
  if (m.part > 0 && !m.ids.empty()) in.fail(BaseError::malformed);
  m.names = read_list(in, 0, limits::set_names_per_frame_max, [&](MsgReader& list) {
    MsgReader child = list.array();
    auto name = read_name(child, m.origin);
    if (!child.done()) list.fail(child.error());
    return name;
  });
  return m;
}

SnapshotCursor read_cursor(MsgReader& in) {
  SnapshotCursor cursor;
  cursor.names = in.boolean();
  cursor.at = in.uint();
  return cursor;
}

SnapshotPart read_snapshot_part(MsgReader& in) {
  SnapshotPart m;
  m.from = read_cursor(in);
  m.next = in.uint();
  m.table_hash = in.uint();
  m.origin_count = in.uint(limits::members_max);
  m.origins = read_packed(in, 0, limits::members_max, read_snapshot_origin);
  const ByteView entries = in.bin();
  m.names = read_list(in, 0, limits::snapshot_names_per_part_max, [](MsgReader& list) {
    MsgReader child = list.array();
    const NodeId author = read_node(child);
    auto name = read_name(child, author);
    if (!child.done()) list.fail(child.error());
    return name;
  });
  if (entries.size() > limits::snapshot_part_bytes_max) in.fail(BaseError::limit_exceeded);
  const bool goes_on = m.next == 0 || m.next > m.from.at;
  const bool has_table = m.origins.empty() || m.origins.size() == m.origin_count;
  const bool in_phase = m.from.names ? entries.empty() : m.names.empty();
  if (!goes_on || !has_table || !in_phase || !ascends(m.origins)) in.fail(BaseError::malformed);
  const auto out_of_order = [](const auto& a, const auto& b) {
    return a->record.key64 >= b->record.key64;
  };
  if (in.ok() &&
      std::adjacent_find(m.names.begin(), m.names.end(), out_of_order) != m.names.end()) {
    in.fail(BaseError::malformed);
  }
  SnapshotReader reader(entries, m.origin_count);
  while (in.ok() && reader.next()) {
  }
  if (!reader.ok()) in.fail(BaseError::malformed);
  if (in.ok()) m.entries = to_bytes(entries);
  return m;
}

/// How many of the first states one message of at most `bytes_max` bytes holds.
std::size_t states_that_fit(std::span<const LogState> states, std::size_t bytes_max) {
  WAGGLE_ASSERT(bytes_max >= 512);
  std::size_t used = header_bytes;
  std::size_t count = 0;
  while (count < std::min(states.size(), limits::states_per_message_max)) {
    used += packed_bytes(states[count]);
    if (used > bytes_max) break;
    ++count;
  }
  return count;
}

template <typename Out, typename In>
Result<Out> finish(const MsgReader& in, In message) {
  if (!in.done()) return make_error_code(in.error());
  return Out{std::move(message)};
}

}  // namespace

Bytes encode(const Message& message) {
  MsgWriter out;
  std::visit([&](const auto& m) { write(out, m); }, message);
  return out.take();
}

Bytes encode_bulk(const BulkMessage& message) {
  MsgWriter out;
  std::visit([&](const auto& m) { write(out, m); }, message);
  return out.take();
}

Result<Message> decode_message(ByteView body) {
  if (body.size() > limits::datagram_bytes_max) return make_error_code(BaseError::limit_exceeded);
  MsgReader in = MsgReader::parse(body, message_limits);
  switch (static_cast<Kind>(in.uint(number(Kind::ae_buckets)))) {
    case Kind::records: {
      auto m = read_records(in);
      return finish<Message>(in, std::move(m));
    }
    case Kind::ae_root: {
      const std::uint64_t root = in.uint();
      const AeRoot m{root, in.boolean()};
      return finish<Message>(in, m);
    }
    case Kind::ae_states: {
      auto m = read_states(in);
      return finish<Message>(in, std::move(m));
    }
    case Kind::ae_buckets: {
      const AeBuckets m = read_buckets(in);
      return finish<Message>(in, m);
    }
    case Kind::ae_pull: {
      AePull m{read_packed(in, 1, limits::pulls_per_message_max, read_range)};
      if (!ascends(m.ranges)) in.fail(BaseError::malformed);
      return finish<Message>(in, std::move(m));
    }
    case Kind::definition_pull: {
      DefinitionPull m{read_ids(in, limits::definitions_per_message_max)};
      return finish<Message>(in, std::move(m));
    }
    case Kind::definitions: {
      Definitions m{read_list(in, 0, limits::definitions_per_message_max, read_definition)};
      return finish<Message>(in, std::move(m));
    }
    default:
      break;
  }
  in.fail(BaseError::malformed);
  return make_error_code(in.error());
}

Result<BulkMessage> decode_bulk(ByteView frame) {
  if (frame.size() > limits::control_frame_bytes_max) {
    return make_error_code(BaseError::limit_exceeded);
  }
  MsgReader in = MsgReader::parse(frame, bulk_limits);
  switch (static_cast<Kind>(in.uint(number(Kind::snapshot_none)))) {
    case Kind::set_pull: {
      SetPull m{read_list(in, 1, limits::set_pulls_max, read_node)};
      return finish<BulkMessage>(in, std::move(m));
    }
    case Kind::set_data: {
      auto m = read_set_data(in);
      return finish<BulkMessage>(in, std::move(m));
    }
    case Kind::set_none: {
      const SetNone m{read_node(in)};
      return finish<BulkMessage>(in, m);
    }
    case Kind::definition_pull: {
      DefinitionPull m{read_ids(in, limits::definitions_per_frame_max)};
      return finish<BulkMessage>(in, std::move(m));
    }
    case Kind::definitions: {
      Definitions m{read_list(in, 0, limits::definitions_per_frame_max, read_definition)};
      return finish<BulkMessage>(in, std::move(m));
    }
    case Kind::snapshot_pull: {
      const SnapshotCursor from = read_cursor(in);
      const SnapshotPull m{from, in.uint()};
      return finish<BulkMessage>(in, m);
    }
    case Kind::snapshot_part: {
      auto m = read_snapshot_part(in);
      return finish<BulkMessage>(in, std::move(m));
    }
    case Kind::snapshot_none:
      return finish<BulkMessage>(in, SnapshotNone{});
    default:
      break;
  }
  in.fail(BaseError::malformed);
  return make_error_code(in.error());
}

std::vector<Bytes> pack_records(std::uint32_t rows, std::span<const LogSlice> slices,
                                std::size_t bytes_max) {
  WAGGLE_ASSERT(bytes_max >= 512);
  std::vector<Bytes> bodies;
  Records message{rows, {}};
  std::size_t used = header_bytes;  // of the slices that are whole
  const auto flush = [&] {
    if (message.logs.empty()) return;
    bodies.push_back(encode(message));
    message.logs.clear();
    used = header_bytes;
  };
  for (const LogSlice& slice : slices) {
    std::optional<SliceSize> open;  // of the last slice of the message, when it is of this log
    for (std::size_t i = 0; i < slice.records.size(); ++i) {
      const Record& record = slice.records[i];
      if (open && message.logs.back().records.size() == limits::records_per_slice_max) {
        used += open->bytes();
        open.reset();
      }
      const auto age = i == 0 ? slice.age : std::nullopt;  // of later ones it says nothing
      LogSlice head{slice.origin, slice.incarnation, slice.first_seq + i, {}, age};
      const SliceSize next = open.value_or(SliceSize(head));
      if (used + next.bytes() + next.cost_of(record) > bytes_max ||
          (!open && message.logs.size() == limits::slices_per_message_max)) {
        flush();
        open.reset();
      }
      if (!open) {
        open.emplace(head);
        message.logs.push_back(std::move(head));
      }
      open->add(record);
      message.logs.back().records.push_back(record);
    }
    if (open) used += open->bytes();
  }
  flush();
  return bodies;
}

std::vector<Bytes> pack_full_states(std::span<const LogState> states, std::uint32_t from,
                                    std::uint32_t to, std::size_t bytes_max) {
  std::vector<Bytes> bodies;
  for (;;) {
    std::size_t count = states_that_fit(states, bytes_max);
    // Members with the same first 4 bytes stand in one message, which covers those 4 bytes.
    while (count < states.size() && count > 0 &&
           states[count].origin.prefix() == states[count - 1].origin.prefix()) {
      --count;
    }
    WAGGLE_ASSERT(count > 0 || states.empty());
    const bool last = count == states.size();
    const std::uint32_t end = last ? to : states[count].origin.prefix() - 1;
    bodies.push_back(encode(AeStates{
        true, from, end, {states.begin(), states.begin() + static_cast<std::ptrdiff_t>(count)}}));
    if (last) return bodies;
    states = states.subspan(count);
    from = end + 1;
  }
}

std::vector<Bytes> pack_some_states(std::span<const LogState> states, std::size_t bytes_max) {
  std::vector<Bytes> bodies;
  while (!states.empty()) {
    const auto part = states.first(states_that_fit(states, bytes_max));
    bodies.push_back(encode(AeStates{false, 0, 0, {part.begin(), part.end()}}));
    states = states.subspan(part.size());
  }
  return bodies;
}

std::vector<Bytes> pack_pulls(std::span<const LogRange> ranges, std::size_t bytes_max) {
  const std::size_t fit =
      std::min((bytes_max - header_bytes) / range_bytes_max, limits::pulls_per_message_max);
  std::vector<Bytes> bodies;
  while (!ranges.empty()) {
    const auto part = ranges.first(std::min(ranges.size(), fit));
    bodies.push_back(encode(AePull{{part.begin(), part.end()}}));
    ranges = ranges.subspan(part.size());
  }
  return bodies;
}

std::vector<Bytes> pack_definitions(std::span<const Definition> definitions,
                                    std::size_t bytes_max) {
  std::vector<Bytes> bodies;
  Definitions part;
  std::size_t used = header_bytes;
  for (const auto& definition : definitions) {
    const std::size_t size = definition.digest.to_wire().size() + 16;
    if (used + size > bytes_max || part.definitions.size() == limits::definitions_per_message_max) {
      bodies.push_back(encode(part));
      part.definitions.clear();
      used = header_bytes;
    }
    part.definitions.push_back(definition);
    used += size;
  }
  if (!part.definitions.empty()) bodies.push_back(encode(part));
  return bodies;
}

}  // namespace waggle::gossip
