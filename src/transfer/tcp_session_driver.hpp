// One open session of TcpDriver: a connected socket, its ciphers, and the two queues in front of
// it.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "transfer/frame.hpp"
#include "transfer/session_crypt.hpp"
#include "transfer/tcp_driver.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace waggle::transfer {

/// What all sessions of a driver share, and what outlives the driver while their coroutines end.
struct TcpShared {
  TcpConfig config;
  TcpCallbacks callbacks;
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;
  std::size_t control_bytes = 0;  ///< control messages queued, all sessions
  bool stopped = false;           ///< after it no callback is made
};

/// Moves frames between the socket and the callbacks until it is closed. Everything on the driver's
/// strand.
class TcpSession : public std::enable_shared_from_this<TcpSession> {
 public:
  /// Told from the event loop, once, when the session ended by itself or by close().
  using Ended = std::function<void(SessionId, boost::system::error_code)>;

  TcpSession(SessionId id, boost::asio::ip::tcp::socket socket, const SessionSecrets& secrets,
             bool outgoing, const Endpoint& remote, std::shared_ptr<TcpShared> shared, Ended ended);

  void start();
  void send_control(Bytes message);
  void send_payload(const PayloadHeader& header, PayloadSource source);
  bool cancel_payload(const PayloadHeader& header);
  /// Closes the socket now and reports `reason` later, from the event loop.
  void close(boost::system::error_code reason);
  /// Closes the socket; Ended is not called any more.
  void close_silently();
  /// As close_silently(), but leaves the socket open until that is called: the peer must not see
  /// the end of this session before it has seen the one that takes its place.
  void abandon();

  [[nodiscard]] SessionId id() const { return id_; }
  [[nodiscard]] const NodeId& peer() const { return peer_; }
  [[nodiscard]] const SecretKey& psk() const { return psk_; }
  [[nodiscard]] bool outgoing() const { return outgoing_; }
  /// The endpoint that was dialled, or that the peer came from.
  [[nodiscard]] const Endpoint& remote() const { return remote_; }
  [[nodiscard]] bool closed() const { return closed_; }
  /// Why it was closed. @pre closed()
  [[nodiscard]] boost::system::error_code reason() const { return reason_; }
  [[nodiscard]] std::size_t queued_bytes() const { return queued_bytes_; }

 private:
  struct QueuedPayload {
    PayloadHeader header;
    PayloadSource source;
    boost::system::error_code failed = {};  ///< of the source
  };
  /// Payload frames that leave in one write.
  struct Batch {
    std::vector<QueuedPayload> frames;
    std::unique_ptr<std::byte[]> memory;  ///< limits::session_write_batch_bytes
    std::size_t size = 0;                 ///< sealed
  };
  /// A run of records that a worker opens, with the memory they lie in.
  struct Run {
    std::vector<Record> records;
    std::vector<std::variant<PayloadFrame, Bytes>> opened;  ///< frames and whole messages, in order
    boost::system::error_code error;                        ///< what ended it early
    std::optional<FrameReader> memory;
  };
  [[nodiscard]] boost::asio::awaitable<void> read(std::shared_ptr<TcpSession> self);
  [[nodiscard]] boost::asio::awaitable<void> write(std::shared_ptr<TcpSession> self);
  using ReadResult = std::pair<boost::system::error_code, std::size_t>;
  [[nodiscard]] boost::asio::awaitable<ReadResult> read_some();
  /// Without waiting.
  [[nodiscard]] ReadResult read_now();
  /// Opens and hands up every whole record in the read buffer; a long run of them on a worker, and
  /// what comes meanwhile stays in the buffer.
  [[nodiscard]] boost::system::result<void> deliver();
  void open_on_worker();
  /// Any thread, one at a time.
  void open(Run& run);
  void opened(Run run);
  [[nodiscard]] boost::system::result<void> deliver(const Record& record);
  /// Part of a record is of no use: the loop wakes up when the rest of it is here.
  void wait_for_whole_record();
  /// Seals queued control messages up to one write's worth.
  void seal_controls();
  /// Unless a batch is sealed or being sealed: takes frames from the queue and seals them, on a
  /// worker when they are several, else here.
  void seal_ahead();
  /// Any thread, one at a time.
  void seal(Batch& batch);
  void sealed(Batch batch);
  /// The frames of the batch leave for the socket.
  void report_sent(const Batch& batch);
  void enqueue(std::size_t bytes);
  /// A control message left the queue, or all did.
  void uncount_control(std::size_t bytes);

  SessionId id_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer wake_;  // cancelled when there is something to write
  bool outgoing_;
  Endpoint remote_;
  NodeId peer_;
  SecretKey psk_;
  std::shared_ptr<TcpShared> shared_;
  Ended ended_;
  SessionSealer sealer_;
  SessionOpener opener_;
  FrameReader reader_;
  ControlJoiner joiner_;
  int low_water_ = 1;  ///< SO_RCVLOWAT of the socket
  std::optional<FrameReader> spare_reader_;
  bool opening_ = false;                 // on a worker
  boost::asio::steady_timer read_more_;  // cancelled when it is not any more
  PayloadPlace place_;

  std::deque<Bytes> controls_;
  std::deque<QueuedPayload> payloads_;
  std::size_t queued_bytes_ = 0;
  std::size_t control_bytes_ = 0;  // of controls_: they lie in memory, payload does not
  Bytes control_batch_;
  std::optional<Batch> sealed_;
  bool sealing_ = false;                // on a worker
  std::unique_ptr<std::byte[]> spare_;  // memory of the batch before
  bool closed_ = false;
  boost::system::error_code reason_;
};

}  // namespace waggle::transfer
