// Sealing and opening of datagrams: header in clear, body under ChaCha20-Poly1305. Layout:
// docs/wire-gossip.md. Knows keys and counters only; which boots are trusted is sessions.hpp's
// business.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/keys.hpp"
#include "gossip/wire.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace waggle::gossip {

/// 8 random bytes that name one run of one node.
using Boot = std::uint64_t;

inline constexpr std::uint8_t wire_version = 1;
inline constexpr std::size_t header_bytes = 28;
inline constexpr std::size_t tag_bytes = 16;
inline constexpr std::size_t seal_bytes = header_bytes + tag_bytes;

/// The node and run that a directed packet is for; authenticated, not transmitted.
struct Destination {
  NodeId id;
  Boot boot = 0;
};

/// To whom a packet goes.
enum class Cast : std::uint8_t {
  unicast,    ///< to one address; directed where the receiver's boot is known
  multicast,  ///< to the cluster's group, undirected: a PING or an ANNOUNCEMENT only
};

struct PacketHeader {
  PacketType type = PacketType::ping;
  bool directed = false;
  std::uint64_t sender = 0;  ///< NodeId::prefix()
  Boot boot = 0;
  std::uint64_t counter = 0;
  bool multicast = false;
};

struct OpenedPacket {
  PacketHeader header;
  Bytes body;
};

/// Own sealing state of one boot. A (key, nonce) pair is never used twice: keys are per (sender,
/// boot), the nonce is a counter that only grows; a new run has a new boot.
class PacketSeal {
 public:
  /// @pre keys not empty; `boot` fresh from a RandomSource
  PacketSeal(const KeyRing& keys, std::string cluster_name, const NodeId& self, Boot boot);

  /// Rotation: the first key seals from now on, all open. The counter goes on. @pre keys not empty
  void set_keys(const KeyRing& keys);

  /// A datagram of body.size() + seal_bytes. Only a PING may go undirected (no `to`), and to the
  /// group an ANNOUNCEMENT too. @pre no `to` with Cast::multicast
  [[nodiscard]] Bytes seal(PacketType type, const std::optional<Destination>& to, ByteView body,
                           Cast cast = Cast::unicast);

  /// Opens a datagram that is undirected or meant for this node and boot. Cost about 3 us, half of
  /// it for senders heard lately, whose keys are kept; no state changes that an answer could show.
  /// @return malformed, wrong_version, unknown_key or not_authentic
  [[nodiscard]] Result<OpenedPacket> open(ByteView datagram) const;

  [[nodiscard]] Boot boot() const { return boot_; }

 private:
  struct Key {
    std::uint8_t id;
    SecretKey udp;  ///< ClusterKey::derive("udp")
  };
  /// Whose key was derived; only packets that opened leave one, so strangers push out nobody.
  struct Opener {
    std::size_t key = SIZE_MAX;  ///< number in keys_
    std::uint64_t sender = 0;
    Boot boot = 0;
    SecretKey subkey;
  };
  [[nodiscard]] static SecretKey subkey(const SecretKey& udp, std::uint64_t sender, Boot boot);
  /// Valid until the next call.
  [[nodiscard]] ByteView authenticated(ByteView header, const std::optional<Destination>& to) const;
  [[nodiscard]] Opener& opener_of(std::uint64_t sender, Boot boot) const;

  std::string cluster_name_;
  NodeId self_;
  Boot boot_;
  std::vector<Key> keys_;
  SecretKey sealing_key_;  ///< subkey of keys_[0] for (self, boot)
  std::uint64_t counter_ = 0;
  mutable Bytes authenticated_;          ///< keeps its room
  mutable std::vector<Opener> openers_;  ///< direct-mapped by (sender, boot)
};

}  // namespace waggle::gossip
