// TcpDriver: the sockets of the transfer spoke. It listens, dials, shakes hands, and moves frames;
// what they mean is the core's business. Asio coroutines on one strand. Page:
// docs/wire-transfer.md.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/error.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/keys.hpp"
#include "base/limits.hpp"
#include "base/random_source.hpp"
#include "transfer/error.hpp"
#include "transfer/frame.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace waggle::transfer {

struct TcpConfig {
  std::vector<Endpoint> bind;  ///< listening sockets; port 0 picks one; "[::]" takes IPv4 too,
                               ///< and nothing else on a host without IPv6
  std::string cluster_name = "waggle";
  std::size_t sessions_max = limits::sessions_max;
  std::size_t half_open_max = limits::half_open_handshakes_max;
  std::size_t half_open_per_address_max = limits::half_open_per_address_max;
  std::size_t send_queue_bytes_max = limits::session_send_queue_bytes_max;
  std::size_t control_queue_bytes_max = limits::session_control_queue_bytes_max;
  std::size_t control_queues_bytes_max = limits::control_queues_bytes_max;  ///< all sessions
  Duration handshake_timeout = limits::handshake_timeout;
  Duration dial_timeout = limits::dial_timeout;
  Duration move_window = limits::session_move_window;
  /// Threads that read and seal, or open, runs of payload frames while the strand goes on; frames
  /// of a session keep their order. Unset: all on the strand. To be joined before the strand's
  /// context ends.
  boost::asio::any_io_executor workers;
  bool allow_aes = true;  ///< offer AES-256-GCM for payload where this CPU has it
};

/// Fills `out`, exactly PayloadHeader::length bytes, when the frame's turn has come; so a queued
/// block costs no memory. Called once, on one of TcpConfig::workers or on the driver's strand, or
/// never when the session ends first; destroyed on the strand. It may block for a page cache read.
/// On an error the frame is dropped and on_payload_unavailable told.
using PayloadSource = std::function<boost::system::result<void>(MutableByteView out)>;

/// A source that copies out of `bytes` from `begin` on; keeps `bytes` alive until sent. Nothing
/// ties it to the local store: bytes of a chunk that is not proven yet can be passed on.
/// @pre begin + the frame's length <= bytes->size()
[[nodiscard]] PayloadSource payload_of(std::shared_ptr<const Bytes> bytes, std::size_t begin = 0);

/// All are called on the driver's strand, from the event loop: never from inside a call to the
/// driver, never after stop(). Each may call the driver. Unset ones are skipped.
struct TcpCallbacks {
  /// The peer has proven that it holds the cluster key and is `peer`. One session per peer is open
  /// at a time; one that takes the place of another is told of before the other's end, so that work
  /// goes over to it.
  std::function<void(SessionId, const NodeId& peer, bool outgoing, const Endpoint& remote)>
      on_session_open;
  /// A dial ended without a session with that peer. A zero id: a dial of "whoever answers".
  std::function<void(const NodeId&, boost::system::error_code)> on_dial_failed;
  /// Once per on_session_open, also after close(). What was queued or under way on it is lost.
  std::function<void(SessionId, const NodeId& peer, boost::system::error_code)> on_session_closed;
  std::function<void(SessionId, Bytes message)> on_control;
  /// Where the data of a frame shall be opened to, see PayloadPlace; in the receive buffer when
  /// unset or empty. The place must stay until on_payload, which follows at once unless the record
  /// is forged.
  std::function<MutableByteView(SessionId, const PayloadHeader&)> payload_place;
  /// `data` lies in its place or in the receive buffer, valid during the call only.
  std::function<void(SessionId, const PayloadHeader&, ByteView data)> on_payload;
  /// It is sealed and leaves for the socket, before any byte of it can have reached the peer.
  std::function<void(SessionId, const PayloadHeader&)> on_payload_sent;
  std::function<void(SessionId, const PayloadHeader&, boost::system::error_code)>
      on_payload_unavailable;
  /// For handshakes_total{result}; `outgoing` tells who dialled.
  std::function<void(boost::system::error_code, bool outgoing)> on_handshake_failed;
};

/// The transfer spoke's sockets. All calls on one strand (an io_context run by one thread).
///
/// One session per pair of nodes. The dialler gives up before its last handshake message when a
/// session with the peer is open by then. Of two simultaneous dials the one by the smaller node id
/// survives, on both sides. A new incoming session replaces an older incoming one of the same peer
/// (it has restarted, or moves to another key). Sends: control messages overtake queued payload
/// frames; both kinds keep their own order.
///
/// Floods: of incoming connections that have shown no key the oldest makes room for a newcomer, so
/// strangers cost a bounded number of descriptors and lock nobody out (docs/adversity-limits.md).
class TcpDriver {
 public:
  /// `identity` and `random` must outlive the driver. @pre sodium_init() was called; 1 <=
  /// keys.size() <= 2
  TcpDriver(boost::asio::any_io_executor executor, TcpConfig config, KeyRing keys,
            const Identity& identity, RandomSource& random, TcpCallbacks callbacks);
  ~TcpDriver();
  TcpDriver(const TcpDriver&) = delete;
  TcpDriver& operator=(const TcpDriver&) = delete;

  /// Opens the listening sockets; the system's error when one cannot be bound (then none is open).
  [[nodiscard]] boost::system::result<void> start();
  /// Closes everything; no callback comes after it. Idempotent.
  void stop();
  /// Where it listens, in the order of TcpConfig::bind, ports resolved.
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const;

  /// Tries the endpoints in order until one answers as `expected` (zero: whoever answers). Nothing
  /// happens when a session with `expected` is open or being dialled. Ends in on_session_open or
  /// on_dial_failed; in neither when the peer's own dial won meanwhile. Beyond limits::dials_max:
  /// on_dial_failed.
  void dial(const NodeId& expected, std::vector<Endpoint> endpoints);
  /// Queues a control message; unknown sessions are ignored (their on_session_closed is on its
  /// way). A queue beyond send_queue_bytes_max, or control messages beyond their own bounds, close
  /// the session (queue_full). @pre message.size() <= control_frame_bytes_max
  void send_control(SessionId session, Bytes message);
  /// Queues a payload frame. @pre header.length <= limits::payload_bytes_max
  void send_payload(SessionId session, const PayloadHeader& header, PayloadSource source);
  /// Takes a queued payload frame back; false when it is not queued (any more). O(queue).
  bool cancel_payload(SessionId session, const PayloadHeader& header);
  void close(SessionId session);
  /// Bytes queued and not yet sealed; 0 for unknown sessions.
  [[nodiscard]] std::size_t queued_bytes(SessionId session) const;
  /// Replaces the ring. Sessions opened with a key that is gone are closed (key_retired). Those
  /// that this side dialled under a key that is no longer the first move: they are dialled again
  /// under the first, in random order within about limits::session_move_window, and end as
  /// session_moved once the new one is open; until it is, they go on. @pre 1 <= keys.size() <= 2
  void set_keys(KeyRing keys);
  /// Open sessions by the key they were opened with, in the order of the ring.
  [[nodiscard]] std::vector<std::size_t> sessions_by_key() const;

  [[nodiscard]] std::size_t session_count() const;
  /// Incoming connections whose handshake is not over.
  [[nodiscard]] std::size_t half_open_count() const;
  /// Bytes on all sessions since start, as the sockets saw them.
  [[nodiscard]] std::uint64_t sent_bytes() const;
  [[nodiscard]] std::uint64_t received_bytes() const;

 private:
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace waggle::transfer
