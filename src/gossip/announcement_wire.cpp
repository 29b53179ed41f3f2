// Encoding and strict decoding of announcement messages. Format: docs/wire-announcements.md.
#include "gossip/announcement_wire.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/msg.hpp"

#include <algorithm>
#include <utility>

namespace waggle::gossip {
namespace {

enum class Kind : std::uint8_t {
  records = 1,
  ae_root = 2,
  ae_vectors = 3,
  ae_pull = 4,
  definition_pull = 5,
  definitions = 6,
  set_pull = 7,
  set_data = 8,
  set_none = 9,
};
enum class RecordKind : std::uint8_t { have = 1, defined_have = 2, drop = 3, name = 4, base = 5 };

constexpr MsgLimits message_limits{.depth = 4, .elements = 128, .str_bytes = 128, .bin_bytes = 512};
constexpr MsgLimits bulk_limits{.depth = 4,
                                .elements = limits::definitions_per_frame_max,
                                .str_bytes = limits::media_type_bytes_max,
                                .bin_bytes = limits::ids_per_origin_max * 8};
// Worst case of everything in a message beside its records or vectors, rounded up.
constexpr std::size_t header_bytes = 48;

std::uint64_t number(Kind kind) { return static_cast<std::uint64_t>(kind); }
std::uint64_t number(RecordKind kind) { return static_cast<std::uint64_t>(kind); }

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

void write_record(MsgWriter& out, const Record& record) {
  if (const auto* have = std::get_if<Have>(&record)) {
    out.array(2).uint(number(RecordKind::have)).uint(to_value(have->id));
  } else if (const auto* defined = std::get_if<DefinedHave>(&record)) {
    out.array(3).uint(number(RecordKind::defined_have));
    out.bin(defined->definition.digest.to_wire()).uint(defined->definition.size);
  } else if (const auto* drop = std::get_if<Drop>(&record)) {
    out.array(2).uint(number(RecordKind::drop)).uint(to_value(drop->id));
  } else if (const auto* named = std::get_if<Named>(&record)) {
    out.array(7).uint(number(RecordKind::name));
    write_name(out, *named->name);
  } else {
    const auto& base = std::get<Base>(record);
    out.array(4).uint(number(RecordKind::base));
    out.uint(base.incarnation).uint(base.seq).uint(base.set_hash);
  }
}

Record read_record(MsgReader& list, const NodeId& origin) {
  MsgReader in = list.array();
  Record record = Have{};
  switch (static_cast<RecordKind>(in.uint(number(RecordKind::base)))) {
    case RecordKind::have:
      record = Have{Id64{in.uint()}};
      break;
    case RecordKind::defined_have: {
      const Digest digest = read_digest(in);
      record = DefinedHave{{digest, in.uint(limits::blob_bytes_max)}};
      break;
    }
    case RecordKind::drop:
      record = Drop{Id64{in.uint()}};
      break;
    case RecordKind::name:
      record = Named{read_name(in, origin)};
      break;
    case RecordKind::base: {
      Base base;
      base.incarnation = in.uint();
      base.seq = in.uint();
      base.set_hash = in.uint();
      record = base;
      break;
    }
    default:
      in.fail(BaseError::malformed);
  }
  if (!in.done()) list.fail(in.error());
  return record;
}

void write_vector(MsgWriter& out, const OriginVector& v) {
  out.array(5).bin(v.origin.bytes).uint(v.incarnation).uint(v.seq).uint(v.set_hash);
  out.uint(v.log_first);
}
OriginVector read_vector(MsgReader& list) {
  MsgReader in = list.array();
  OriginVector v;
  v.origin = read_node(in);
  v.incarnation = in.uint();
  v.seq = read_positive(in);
  v.set_hash = in.uint();
  v.log_first = read_positive(in);
  if (v.log_first - 1 > v.seq) in.fail(BaseError::malformed);
  if (!in.done()) list.fail(in.error());
  return v;
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

void write(MsgWriter& out, const Records& m) {
  out.array(5).uint(number(Kind::records)).bin(m.origin.bytes).uint(m.incarnation);
  out.uint(m.first_seq).array(m.records.size());
  for (const auto& record : m.records) write_record(out, record);
}
void write(MsgWriter& out, const AeRoot& m) {
  out.array(3).uint(number(Kind::ae_root)).uint(m.root).boolean(m.answer);
}
void write(MsgWriter& out, const AeVectors& m) {
  out.array(5).uint(number(Kind::ae_vectors)).boolean(m.full).boolean(m.last).bin(m.after.bytes);
  out.array(m.vectors.size());
  for (const auto& vector : m.vectors) write_vector(out, vector);
}
void write(MsgWriter& out, const AePull& m) {
  out.array(2).uint(number(Kind::ae_pull)).array(m.ranges.size());
  for (const auto& range : m.ranges) {
    out.array(3).bin(range.origin.bytes).uint(range.incarnation).uint(range.from_seq);
  }
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

Records read_records(MsgReader& in) {
  Records m;
  m.origin = read_node(in);
  m.incarnation = in.uint();
  // Room for every record of the message: sequence numbers never wrap.
  m.first_seq = read_positive(in, UINT64_MAX - limits::records_per_message_max);
  m.records = read_list(in, 1, limits::records_per_message_max,
                        [&](MsgReader& list) { return read_record(list, m.origin); });
  return m;
}

AeVectors read_vectors(MsgReader& in) {
  AeVectors m;
  m.full = in.boolean();
  m.last = in.boolean();
  m.after = read_node(in);
  m.vectors = read_list(in, 0, limits::vectors_per_message_max, read_vector);
  const NodeId* previous = m.full ? &m.after : nullptr;
  for (const auto& vector : m.vectors) {
    if (previous != nullptr && vector.origin <= *previous) in.fail(BaseError::malformed);
    previous = &vector.origin;
  }
  return m;
}

LogRange read_range(MsgReader& list) {
  MsgReader in = list.array();
  LogRange range;
  range.origin = read_node(in);
  range.incarnation = in.uint();
  range.from_seq = read_positive(in);
  if (!in.done()) list.fail(in.error());
  return range;
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
  switch (static_cast<Kind>(in.uint(number(Kind::set_none)))) {
    case Kind::records: {
      auto m = read_records(in);
      return finish<Message>(in, std::move(m));
    }
    case Kind::ae_root: {
      const std::uint64_t root = in.uint();
      const AeRoot m{root, in.boolean()};
      return finish<Message>(in, m);
    }
    case Kind::ae_vectors: {
      auto m = read_vectors(in);
      return finish<Message>(in, std::move(m));
    }
    case Kind::ae_pull: {
      AePull m{read_list(in, 1, limits::pulls_per_message_max, read_range)};
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
  switch (static_cast<Kind>(in.uint(number(Kind::set_none)))) {
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
    default:
      break;
  }
  in.fail(BaseError::malformed);
  return make_error_code(in.error());
}

std::vector<Bytes> pack_records(const NodeId& origin, std::uint64_t incarnation,
                                std::uint64_t first_seq, std::span<const Record> records,
                                std::size_t bytes_max) {
  WAGGLE_ASSERT(bytes_max >= 512);
  std::vector<Bytes> bodies;
  std::size_t start = 0;
  std::size_t used = header_bytes;
  const auto flush = [&](std::size_t end) {
    if (start == end) return;
    const auto part = records.subspan(start, end - start);
    bodies.push_back(
        encode(Records{origin, incarnation, first_seq + start, {part.begin(), part.end()}}));
    start = end;
    used = header_bytes;
  };
  for (std::size_t i = 0; i < records.size(); ++i) {
    MsgWriter alone;
    write_record(alone, records[i]);
    const std::size_t size = alone.bytes().size();
    if (used + size > bytes_max || i - start == limits::records_per_message_max) flush(i);
    used += size;
  }
  flush(records.size());
  return bodies;
}

std::vector<Bytes> pack_vectors(std::span<const OriginVector> vectors, bool full,
                                std::size_t bytes_max) {
  WAGGLE_ASSERT(bytes_max >= 512);
  std::vector<Bytes> bodies;
  AeVectors part{full, false, NodeId{}, {}};
  std::size_t used = header_bytes;
  for (const auto& vector : vectors) {
    MsgWriter alone;
    write_vector(alone, vector);
    const std::size_t size = alone.bytes().size();
    if (used + size > bytes_max || part.vectors.size() == limits::vectors_per_message_max) {
      const NodeId after = part.vectors.back().origin;
      bodies.push_back(encode(part));
      part = AeVectors{full, false, full ? after : NodeId{}, {}};
      used = header_bytes;
    }
    part.vectors.push_back(vector);
    used += size;
  }
  part.last = full;
  if (full || !part.vectors.empty()) bodies.push_back(encode(part));
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

Bytes name_signed_bytes(const IdKey& key, const SignedName& name) {
  Bytes out = to_bytes(as_bytes("waggle-name-1"));
  append(out, key.bytes);
  append(out, name.author.bytes);
  append_le(out, name.record.key64);
  append_le(out, name.hlc_ms);
  append_le(out, name.record.size);
  const Bytes digest = name.record.digest.to_wire();
  append_le(out, static_cast<std::uint8_t>(digest.size()));
  append(out, digest);
  append_le(out, static_cast<std::uint8_t>(name.record.media_type.size()));
  append(out, as_bytes(name.record.media_type));
  return out;
}

std::uint64_t id_hash(const IdKey& key, Id64 id) {
  std::array<std::byte, 8> bytes{};
  store_le(MutableByteView(bytes), to_value(id));
  return siphash(key, bytes);
}

}  // namespace waggle::gossip
