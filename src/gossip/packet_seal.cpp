// ChaCha20-Poly1305-IETF with per-(sender, boot) subkeys and counter nonces.
#include "gossip/packet_seal.hpp"

#include "base/assert.hpp"
#include "gossip/error.hpp"

#include <array>
#include <utility>

#include <sodium.h>

namespace waggle::gossip {
namespace {

constexpr std::uint8_t flag_directed = 1;
constexpr std::uint8_t flag_multicast = 2;
constexpr std::size_t sender_at = 4;
constexpr std::size_t boot_at = 12;
constexpr std::size_t counter_at = 20;

using Nonce = std::array<std::byte, crypto_aead_chacha20poly1305_ietf_NPUBBYTES>;

Nonce nonce_of(std::uint64_t counter) {
  Nonce nonce{};
  store_le(MutableByteView(nonce).subspan(4), counter);
  return nonce;
}

std::uint8_t byte_at(ByteView bytes, std::size_t at) {
  return std::to_integer<std::uint8_t>(bytes[at]);
}

bool is_known_type(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(PacketType::ping) &&
         type <= static_cast<std::uint8_t>(PacketType::app);
}

bool may_go_undirected(PacketType type, bool multicast) {
  return type == PacketType::ping || (multicast && type == PacketType::announcement);
}

}  // namespace

PacketSeal::PacketSeal(const KeyRing& keys, std::string cluster_name, const NodeId& self, Boot boot)
    : cluster_name_(std::move(cluster_name)), self_(self), boot_(boot) {
  set_keys(keys);
}

void PacketSeal::set_keys(const KeyRing& keys) {
  WAGGLE_ASSERT(!keys.empty());
  keys_.clear();
  for (const ClusterKey& key : keys) keys_.push_back({key.key_id(), key.derive("udp")});
  sealing_key_ = subkey(keys_.front().udp, self_.prefix(), boot_);
}

SecretKey PacketSeal::subkey(const SecretKey& udp, std::uint64_t sender, Boot boot) {
  std::array<std::byte, 16> run{};
  store_le(MutableByteView(run).first(8), sender);
  store_le(MutableByteView(run).last(8), boot);
  SecretKey key;
  blake2b(key.mutable_view(), run, udp.view());
  return key;
}

Bytes PacketSeal::authenticated(ByteView header, const std::optional<Destination>& to) const {
  Bytes data = to_bytes(header);
  if (to) {
    append(data, to->id.bytes);
    append_le(data, to->boot);
  }
  append(data, as_bytes(cluster_name_));
  return data;
}

Bytes PacketSeal::seal(PacketType type, const std::optional<Destination>& to, ByteView body,
                       Cast cast) {
  const bool multicast = cast == Cast::multicast;
  WAGGLE_ASSERT(to ? !multicast : may_go_undirected(type, multicast));
  WAGGLE_ASSERT(counter_ != UINT64_MAX);
  Bytes datagram = {static_cast<std::byte>(wire_version), static_cast<std::byte>(type),
                    static_cast<std::byte>(keys_.front().id),
                    static_cast<std::byte>(to          ? flag_directed
                                           : multicast ? flag_multicast
                                                       : 0)};
  append_le(datagram, self_.prefix());
  append_le(datagram, boot_);
  append_le(datagram, ++counter_);
  const Bytes data = authenticated(datagram, to);
  const Nonce nonce = nonce_of(counter_);
  datagram.resize(header_bytes + body.size() + tag_bytes);
  crypto_aead_chacha20poly1305_ietf_encrypt(
      as_uchar(MutableByteView(datagram).subspan(header_bytes)), nullptr, as_uchar(body),
      body.size(), as_uchar(ByteView(data)), data.size(), nullptr, as_uchar(ByteView(nonce)),
      sealing_key_.data());
  return datagram;
}

Result<OpenedPacket> PacketSeal::open(ByteView datagram) const {
  if (datagram.size() < seal_bytes) return GossipError::malformed;
  if (byte_at(datagram, 0) != wire_version) return GossipError::wrong_version;
  const std::uint8_t type = byte_at(datagram, 1);
  const std::uint8_t flags = byte_at(datagram, 3);
  if (!is_known_type(type) || flags > flag_multicast) return GossipError::malformed;
  OpenedPacket packet;
  packet.header = {.type = static_cast<PacketType>(type),
                   .directed = flags == flag_directed,
                   .sender = load_le<std::uint64_t>(datagram.subspan(sender_at)),
                   .boot = load_le<Boot>(datagram.subspan(boot_at)),
                   .counter = load_le<std::uint64_t>(datagram.subspan(counter_at)),
                   .multicast = flags == flag_multicast};
  if (!packet.header.directed && !may_go_undirected(packet.header.type, packet.header.multicast))
    return GossipError::malformed;
  const std::optional<Destination> to =
      packet.header.directed ? std::optional(Destination{self_, boot_}) : std::nullopt;
  const Bytes data = authenticated(datagram.first(header_bytes), to);
  const Nonce nonce = nonce_of(packet.header.counter);
  const ByteView sealed = datagram.subspan(header_bytes);
  packet.body.resize(sealed.size() - tag_bytes);
  bool known_key = false;
  for (const Key& key : keys_) {
    if (key.id != byte_at(datagram, 2)) continue;
    known_key = true;
    const SecretKey opening = subkey(key.udp, packet.header.sender, packet.header.boot);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(as_uchar(MutableByteView(packet.body)), nullptr,
                                                  nullptr, as_uchar(sealed), sealed.size(),
                                                  as_uchar(ByteView(data)), data.size(),
                                                  as_uchar(ByteView(nonce)), opening.data()) == 0) {
      return packet;
    }
  }
  return known_key ? GossipError::not_authentic : GossipError::unknown_key;
}

}  // namespace waggle::gossip
