// Encoding and strict decoding of gossip messages.
#include "gossip/wire.hpp"

#include "base/limits.hpp"
#include "base/msg.hpp"
#include "gossip/error.hpp"

#include <algorithm>

namespace waggle::gossip {
namespace {

constexpr std::size_t ping_elements = 7;
constexpr std::size_t ack_elements = 7;
constexpr std::size_t member_elements = 12;
constexpr std::uint64_t flag_draining = 1;
constexpr std::size_t v4_bytes = 6;
constexpr std::size_t key_name_bytes = sizeof(KeyName);

constexpr MsgLimits wire_limits{.depth = 4,
                                .elements = 64,
                                .str_bytes = limits::node_name_bytes_max,
                                .bin_bytes = limits::datagram_bytes_max};

void write_id(MsgWriter& out, const std::optional<NodeId>& id) {
  if (id) {
    out.bin(id->bytes);
  } else {
    out.nil();
  }
}

void write_endpoint(MsgWriter& out, const Endpoint& endpoint) {
  const Bytes wire = endpoint.to_wire();
  // The last 6 bytes of an IPv4-mapped address and port are the IPv4 address and port.
  out.bin(endpoint.is_v4() ? ByteView(wire).last(v4_bytes) : ByteView(wire));
}

void write_keys(MsgWriter& out, const KeyNames& keys) {
  Bytes names;
  for (const KeyName name : {keys.seals, keys.opens}) {
    if (name == 0 && !names.empty()) break;
    names.push_back(static_cast<std::byte>(name >> 8U));
    names.push_back(static_cast<std::byte>(name));
  }
  out.bin(names);
}

void write_member(MsgWriter& out, const Member& member, const NodeId& accuser) {
  out.array(member_elements);
  out.bin(member.id.bytes).uint(member.incarnation).uint(static_cast<std::uint64_t>(member.state));
  out.bin(member.public_key.bytes);
  out.array(member.endpoints.size());
  for (const Endpoint& endpoint : member.endpoints) write_endpoint(out, endpoint);
  out.str(member.name).str(member.zone).uint(member.draining ? flag_draining : 0);
  out.uint(member.version_min).uint(member.version_max);
  write_id(out, accuser.is_zero() ? std::nullopt : std::optional(accuser));
  write_keys(out, member.keys);
}

void write_self(MsgWriter& out, const std::optional<Member>& self) {
  if (self) {
    write_member(out, *self, {});
  } else {
    out.nil();
  }
}

void write_updates(MsgWriter& out, const std::vector<MemberUpdate>& updates) {
  out.array(updates.size());
  for (const MemberUpdate& update : updates) write_member(out, update.member, update.accuser);
}

NodeId read_id(MsgReader& in) { return NodeId{in.bin_array<16>()}; }

std::optional<NodeId> read_optional_id(MsgReader& in) {
  if (in.next_is_nil()) return std::nullopt;
  return read_id(in);
}

Endpoint read_endpoint(MsgReader& in) {
  const ByteView wire = in.bin();
  if (wire.size() == v4_bytes) {
    const auto octet = [&](std::size_t i) { return std::to_integer<std::uint8_t>(wire[i]); };
    const auto port = static_cast<std::uint16_t>(octet(4) << 8U | octet(5));
    return Endpoint::v4(octet(0), octet(1), octet(2), octet(3), port);
  }
  auto endpoint = Endpoint::from_wire(wire);
  if (!endpoint || endpoint->is_v4()) {
    in.fail(BaseError::malformed);
    return {};
  }
  return *endpoint;
}

/// Names reach logs and terminals, so control characters are refused.
std::string read_label(MsgReader& in, std::size_t bytes_max) {
  const std::string_view text = in.str();
  const bool printable = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (text.size() > bytes_max || !printable) in.fail(BaseError::malformed);
  return std::string(text);
}

KeyName key_name_at(ByteView names, std::size_t at) {
  return static_cast<KeyName>(std::to_integer<unsigned>(names[at]) << 8U |
                              std::to_integer<unsigned>(names[at + 1]));
}

KeyNames read_keys(MsgReader& in) {
  const ByteView names = in.bin();
  if (names.size() != key_name_bytes && names.size() != 2 * key_name_bytes) {
    in.fail(BaseError::malformed);
    return {};
  }
  KeyNames keys{key_name_at(names, 0), 0};
  const bool two = names.size() > key_name_bytes;
  if (two) keys.opens = key_name_at(names, key_name_bytes);
  if (keys.seals == 0 || (two && keys.opens == 0) || keys.seals == keys.opens) {
    in.fail(BaseError::malformed);
  }
  return keys;
}

bool usable(const Endpoint& endpoint) { return endpoint.port != 0 && !endpoint.is_unspecified(); }

MemberUpdate read_member(MsgReader in, MsgReader& parent) {
  MemberUpdate update;
  Member& member = update.member;
  member.id = read_id(in);
  member.incarnation = in.uint();
  member.state = static_cast<MemberState>(in.uint(static_cast<std::uint64_t>(MemberState::left)));
  member.public_key.bytes = in.bin_array<32>();
  MsgReader endpoints = in.array();
  if (endpoints.remaining() == 0 || endpoints.remaining() > limits::member_addresses_max) {
    in.fail(BaseError::limit_exceeded);
  }
  while (endpoints.ok() && endpoints.remaining() > 0) {
    member.endpoints.push_back(read_endpoint(endpoints));
    if (!usable(member.endpoints.back())) endpoints.fail(BaseError::malformed);
  }
  in.merge(endpoints);
  member.name = read_label(in, limits::node_name_bytes_max);
  member.zone = read_label(in, limits::zone_bytes_max);
  member.draining = (in.uint(UINT8_MAX) & flag_draining) != 0;
  member.version_min = static_cast<std::uint8_t>(in.uint(UINT8_MAX));
  member.version_max = static_cast<std::uint8_t>(in.uint(UINT8_MAX));
  if (member.version_min > member.version_max) in.fail(BaseError::malformed);
  update.accuser = read_optional_id(in).value_or(NodeId{});
  if (!update.accuser.is_zero() && member.state != MemberState::suspect)
    in.fail(BaseError::malformed);
  member.keys = read_keys(in);
  // A newer version may say more of a member; what it adds is not read, nor passed on.
  if (in.remaining() > limits::member_extra_elements_max) in.fail(BaseError::limit_exceeded);
  parent.merge(in);
  return update;
}

std::optional<Member> read_self(MsgReader& in) {
  if (in.next_is_nil()) return std::nullopt;
  Member self = read_member(in.array(), in).member;
  if (self.state != MemberState::alive && self.state != MemberState::left)
    in.fail(BaseError::malformed);
  return self;
}

std::vector<MemberUpdate> read_updates(MsgReader& in) {
  MsgReader list = in.array();
  std::vector<MemberUpdate> updates;
  while (list.ok() && list.remaining() > 0) updates.push_back(read_member(list.array(), list));
  in.merge(list);
  return updates;
}

bool ids_match(const std::vector<MemberUpdate>& updates) {
  return std::all_of(updates.begin(), updates.end(), [](const MemberUpdate& update) {
    return update.member.public_key.node_id() == update.member.id;
  });
}

bool ids_match(const std::optional<Member>& self) {
  return !self || self->public_key.node_id() == self->id;
}

struct Encoder {
  MsgWriter out;
  void operator()(const Ping& ping) {
    out.array(ping_elements).uint(ping.seq);
    write_id(out, ping.to);
    out.uint(ping.echo).uint(ping.table_hash).uint(ping.load);
    write_self(out, ping.self);
    write_updates(out, ping.news);
  }
  void operator()(const Ack& ack) {
    out.array(ack_elements).uint(ack.seq);
    write_id(out, ack.target);
    out.uint(ack.cookie).uint(ack.table_hash).uint(ack.load);
    write_self(out, ack.self);
    write_updates(out, ack.news);
  }
  void operator()(const PingReq& request) {
    out.array(2).uint(request.seq).bin(request.target.bytes);
  }
  void operator()(const Nack& nack) { out.array(1).uint(nack.seq); }
  void operator()(const MemberHashes& message) {
    Bytes hashes;
    for (const std::uint64_t hash : message.hashes) append_le(hashes, hash);
    out.array(2).boolean(message.want_hashes).bin(hashes);
  }
  void operator()(const MemberRecords& message) {
    out.array(2).boolean(message.repair);
    write_updates(out, message.records);
  }
  void operator()(const AnnouncementBody& message) { out.array(1).bin(message.body); }
  void operator()(const App& app) { out.array(2).uint(app.kind).bin(app.payload); }
};

MemberHashes read_hashes(MsgReader& in) {
  MemberHashes message;
  message.want_hashes = in.boolean();
  const auto hashes = in.bin_array<member_buckets * 8>();
  for (std::size_t i = 0; i < member_buckets; ++i) {
    message.hashes[i] = load_le<std::uint64_t>(ByteView(hashes).subspan(8 * i));
  }
  return message;
}

Result<GossipMessage> finish(const MsgReader& in, bool matching, GossipMessage message) {
  if (!in.done()) return GossipError::malformed;
  if (!matching) return GossipError::id_mismatch;
  return message;
}

Result<GossipMessage> decode_ping(MsgReader& in) {
  Ping ping;
  ping.seq = in.uint();
  ping.to = read_optional_id(in);
  ping.echo = in.uint();
  ping.table_hash = in.uint();
  ping.load = static_cast<std::uint8_t>(in.uint(UINT8_MAX));
  ping.self = read_self(in);
  ping.news = read_updates(in);
  const bool matching = in.done() && ids_match(ping.self) && ids_match(ping.news);
  return finish(in, matching, std::move(ping));
}

Result<GossipMessage> decode_ack(MsgReader& in) {
  Ack ack;
  ack.seq = in.uint();
  ack.target = read_optional_id(in);
  ack.cookie = in.uint();
  ack.table_hash = in.uint();
  ack.load = static_cast<std::uint8_t>(in.uint(UINT8_MAX));
  ack.self = read_self(in);
  ack.news = read_updates(in);
  const bool matching = in.done() && ids_match(ack.self) && ids_match(ack.news);
  return finish(in, matching, std::move(ack));
}

Result<GossipMessage> decode_records(MsgReader& in) {
  MemberRecords message;
  message.repair = in.boolean();
  message.records = read_updates(in);
  const bool matching = in.done() && ids_match(message.records);
  return finish(in, matching, std::move(message));
}

}  // namespace

PacketType type_of(const GossipMessage& message) {
  return static_cast<PacketType>(message.index() + 1);
}

Bytes encode(const GossipMessage& message) {
  Encoder encoder;
  std::visit(encoder, message);
  return encoder.out.take();
}

Result<GossipMessage> decode(PacketType type, ByteView body) {
  if (type < PacketType::ping || type > PacketType::app) return GossipError::unknown_type;
  MsgReader in = MsgReader::parse(body, wire_limits);
  if (!in.ok()) return GossipError::malformed;
  switch (type) {
    case PacketType::ping:
      return decode_ping(in);
    case PacketType::ack:
      return decode_ack(in);
    case PacketType::ping_req: {
      PingReq request;
      request.seq = in.uint();
      request.target = read_id(in);
      return finish(in, true, request);
    }
    case PacketType::nack: {
      const Nack nack{in.uint()};
      return finish(in, true, nack);
    }
    case PacketType::member_hashes: {
      const MemberHashes message = read_hashes(in);
      return finish(in, true, message);
    }
    case PacketType::member_records:
      return decode_records(in);
    case PacketType::announcement: {
      AnnouncementBody message{to_bytes(in.bin())};
      return finish(in, true, std::move(message));
    }
    case PacketType::app: {
      App app;
      app.kind = static_cast<std::uint8_t>(in.uint(UINT8_MAX));
      app.payload = to_bytes(in.bin());
      return finish(in, true, std::move(app));
    }
  }
  return GossipError::unknown_type;
}

std::size_t encoded_bytes(const MemberUpdate& update) {
  MsgWriter out;
  write_member(out, update.member, update.accuser);
  return out.bytes().size();
}

}  // namespace waggle::gossip
