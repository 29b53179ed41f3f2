// Packed slices, states and ranges.
#include "gossip/log_wire.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <utility>

namespace waggle::gossip {
namespace {

enum class RecordKind : std::uint8_t { have = 0, defined_have = 1, drop = 2, name = 3, base = 4 };

constexpr std::uint8_t whole_id = 0x80;  // of a head byte; the rest is a number
constexpr unsigned kind_shift = 5;       // of a run byte; below it the count less one
constexpr std::size_t run_max = 1U << kind_shift;
constexpr std::uint8_t first_age = 0xa0;  // where a run byte would stand: 5 kinds leave the rest
static_assert(first_age == 5U << kind_shift && first_age + age_codes == 0x100);
constexpr Duration age_step = std::chrono::milliseconds(4);
constexpr std::size_t prefix_bytes = 4;
constexpr std::size_t hlc_bytes = 6;
constexpr std::size_t signature_bytes = 64;
static_assert(limits::records_per_slice_max <= whole_id);
static_assert(limits::log_depth_told_max < whole_id);

RecordKind kind_of(const Record& record) { return static_cast<RecordKind>(record.index()); }

// ---- records ----

void append_digest(Bytes& out, const Digest& digest) { append(out, digest.to_wire()); }

Digest read_digest(PackedReader& in) {
  Bytes wire{static_cast<std::byte>(in.le<std::uint8_t>())};
  const bool is_long = wire[0] == static_cast<std::byte>(DigestAlgorithm::sha512);
  append(wire, in.bytes(is_long ? 64 : 32));
  const auto digest = Digest::from_wire(wire);
  if (!digest) in.fail();
  return digest ? *digest : Digest{};
}

void append_name(Bytes& out, const SignedName& name) {
  append_le(out, name.record.key64);
  append_digest(out, name.record.digest);
  append_varint(out, name.record.size);
  append_le(out, static_cast<std::uint8_t>(name.record.media_type.size()));
  append(out, as_bytes(name.record.media_type));
  std::array<std::byte, 8> hlc{};
  store_le(MutableByteView(hlc), name.hlc_ms);
  append(out, ByteView(hlc).first(hlc_bytes));
  append(out, name.signature.bytes);
}

std::shared_ptr<const SignedName> read_name(PackedReader& in) {
  auto name = std::make_shared<SignedName>();
  name->record.key64 = in.le<std::uint64_t>();
  name->record.digest = read_digest(in);
  name->record.size = in.varint(limits::blob_bytes_max);
  const auto type_bytes = in.le<std::uint8_t>();
  if (type_bytes > limits::media_type_bytes_max) in.fail();
  const ByteView type = in.bytes(in.ok() ? type_bytes : 0);
  for (const std::byte c : type) name->record.media_type += static_cast<char>(c);
  std::array<std::byte, 8> hlc{};
  const ByteView hlc_field = in.bytes(hlc_bytes);
  std::copy(hlc_field.begin(), hlc_field.end(), hlc.begin());
  name->hlc_ms = load_le<std::uint64_t>(hlc);
  const ByteView signature = in.bytes(signature_bytes);
  std::copy(signature.begin(), signature.end(), name->signature.bytes.begin());
  return name;
}

void append_record(Bytes& out, const Record& record) {
  if (const auto* have = std::get_if<Have>(&record)) {
    append_le(out, to_value(have->id));
  } else if (const auto* defined = std::get_if<DefinedHave>(&record)) {
    append_digest(out, defined->definition.digest);
    append_varint(out, defined->definition.size);
  } else if (const auto* drop = std::get_if<Drop>(&record)) {
    append_le(out, to_value(drop->id));
  } else if (const auto* named = std::get_if<Named>(&record)) {
    append_name(out, *named->name);
  } else {
    const auto& base = std::get<Base>(record);
    append_varint(out, base.incarnation);
    append_varint(out, base.seq);
    append_le(out, base.set_hash);
  }
}

/// What append_record() writes.
std::size_t record_bytes(const Record& record) {
  const auto digest_bytes = [](const Digest& digest) { return 1 + digest.bytes().size(); };
  if (const auto* defined = std::get_if<DefinedHave>(&record)) {
    return digest_bytes(defined->definition.digest) + varint_bytes(defined->definition.size);
  }
  if (const auto* named = std::get_if<Named>(&record)) {
    const NameRecord& name = named->name->record;
    return sizeof(name.key64) + digest_bytes(name.digest) + varint_bytes(name.size) + 1 +
           name.media_type.size() + hlc_bytes + signature_bytes;
  }
  if (const auto* base = std::get_if<Base>(&record)) {
    return varint_bytes(base->incarnation) + varint_bytes(base->seq) + sizeof(base->set_hash);
  }
  return sizeof(Id64);
}

Record read_record(PackedReader& in, RecordKind kind) {
  switch (kind) {
    case RecordKind::have:
      return Have{Id64{in.le<std::uint64_t>()}};
    case RecordKind::defined_have: {
      const Digest digest = read_digest(in);
      return DefinedHave{{digest, in.varint(limits::blob_bytes_max)}};
    }
    case RecordKind::drop:
      return Drop{Id64{in.le<std::uint64_t>()}};
    case RecordKind::name:
      return Named{read_name(in)};
    case RecordKind::base: {
      Base base;
      base.incarnation = in.varint();
      base.seq = in.varint();
      base.set_hash = in.le<std::uint64_t>();
      return base;
    }
  }
  in.fail();
  return Have{};
}

}  // namespace

NodeRef NodeRef::short_of(const NodeId& id) { return {lowest(prefix_of(id)), false}; }

std::uint32_t NodeRef::prefix_of(const NodeId& id) {
  std::uint32_t prefix = 0;
  for (std::size_t i = 0; i < prefix_bytes; ++i) {
    prefix = prefix << 8U | std::to_integer<std::uint32_t>(id.bytes[i]);
  }
  return prefix;
}

NodeId NodeRef::lowest(std::uint32_t prefix) {
  NodeId id;
  for (std::size_t i = prefix_bytes; i-- > 0; prefix >>= 8U) {
    id.bytes[i] = static_cast<std::byte>(prefix);
  }
  return id;
}

// A code is a number of 4 bits before the point: 0..15 as it is, then eight for each power of two.
std::uint8_t age_code(Duration age) {
  constexpr unsigned mantissa_bits = 4;
  constexpr std::uint64_t half = 1U << (mantissa_bits - 1);
  const Duration bounded = std::clamp(age, Duration{0}, age_of(age_codes - 1));
  const auto steps = static_cast<std::uint64_t>((bounded + age_step / 2) / age_step);
  if (steps < 2 * half) return static_cast<std::uint8_t>(steps);
  const auto power = static_cast<unsigned>(std::bit_width(steps)) - mantissa_bits;
  // Rounding up may carry into the next power, whose first code is the next one.
  const std::uint64_t mantissa = (steps + (std::uint64_t{1} << power) / 2) >> power;
  return static_cast<std::uint8_t>(power * half + mantissa);
}

Duration age_of(std::uint8_t code) {
  constexpr unsigned half = 8;
  if (code < 2 * half) return code * age_step;
  return (half + code % half) * (age_step * (std::int64_t{1} << (code / half - 1)));
}

// ---- heads ----

std::size_t packed_bytes(const PieceHead& head) {
  return 1 + (head.origin.whole ? head.origin.id.bytes.size() : prefix_bytes) +
         sizeof(head.incarnation) + varint_bytes(head.seq);
}

void append_head(Bytes& out, const PieceHead& head) {
  WAGGLE_ASSERT(head.number < whole_id);
  out.push_back(static_cast<std::byte>((head.origin.whole ? whole_id : 0U) | head.number));
  append(out, ByteView(head.origin.id.bytes)
                  .first(head.origin.whole ? head.origin.id.bytes.size() : prefix_bytes));
  append_le(out, head.incarnation);
  append_varint(out, head.seq);
}

PieceHead read_head(PackedReader& in) {
  PieceHead head;
  const auto first = in.le<std::uint8_t>();
  head.number = first & (whole_id - 1U);
  head.origin.whole = (first & whole_id) != 0;
  const ByteView id = in.bytes(head.origin.whole ? head.origin.id.bytes.size() : prefix_bytes);
  std::copy(id.begin(), id.end(), head.origin.id.bytes.begin());
  head.incarnation = in.le<std::uint16_t>();
  head.seq = in.varint();
  if (head.seq == 0) in.fail();
  return head;
}

// ---- pieces ----

void append_packed(Bytes& out, const LogSlice& slice) {
  WAGGLE_ASSERT(!slice.records.empty() && slice.records.size() <= limits::records_per_slice_max);
  const auto further = static_cast<std::uint8_t>(slice.records.size() - 1);
  append_head(out, {further, slice.origin, slice.incarnation, slice.first_seq});
  if (slice.age) out.push_back(static_cast<std::byte>(first_age + age_code(*slice.age)));
  for (std::size_t i = 0; i < slice.records.size();) {
    const RecordKind kind = kind_of(slice.records[i]);
    std::size_t end = i + 1;
    while (end < slice.records.size() && end - i < run_max && kind_of(slice.records[end]) == kind) {
      ++end;
    }
    const auto kind_bits = static_cast<unsigned>(kind) << kind_shift;
    out.push_back(static_cast<std::byte>(kind_bits | (end - i - 1)));
    for (; i < end; ++i) append_record(out, slice.records[i]);
  }
}

LogSlice read_slice(PackedReader& in) {
  const PieceHead head = read_head(in);
  const std::size_t count = head.number + 1U;
  LogSlice slice{head.origin, head.incarnation, head.seq, {}, {}};
  // Room for every record: sequence numbers never wrap.
  if (slice.first_seq > UINT64_MAX - limits::records_per_slice_max) in.fail();
  slice.records.reserve(std::min(count, in.remaining() / sizeof(Id64) + 1));
  std::optional<std::pair<std::uint8_t, std::size_t>> last_run;  // kind, count
  while (in.ok() && slice.records.size() < count) {
    const auto run = in.le<std::uint8_t>();
    if (run >= first_age && !slice.age && slice.records.empty()) {
      slice.age = age_of(static_cast<std::uint8_t>(run - first_age));
      continue;
    }
    const auto kind = static_cast<std::uint8_t>(run >> kind_shift);
    const std::size_t length = (run & (run_max - 1)) + 1;
    // One form for each list: runs are as long as they can be.
    const bool continues = last_run && last_run->first == kind && last_run->second < run_max;
    if (continues || length > count - slice.records.size()) in.fail();
    last_run = {kind, length};
    for (std::size_t i = 0; i < length && in.ok(); ++i) {
      slice.records.push_back(read_record(in, static_cast<RecordKind>(kind)));
    }
  }
  return slice;
}

void append_packed(Bytes& out, const LogState& state) {
  WAGGLE_ASSERT(state.log_depth <= limits::log_depth_told_max);
  append_head(out, {state.log_depth, state.origin, state.incarnation, state.seq});
  append_le(out, state.set_hash);
}

LogState read_state(PackedReader& in) {
  const PieceHead head = read_head(in);
  LogState state{head.origin, head.incarnation, head.seq, in.le<std::uint32_t>(), head.number};
  if (state.log_depth > state.seq) in.fail();
  return state;
}

void append_packed(Bytes& out, const LogRange& range) {
  append_head(out, {0, range.origin, range.incarnation, range.from_seq});
}

LogRange read_range(PackedReader& in) {
  const PieceHead head = read_head(in);
  if (head.number != 0) in.fail();
  return {head.origin, head.incarnation, head.seq};
}

SliceSize::SliceSize(const LogSlice& head)
    : bytes_(packed_bytes(PieceHead{0, head.origin, head.incarnation, head.first_seq}) +
             (head.age ? 1 : 0)) {}

bool SliceSize::joins_run(const Record& next) const {
  return run_records_ > 0 && run_records_ < run_max && next.index() == run_kind_;
}

std::size_t SliceSize::cost_of(const Record& next) const {
  return (joins_run(next) ? 0 : 1) + record_bytes(next);
}

void SliceSize::add(const Record& next) {
  bytes_ += cost_of(next);
  run_records_ = joins_run(next) ? run_records_ + 1 : 1;
  run_kind_ = next.index();
}

std::size_t packed_bytes(const LogState& state) {
  return packed_bytes(PieceHead{state.log_depth, state.origin, state.incarnation, state.seq}) +
         sizeof(state.set_hash);
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
