// Encoding and strict decoding of session messages: one array each, the kind first.
#include "transfer/session_message.hpp"

#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "base/msg.hpp"
#include "transfer/claims.hpp"

namespace waggle::transfer {
namespace {

enum class Kind : std::uint8_t {
  open = 0,
  state = 1,
  have = 2,
  request = 3,
  cancel = 4,
  reject = 5,
  busy = 6,
  crec = 7,
  get_midstates = 8,
  midstates = 9,
  close = 10,
  vouch = 11,
  relay = 12,
  relay_vouch = 13,
};

constexpr MsgLimits message_limits = {.depth = 3,
                                      .elements = have_chunks_max,
                                      .str_bytes = limits::origin_bytes_max,
                                      .bin_bytes = midstates_per_part_max * 32};
constexpr std::uint32_t retry_ms_max = 60'000;

class Encoder {
 public:
  Bytes operator()(const OpenMessage& m) {
    begin(6, Kind::open, m.tag).bin(m.digest.to_wire()).str(m.origin);
    put_map(m.size, m.have);
    return out_.take();
  }
  Bytes operator()(const StateMessage& m) {
    begin(4, Kind::state, m.tag);
    put_map(m.size, m.have);
    return out_.take();
  }
  Bytes operator()(const HaveMessage& m) {
    begin(3, Kind::have, m.tag).array(m.chunks.size());
    for (const ChunkIndex chunk : m.chunks) out_.uint(to_value(chunk));
    return out_.take();
  }
  Bytes operator()(const RequestMessage& m) {
    begin(6, Kind::request, m.tag).uint(to_value(m.chunk)).uint(m.offset).uint(m.length);
    return out_.boolean(m.crec_wanted).take();
  }
  Bytes operator()(const CancelMessage& m) {
    return begin(3, Kind::cancel, m.tag).uint(to_value(m.chunk)).take();
  }
  Bytes operator()(const RejectMessage& m) {
    begin(4, Kind::reject, m.tag);
    if (m.chunk) {
      out_.uint(to_value(*m.chunk));
    } else {
      out_.nil();
    }
    return out_.uint(static_cast<std::uint64_t>(m.reason)).take();
  }
  Bytes operator()(const BusyMessage& m) {
    return begin(3, Kind::busy, m.tag).uint(m.retry_ms).take();
  }
  Bytes operator()(const CrecMessage& m) {
    begin(8, Kind::crec, m.tag).uint(to_value(m.chunk)).uint(m.size).bin(m.sha256);
    out_.bin(m.signer.bytes).bin(m.signature.bytes);
    if (!m.next) return out_.nil().take();
    put_hops(*m.next);
    return out_.take();
  }
  Bytes operator()(const GetMidstatesMessage& m) {
    return begin(2, Kind::get_midstates, m.tag).take();
  }
  Bytes operator()(const MidstatesMessage& m) {
    Bytes part;
    part.reserve(m.part.size() * 32);
    for (const Midstate& midstate : m.part) append(part, midstate.bytes);
    begin(8, Kind::midstates, m.tag).uint(m.size).uint(m.first).uint(m.total).bin(part);
    return out_.bin(m.prover.bytes).bin(m.signature.bytes).take();
  }
  Bytes operator()(const CloseMessage& m) { return begin(2, Kind::close, m.tag).take(); }
  Bytes operator()(const VouchMessage& m) {
    return begin(4, Kind::vouch, m.tag).uint(to_value(m.chunk)).bin(m.list).take();
  }
  Bytes operator()(const RelayVouchMessage& m) {
    return begin(5, Kind::relay_vouch, m.tag)
        .uint(to_value(m.chunk))
        .uint(m.serial)
        .uint(m.stripes)
        .take();
  }
  Bytes operator()(const RelayMessage& m) {
    begin(7, Kind::relay, m.tag).uint(to_value(m.chunk)).uint(m.offset).uint(m.size);
    out_.uint(m.serial);
    put_hops(m.next);
    return out_.take();
  }

 private:
  MsgWriter& begin(std::size_t size, Kind kind, const SwarmTag& tag) {
    return out_.array(size).uint(static_cast<std::uint64_t>(kind)).bin(tag.bytes);
  }
  void put_hops(const std::vector<HopName>& hops) {
    out_.array(hops.size());
    for (const HopName hop : hops) out_.uint(hop);
  }
  void put_map(const std::optional<std::uint64_t>& size, const HaveMap& have) {
    if (size) {
      out_.uint(*size);
    } else {
      out_.nil();
    }
    if (have.all) {
      out_.boolean(true);
    } else if (have.chunks.none()) {
      out_.nil();
    } else {
      out_.bin(have.chunks.to_wire());
    }
  }
  MsgWriter out_;
};

ChunkIndex get_chunk(MsgReader& in) {
  return ChunkIndex{static_cast<std::uint32_t>(in.uint(limits::chunks_per_blob_max - 1))};
}

std::uint32_t get_u32(MsgReader& in, std::uint64_t max) {
  return static_cast<std::uint32_t>(in.uint(max));
}

std::optional<std::uint64_t> get_size(MsgReader& in) {
  if (in.next_is_nil()) return std::nullopt;
  return in.uint(limits::blob_bytes_max);
}

// nil: none; true: all; bin: a map of exactly the chunk count.
HaveMap get_map(MsgReader& in, const std::optional<std::uint64_t>& size) {
  HaveMap have;
  if (in.next_is_nil()) return have;
  if (!in.ok() || !size) {
    in.fail(BaseError::malformed);
    return have;
  }
  MsgReader probe = in;  // a boolean or a bin: the copy finds out without consuming
  have.all = probe.boolean();
  if (probe.ok()) {
    in = probe;
    if (!have.all) in.fail(BaseError::malformed);
    return have;
  }
  auto chunks = Bitfield::from_wire(in.bin(), BlobLayout(*size).chunk_count());
  if (!in.ok()) return have;
  if (!chunks) {
    in.fail(BaseError::malformed);
    return have;
  }
  have.chunks = std::move(*chunks);
  return have;
}

OpenMessage get_open(MsgReader& in, const SwarmTag& tag) {
  OpenMessage m{.tag = tag};
  const auto digest = Digest::from_wire(in.bin());
  m.origin = in.str();
  m.size = get_size(in);
  m.have = get_map(in, m.size);
  if (!digest || SwarmKey{*digest, m.origin}.tag() != tag) {
    in.fail(BaseError::malformed);
  } else {
    m.digest = *digest;
  }
  return m;
}

StateMessage get_state(MsgReader& in, const SwarmTag& tag) {
  StateMessage m{.tag = tag};
  m.size = get_size(in);
  m.have = get_map(in, m.size);
  return m;
}

HaveMessage get_have(MsgReader& in, const SwarmTag& tag) {
  HaveMessage m{.tag = tag};
  MsgReader list = in.array();
  if (list.ok() && list.remaining() == 0) in.fail(BaseError::malformed);
  while (list.ok() && list.remaining() > 0) m.chunks.push_back(get_chunk(list));
  in.merge(list);
  return m;
}

RequestMessage get_request(MsgReader& in, const SwarmTag& tag) {
  RequestMessage m{.tag = tag};
  m.chunk = get_chunk(in);
  m.offset = get_u32(in, limits::chunk_bytes_max - 1);
  m.length = get_u32(in, limits::block_bytes);
  m.crec_wanted = in.boolean();
  if (m.length == 0) in.fail(BaseError::malformed);
  return m;
}

RejectMessage get_reject(MsgReader& in, const SwarmTag& tag) {
  RejectMessage m{.tag = tag};
  if (!in.next_is_nil()) m.chunk = get_chunk(in);
  m.reason = static_cast<RejectReason>(in.uint(static_cast<std::uint64_t>(RejectReason::no_list)));
  return m;
}

std::vector<HopName> get_hops(MsgReader& in) {
  std::vector<HopName> hops;
  MsgReader list = in.array();
  if (list.ok() && list.remaining() > limits::relay_hops_max) in.fail(BaseError::limit_exceeded);
  while (in.ok() && list.ok() && list.remaining() > 0) hops.push_back(get_u32(list, UINT32_MAX));
  in.merge(list);
  return hops;
}

RelayMessage get_relay(MsgReader& in, const SwarmTag& tag) {
  RelayMessage m{.tag = tag};
  m.chunk = get_chunk(in);
  m.offset = get_u32(in, limits::chunk_bytes_max - 1);
  m.size = in.uint(limits::blob_bytes_max);
  m.serial = get_u32(in, UINT32_MAX);
  m.next = get_hops(in);
  if (!in.ok()) return m;
  const BlobLayout layout(m.size);
  if (to_value(m.chunk) >= layout.chunk_count() || m.offset % limits::block_bytes != 0 ||
      m.offset >= layout.chunk_size(m.chunk)) {
    in.fail(BaseError::malformed);
  }
  return m;
}

CrecMessage get_crec(MsgReader& in, const SwarmTag& tag) {
  CrecMessage m{.tag = tag};
  m.chunk = get_chunk(in);
  m.size = in.uint(limits::blob_bytes_max);
  m.sha256 = in.bin_array<32>();
  m.signer.bytes = in.bin_array<32>();
  m.signature.bytes = in.bin_array<64>();
  if (!in.next_is_nil()) m.next = get_hops(in);
  if (in.ok() && to_value(m.chunk) >= BlobLayout(m.size).chunk_count()) {
    in.fail(BaseError::malformed);
  }
  return m;
}

MidstatesMessage get_midstates(MsgReader& in, const SwarmTag& tag) {
  MidstatesMessage m{.tag = tag};
  m.size = in.uint(limits::blob_bytes_max);
  m.first = get_u32(in, limits::chunks_per_blob_max);
  m.total = get_u32(in, limits::chunks_per_blob_max);
  const ByteView part = in.bin();
  m.prover.bytes = in.bin_array<32>();
  m.signature.bytes = in.bin_array<64>();
  if (!in.ok()) return m;
  const std::size_t count = part.size() / 32;
  if (part.size() % 32 != 0 || m.first + count > m.total ||
      m.total + 1 != BlobLayout(m.size).chunk_count()) {
    in.fail(BaseError::malformed);
    return m;
  }
  m.part.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const ByteView entry = part.subspan(i * 32, 32);
    std::copy(entry.begin(), entry.end(), m.part[i].bytes.begin());
  }
  return m;
}

SessionMessage get_message(Kind kind, MsgReader& in, const SwarmTag& tag) {
  switch (kind) {
    case Kind::open:
      return get_open(in, tag);
    case Kind::state:
      return get_state(in, tag);
    case Kind::have:
      return get_have(in, tag);
    case Kind::request:
      return get_request(in, tag);
    case Kind::cancel:
      return CancelMessage{tag, get_chunk(in)};
    case Kind::reject:
      return get_reject(in, tag);
    case Kind::busy:
      return BusyMessage{tag, get_u32(in, retry_ms_max)};
    case Kind::crec:
      return get_crec(in, tag);
    case Kind::get_midstates:
      return GetMidstatesMessage{tag};
    case Kind::midstates:
      return get_midstates(in, tag);
    case Kind::close:
      return CloseMessage{tag};
    case Kind::vouch: {
      const ChunkIndex chunk = get_chunk(in);
      return VouchMessage{tag, chunk, in.bin_array<32>()};
    }
    case Kind::relay:
      return get_relay(in, tag);
    case Kind::relay_vouch: {
      const ChunkIndex chunk = get_chunk(in);
      const std::uint32_t serial = get_u32(in, UINT32_MAX);
      const std::uint64_t stripes = in.uint();
      if (stripes == 0) in.fail(BaseError::malformed);
      return RelayVouchMessage{tag, chunk, serial, stripes};
    }
  }
  in.fail(BaseError::malformed);
  return CloseMessage{tag};
}

}  // namespace

Bytes encode(const SessionMessage& message) { return std::visit(Encoder{}, message); }

Result<SessionMessage> decode_session_message(ByteView bytes) {
  if (bytes.size() > limits::control_frame_bytes_max) return BaseError::limit_exceeded;
  MsgReader in = MsgReader::parse(bytes, message_limits);
  const auto kind = static_cast<Kind>(in.uint(static_cast<std::uint64_t>(Kind::relay_vouch)));
  const SwarmTag tag{in.bin_array<16>()};
  if (!in.ok()) return in.error();
  SessionMessage message = get_message(kind, in, tag);
  if (!in.done()) return in.error();
  return message;
}

}  // namespace waggle::transfer
