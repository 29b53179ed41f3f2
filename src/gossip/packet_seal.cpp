// ChaCha20-Poly1305-IETF with per-(sender, boot) subkeys and counter nonces.
#include "gossip/packet_seal.hpp"

#include "base/assert.hpp"
#include "base/prng.hpp"
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
/// Senders whose keys are kept: relays, the own row and probes at 5,000 members are about 200.
constexpr std::size_t openers_max = 256;

using Nonce = std::array<std::byte, crypto_aead_chacha20poly1305_ietf_NPUBBYTES>;

Nonce nonce_of(std::uint64_t counter) {
  Nonce nonce{};
  store_le(MutableByteView(nonce).subspan(4), counter);
  return nonce;
}

std::uint8_t byte_at(ByteView bytes, std::size_t at) {
  return std::to_integer<std::uint8_t>(bytes[at]);
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
  openers_.clear();
}

SecretKey PacketSeal::subkey(const SecretKey& udp, std::uint64_t sender, Boot boot) {
  std::array<std::byte, 16> run{};
  store_le(MutableByteView(run).first(8), sender);
  store_le(MutableByteView(run).last(8), boot);
  SecretKey key;
  blake2b(key.mutable_view(), run, udp.view());
  return key;
}

ByteView PacketSeal::authenticated(ByteView header, const std::optional<Destination>& to) const {
  authenticated_.assign(header.begin(), header.end());
  if (to) {
    append(authenticated_, to->id.bytes);
    append_le(authenticated_, to->boot);
  }
  append(authenticated_, as_bytes(cluster_name_));
  return authenticated_;
}

PacketSeal::Opener& PacketSeal::opener_of(std::uint64_t sender, Boot boot) const {
  if (openers_.empty()) openers_.resize(openers_max);
  return openers_[mix_seed(sender ^ mix_seed(boot)) % openers_max];
}

Bytes PacketSeal::seal(PacketType type, const std::optional<Destination>& to, ByteView body,
                       Cast cast) {
  const bool multicast = cast == Cast::multicast;
  WAGGLE_ASSERT(to ? !multicast : may_go_undirected(type, multicast));
  WAGGLE_ASSERT(counter_ != UINT64_MAX);
  const std::uint8_t flags = to ? flag_directed : multicast ? flag_multicast : std::uint8_t{0};
  Bytes datagram;
  datagram.reserve(header_bytes + body.size() + tag_bytes);
  for (const auto byte : {wire_version, static_cast<std::uint8_t>(type), keys_.front().id, flags}) {
    datagram.push_back(static_cast<std::byte>(byte));
  }
  append_le(datagram, self_.prefix());
  append_le(datagram, boot_);
  append_le(datagram, ++counter_);
  const ByteView data = authenticated(datagram, to);
  const Nonce nonce = nonce_of(counter_);
  datagram.resize(header_bytes + body.size() + tag_bytes);
  crypto_aead_chacha20poly1305_ietf_encrypt(
      as_uchar(MutableByteView(datagram).subspan(header_bytes)), nullptr, as_uchar(body),
      body.size(), as_uchar(data), data.size(), nullptr, as_uchar(ByteView(nonce)),
      sealing_key_.data());
  return datagram;
}

Result<OpenedPacket> PacketSeal::open(ByteView datagram) const {
  if (datagram.size() < seal_bytes) return GossipError::malformed;
  if (byte_at(datagram, 0) != wire_version) return GossipError::wrong_version;
  // An unknown type may be a newer member's: the decoder says so, once the sender is proven.
  const std::uint8_t type = byte_at(datagram, 1);
  const std::uint8_t flags = byte_at(datagram, 3);
  if (flags > flag_multicast) return GossipError::malformed;
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
  const ByteView data = authenticated(datagram.first(header_bytes), to);
  const Nonce nonce = nonce_of(packet.header.counter);
  const ByteView sealed = datagram.subspan(header_bytes);
  packet.body.resize(sealed.size() - tag_bytes);
  const std::uint64_t sender = packet.header.sender;
  const Boot boot = packet.header.boot;
  Opener& opener = opener_of(sender, boot);
  bool known_key = false;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i].id != byte_at(datagram, 2)) continue;
    known_key = true;
    const bool is_kept = opener.key == i && opener.sender == sender && opener.boot == boot;
    const SecretKey opening = is_kept ? opener.subkey : subkey(keys_[i].udp, sender, boot);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(as_uchar(MutableByteView(packet.body)), nullptr,
                                                  nullptr, as_uchar(sealed), sealed.size(),
                                                  as_uchar(data), data.size(),
                                                  as_uchar(ByteView(nonce)), opening.data()) == 0) {
      if (!is_kept) opener = {i, sender, boot, opening};
      return packet;
    }
  }
  return known_key ? GossipError::not_authentic : GossipError::unknown_key;
}

}  // namespace waggle::gossip
