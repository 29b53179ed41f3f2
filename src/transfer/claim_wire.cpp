// msgpack codec of the claim messages: [kind, tag, fields...].
#include "transfer/claim_wire.hpp"

#include "base/msg.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace waggle::transfer {
namespace {

enum class Kind : std::uint8_t {
  want = 1,
  claim = 2,
  confirm = 3,
  progress = 4,
  release = 5,
  unwant = 6,
  news = 7,
  grant = 8,
  vote = 9,
  permit_ask = 10,
  permit_answer = 11,
  permit_hold = 12,
};

constexpr MsgLimits claim_limits{.depth = 4, .elements = 64, .str_bytes = 0, .bin_bytes = 1024};
constexpr std::uint64_t extents_max = limits::blob_bytes_max / limits::extent_bytes;

void put_size(MsgWriter& out, const std::optional<std::uint64_t>& size) {
  if (size) {
    out.uint(*size);
  } else {
    out.nil();
  }
}

std::optional<std::uint64_t> get_size(MsgReader& in) {
  if (in.next_is_nil()) return std::nullopt;
  return in.uint(limits::blob_bytes_max);
}

void put_claims(MsgWriter& out, const std::vector<ExtentClaim>& claims) {
  out.array(claims.size());
  for (const auto& claim : claims) out.array(2).uint(to_value(claim.extent)).uint(claim.attempt);
}

ExtentIndex get_extent(MsgReader& in) {
  return ExtentIndex{static_cast<std::uint32_t>(in.uint(extents_max))};
}

ExtentClaim get_claim(MsgReader& in) {
  ExtentClaim claim;
  claim.extent = get_extent(in);
  claim.attempt = static_cast<std::uint32_t>(in.uint(UINT32_MAX));
  return claim;
}

/// Reads an array of at most `count_max` arrays, each through `read`.
template <typename Item, typename Read>
std::vector<Item> get_items(MsgReader& in, Read read,
                            std::size_t count_max = claims_per_message_max) {
  std::vector<Item> items;
  MsgReader list = in.array();
  if (list.remaining() > count_max) list.fail(BaseError::limit_exceeded);
  while (list.ok() && list.remaining() > 0) {
    MsgReader entry = list.array();
    items.push_back(read(entry));
    if (!entry.done()) list.fail(entry.error());
  }
  in.merge(list);
  return items;
}

void put_nodes(MsgWriter& out, const std::vector<NodeId>& nodes) {
  Bytes joined;
  for (const auto& node : nodes) append(joined, node.bytes);
  out.bin(joined);
}

void put_names(MsgWriter& out, const std::vector<HopName>& names) {
  Bytes joined(names.size() * sizeof(HopName));
  for (std::size_t i = 0; i < names.size(); ++i)
    store_le(std::span(joined).subspan(i * sizeof(HopName)), names[i]);
  out.bin(joined);
}

std::vector<HopName> get_names(MsgReader& in, std::size_t count_max) {
  const ByteView joined = in.bin();
  std::vector<HopName> names(joined.size() / sizeof(HopName));
  if (joined.size() % sizeof(HopName) != 0) in.fail(BaseError::malformed);
  if (names.size() > count_max) in.fail(BaseError::limit_exceeded);
  if (!in.ok()) return {};
  for (std::size_t i = 0; i < names.size(); ++i)
    names[i] = load_le<HopName>(joined.subspan(i * sizeof(HopName)));
  return names;
}

std::vector<NodeId> get_nodes(MsgReader& in, std::size_t count_max) {
  const ByteView joined = in.bin();
  std::vector<NodeId> nodes(joined.size() / sizeof(NodeId));
  if (joined.size() % sizeof(NodeId) != 0) in.fail(BaseError::malformed);
  if (nodes.size() > count_max) in.fail(BaseError::limit_exceeded);
  if (!in.ok()) return {};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const ByteView id = joined.subspan(i * sizeof(NodeId), sizeof(NodeId));
    std::copy(id.begin(), id.end(), nodes[i].bytes.begin());
  }
  return nodes;
}

PermitId get_permit(MsgReader& in) {
  PermitId permit;
  permit.blob.bytes = in.bin_array<16>();
  permit.extent = get_extent(in);
  return permit;
}

void put_pauses(MsgWriter& out, const std::vector<HostPause>& pauses) {
  out.array(pauses.size());
  for (const auto& pause : pauses) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(pause.remaining);
    out.array(2).uint(pause.credential).uint(static_cast<std::uint64_t>(left.count()));
  }
}

std::vector<HostPause> get_pauses(MsgReader& in) {
  constexpr std::uint64_t pause_ms_max = limits::upstream_pause_max / std::chrono::milliseconds(1);
  return get_items<HostPause>(
      in,
      [](MsgReader& entry) {
        const std::uint64_t credential = entry.uint();
        return HostPause{credential, std::chrono::milliseconds(entry.uint(pause_ms_max))};
      },
      pauses_per_message_max);
}

struct Encoder {
  MsgWriter out;
  const SwarmTag& tag;

  MsgWriter& head(Kind kind, std::size_t fields) {
    return out.array(fields + 2).uint(static_cast<std::uint64_t>(kind)).bin(tag.bytes);
  }
  void operator()(const WantMessage& m) {
    head(Kind::want, 7).uint(m.request).uint(m.incarnation).uint(m.upstream_bytes);
    put_size(out, m.size);
    out.uint(m.done.first()).bin(m.done.bits().none() ? Bytes{} : m.done.bits().to_wire());
    put_claims(out, m.claims);
  }
  void operator()(const ClaimMessage& m) {
    head(Kind::claim, 5).uint(m.request).uint(m.incarnation).uint(m.upstream_bytes).uint(m.count);
    out.boolean(m.holders_failed);
  }
  void operator()(const ConfirmMessage& m) {
    head(Kind::confirm, 3).uint(m.request).uint(m.incarnation);
    put_claims(out, m.claims);
  }
  void operator()(const ProgressMessage& m) {
    head(Kind::progress, 4).uint(m.incarnation);
    put_size(out, m.size);
    out.boolean(m.whole_stream).array(m.items.size());
    for (const auto& item : m.items) {
      out.array(3).uint(to_value(item.claim.extent)).uint(item.claim.attempt).uint(item.bytes);
    }
  }
  void operator()(const ReleaseMessage& m) {
    head(Kind::release, 3)
        .uint(m.incarnation)
        .uint(static_cast<std::uint64_t>(m.reason))
        .array(m.extents.size());
    for (const ExtentIndex extent : m.extents) out.array(1).uint(to_value(extent));
  }
  void operator()(const UnwantMessage& m) {
    head(Kind::unwant, 2).uint(m.incarnation).boolean(m.completed);
  }
  void operator()(const NewsMessage& m) {
    head(Kind::news, 4).uint(m.request);
    put_size(out, m.size);
    put_names(out, m.wanters);
    put_nodes(out, m.holders);
  }
  void operator()(const GrantMessage& m) {
    head(Kind::grant, 2).uint(m.request);
    put_claims(out, m.grants);
  }
  void operator()(const VoteMessage& m) {
    head(Kind::vote, 2).uint(m.request).array(m.votes.size());
    for (const auto& vote : m.votes) {
      out.array(3).uint(to_value(vote.claim.extent)).uint(vote.claim.attempt).boolean(vote.yes);
    }
  }
  MsgWriter& permit(const PermitId& id) { return out.bin(id.blob.bytes).uint(to_value(id.extent)); }
  void operator()(const PermitAskMessage& m) {
    head(Kind::permit_ask, 5).uint(m.request).uint(m.incarnation);
    permit(m.permit).boolean(m.reader_waits);
  }
  void operator()(const PermitAnswerMessage& m) {
    head(Kind::permit_answer, 5).uint(m.request);
    permit(m.permit).boolean(m.granted);
    put_pauses(out, m.pauses);
  }
  void operator()(const PermitHoldMessage& m) {
    head(Kind::permit_hold, 4).uint(m.incarnation).uint(m.serial).array(m.items.size());
    for (const auto& item : m.items) {
      out.array(4);
      permit(item.permit).uint(item.bytes).uint(static_cast<std::uint64_t>(item.state));
    }
    put_pauses(out, m.pauses);
  }
};

DoneWindow get_done(MsgReader& in) {
  const auto first = static_cast<std::uint32_t>(in.uint(extents_max));
  const ByteView bits = in.bin();
  if (bits.empty()) return {first, Bitfield(limits::claim_bitmap_bits)};
  auto field = Bitfield::from_wire(bits, limits::claim_bitmap_bits);
  if (!field) {
    in.fail(BaseError::malformed);
    return {};
  }
  return {first, *std::move(field)};
}

PermitHoldMessage get_hold(MsgReader& in) {
  using State = PermitHoldMessage::State;
  PermitHoldMessage m{in.uint(), in.uint(), {}, {}};
  m.items = get_items<PermitHoldMessage::Item>(in, [](MsgReader& entry) {
    PermitHoldMessage::Item item{get_permit(entry), entry.uint(limits::blob_bytes_max), {}};
    item.state = static_cast<State>(entry.uint(static_cast<std::uint64_t>(State::ended)));
    return item;
  });
  m.pauses = get_pauses(in);
  return m;
}

ClaimBody get_body(MsgReader& in, Kind kind) {
  switch (kind) {
    case Kind::permit_ask:
      return PermitAskMessage{in.uint(), in.uint(), get_permit(in), in.boolean()};
    case Kind::permit_answer:
      return PermitAnswerMessage{in.uint(), get_permit(in), in.boolean(), get_pauses(in)};
    case Kind::permit_hold:
      return get_hold(in);
    case Kind::want: {
      WantMessage m{in.uint(), in.uint(), in.uint(), get_size(in), get_done(in), {}};
      m.claims = get_items<ExtentClaim>(in, get_claim);
      return m;
    }
    case Kind::claim:
      return ClaimMessage{in.uint(), in.uint(), in.uint(),
                          static_cast<std::uint32_t>(in.uint(claims_per_message_max)),
                          in.boolean()};
    case Kind::confirm: {
      ConfirmMessage m{in.uint(), in.uint(), {}};
      m.claims = get_items<ExtentClaim>(in, get_claim);
      return m;
    }
    case Kind::progress: {
      ProgressMessage m{in.uint(), get_size(in), in.boolean(), {}};
      m.items = get_items<ProgressMessage::Item>(in, [](MsgReader& entry) {
        const ExtentClaim claim = get_claim(entry);
        return ProgressMessage::Item{claim, entry.uint(limits::blob_bytes_max)};
      });
      return m;
    }
    case Kind::release: {
      ReleaseMessage m;
      m.incarnation = in.uint();
      m.reason = static_cast<ReleaseMessage::Reason>(
          in.uint(static_cast<std::uint64_t>(ReleaseMessage::Reason::elsewhere)));
      m.extents = get_items<ExtentIndex>(in, get_extent);
      return m;
    }
    case Kind::unwant:
      return UnwantMessage{in.uint(), in.boolean()};
    case Kind::news:
      return NewsMessage{in.uint(), get_size(in), get_names(in, news_wanters_max),
                         get_nodes(in, news_holders_max)};
    case Kind::grant: {
      GrantMessage m{in.uint(), {}};
      m.grants = get_items<ExtentClaim>(in, get_claim);
      return m;
    }
    case Kind::vote: {
      VoteMessage m{in.uint(), {}};
      m.votes = get_items<VoteMessage::Vote>(in, [](MsgReader& entry) {
        const ExtentClaim claim = get_claim(entry);
        return VoteMessage::Vote{claim, entry.boolean()};
      });
      return m;
    }
  }
  in.fail(BaseError::unsupported);
  return UnwantMessage{};
}

}  // namespace

DoneWindow::DoneWindow(const Bitfield& extents)
    : first_(static_cast<std::uint32_t>(extents.run_length())) {
  for (auto i = extents.find(true, first_); i && *i < first_ + bits_.size();
       i = extents.find(true, *i + 1)) {
    bits_.set(*i - first_);
  }
}

bool DoneWindow::test(ExtentIndex extent) const {
  const std::uint32_t index = to_value(extent);
  if (index < first_) return true;
  return index - first_ < bits_.size() && bits_.test(index - first_);
}

void DoneWindow::set(ExtentIndex extent) {
  const std::uint32_t index = to_value(extent);
  if (index >= first_ && index - first_ < bits_.size()) bits_.set(index - first_);
}

Bytes encode_claim(const ClaimPacket& packet) {
  Encoder encoder{{}, packet.tag};
  std::visit(encoder, packet.body);
  return encoder.out.take();
}

Result<ClaimPacket> decode_claim(ByteView payload) {
  MsgReader in = MsgReader::parse(payload, claim_limits);
  const auto kind = static_cast<Kind>(in.uint(UINT8_MAX));
  ClaimPacket packet;
  packet.tag.bytes = in.bin_array<16>();
  if (in.ok()) packet.body = get_body(in, kind);
  if (!in.done()) return in.error();
  return packet;
}

}  // namespace waggle::transfer
