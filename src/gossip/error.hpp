// Why a datagram was refused. Every enumerator names when it happens and what the caller does:
// count and drop.
#pragma once

#include "base/error.hpp"

namespace waggle::gossip {

enum class GossipError {
  malformed = 1,  ///< not a packet or message of ours; drop, answer nothing
  too_large,      ///< longer than a datagram may be; drop
  wrong_version,  ///< a protocol version that this node does not speak; drop
  unknown_key,    ///< the key id is not in the ring; drop
  not_authentic,  ///< the seal does not open: wrong key, wrong receiver, changed bytes; drop
  replayed,       ///< seen before, too old, or from a boot that was replaced; drop
  no_session,     ///< authentic, but the sender has not proved its boot to us; drop
  id_mismatch,    ///< an id that is not the hash of the public key beside it; drop
  unknown_type,   ///< a proven member's packet of a type that this build does not know; drop
  over_rate,      ///< a first PING beyond limits::introductions_per_second; drop, it comes again
};

[[nodiscard]] const boost::system::error_category& gossip_category() noexcept;

inline boost::system::error_code make_error_code(GossipError error) noexcept {
  return {static_cast<int>(error), gossip_category()};
}

}  // namespace waggle::gossip

template <>
struct boost::system::is_error_code_enum<waggle::gossip::GossipError> : std::true_type {};
