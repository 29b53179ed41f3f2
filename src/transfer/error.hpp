// What can go wrong on a transfer session. Page: docs/wire-transfer.md.
#pragma once

#include "base/error.hpp"

#include <boost/system/error_code.hpp>

namespace waggle::transfer {

/// Every one of them ends the connection it happened on; "counted" means a label of
/// handshakes_total.
enum class TransferError {
  // Handshake. Nothing is answered: the connection is closed and the reason counted.
  bad_preamble = 1,  ///< not our magic or version: a stranger, or a waggle of another age
  unknown_key,    ///< the key id is not in our ring: a stranger, or a key retired or not installed
                  ///< yet
  not_authentic,  ///< a handshake message does not open: another key, cluster name, or tampering
  weak_key,       ///< a Diffie-Hellman result is all zero: a low order point was sent
  bad_handshake,  ///< a message has an impossible length or payload
  identity_forged,  ///< the Ed25519 key shown is not the Noise static key: ban-worthy, never honest
  wrong_peer,       ///< dialled by id, and somebody else answered: drop the address
  self_connection,  ///< we reached ourselves: forget the address
  version_mismatch,     ///< the version ranges do not meet: the peer is more than one release away
  handshake_timeout,    ///< the handshake took longer than limits::handshake_timeout
  too_many_handshakes,  ///< limits::half_open_handshakes_max or _per_address_max: the oldest
                        ///< connection without proof of a key made room, or this one was refused
  handshake_replayed,   ///< a first message that was opened here before: a recording
  too_many_sessions,    ///< limits::sessions_max; refused at accept, or once the peer is known
  // Open sessions. The session is closed; the core gets session_closed and asks elsewhere.
  bad_record,        ///< a record header has an unknown kind or an impossible length
  record_forged,     ///< a record does not open: damage on the way or an attack
  control_too_long,  ///< a control message passes limits::control_frame_bytes_max
  bad_payload,       ///< a payload header disagrees with its record
  queue_full,  ///< limits::session_send_queue_bytes_max or a control queue's: the peer does not
               ///< read
  duplicate_session,  ///< another session with this peer is kept (see TcpDriver)
  session_moved,      ///< it went over to a session under the new cluster key
  key_retired,        ///< the cluster key it was opened with left the ring
  closed_by_peer,     ///< end of stream
  closed_locally,     ///< close() was called
  // Dials.
  unreachable,     ///< no endpoint accepted within the time given
  too_many_dials,  ///< limits::dials_max
};

[[nodiscard]] const boost::system::error_category& transfer_category() noexcept;

inline boost::system::error_code make_error_code(TransferError error) noexcept {
  return {static_cast<int>(error), transfer_category()};
}

}  // namespace waggle::transfer

template <>
struct boost::system::is_error_code_enum<waggle::transfer::TransferError> : std::true_type {};
