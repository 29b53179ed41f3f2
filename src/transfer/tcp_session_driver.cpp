// The read and write loops of one session.
#include "transfer/tcp_session_driver.hpp"

#include "base/assert.hpp"
#include "transfer/error.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <utility>

namespace asio = boost::asio;

namespace waggle::transfer {
namespace {

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);  // errors arrive as values

/// A coroutine's exception is a bug or memory's end: it leaves through io_context::run.
void rethrow(std::exception_ptr failure) {
  if (failure) std::rethrow_exception(std::move(failure));
}

/// For async_write: everything in as few calls as the socket takes it. Asio's own condition offers
/// 64 KiB at a time, and asks epoll in between.
std::size_t whole(const boost::system::error_code& error, std::size_t) {
  return error ? 0 : std::numeric_limits<std::size_t>::max();
}

static_assert(limits::session_write_batch_bytes >= record_bytes_max);

}  // namespace

TcpSession::TcpSession(SessionId id, asio::ip::tcp::socket socket, const SessionSecrets& secrets,
                       bool outgoing, const Endpoint& remote, std::shared_ptr<TcpShared> shared,
                       Ended ended)
    : id_(id),
      socket_(std::move(socket)),
      wake_(socket_.get_executor(), asio::steady_timer::time_point::max()),
      outgoing_(outgoing),
      remote_(remote),
      peer_(secrets.peer),
      psk_(secrets.psk),
      shared_(std::move(shared)),
      ended_(std::move(ended)),
      sealer_(secrets),
      opener_(secrets) {
  if (shared_->callbacks.payload_place) {
    place_ = [this](const PayloadHeader& header) {
      return shared_->callbacks.payload_place(id_, header);
    };
  }
}

void TcpSession::start() {
  asio::co_spawn(socket_.get_executor(), read(shared_from_this()), rethrow);
  asio::co_spawn(socket_.get_executor(), write(shared_from_this()), rethrow);
}

void TcpSession::send_control(Bytes message) {
  if (closed_) return;
  WAGGLE_ASSERT(message.size() <= limits::control_frame_bytes_max);
  const std::size_t bytes = control_wire_bytes(message.size());
  controls_.push_back(std::move(message));
  control_bytes_ += bytes;
  shared_->control_bytes += bytes;
  const TcpConfig& config = shared_->config;
  // When all together wait for too much, whoever holds more than a fair share goes.
  const bool crowded = shared_->control_bytes > config.control_queues_bytes_max;
  const std::size_t room =
      crowded ? config.control_queues_bytes_max / std::max<std::size_t>(1, config.sessions_max)
              : config.control_queue_bytes_max;
  if (control_bytes_ > std::min(room, config.control_queue_bytes_max)) {
    return close(TransferError::queue_full);
  }
  enqueue(bytes);
}

void TcpSession::uncount_control(std::size_t bytes) {
  control_bytes_ -= bytes;
  shared_->control_bytes -= bytes;
}

void TcpSession::send_payload(const PayloadHeader& header, PayloadSource source) {
  if (closed_) return;
  WAGGLE_ASSERT(header.length <= limits::payload_bytes_max);
  payloads_.push_back({header, std::move(source)});
  enqueue(payload_record_bytes(header.length));
}

void TcpSession::enqueue(std::size_t bytes) {
  queued_bytes_ += bytes;
  if (queued_bytes_ > shared_->config.send_queue_bytes_max) {
    close(TransferError::queue_full);
  } else {
    wake_.cancel();
  }
}

bool TcpSession::cancel_payload(const PayloadHeader& header) {
  const auto found = std::ranges::find(payloads_, header, &QueuedPayload::header);
  if (found == payloads_.end()) return false;
  queued_bytes_ -= payload_record_bytes(header.length);
  payloads_.erase(found);
  return true;
}

void TcpSession::close(boost::system::error_code reason) {
  if (closed_) return;
  reason_ = reason;
  close_silently();
  asio::post(socket_.get_executor(), [self = shared_from_this(), reason] {
    if (!self->shared_->stopped) self->ended_(self->id_, reason);
  });
}

void TcpSession::close_silently() {
  abandon();
  boost::system::error_code ignored;  // the socket is gone either way
  socket_.close(ignored);
}

void TcpSession::abandon() {
  closed_ = true;
  controls_.clear();
  uncount_control(control_bytes_);
  payloads_.clear();
  queued_bytes_ = 0;
  wake_.cancel();
}

// The loops hold `self`, so that the session lives until both have ended.
asio::awaitable<void> TcpSession::read([[maybe_unused]] std::shared_ptr<TcpSession> self) {
  while (!closed_) {
    const MutableByteView space = reader_.prepare();
    const auto [error, size] =
        co_await socket_.async_read_some(asio::buffer(space.data(), space.size()), no_throw);
    if (closed_) break;
    if (error) {
      const bool ended = error == asio::error::eof;
      close(ended ? make_error_code(TransferError::closed_by_peer) : error);
      break;
    }
    shared_->received_bytes += size;
    reader_.commit(size);
    if (const auto delivered = deliver(); !delivered) close(delivered.error());
  }
}

boost::system::result<void> TcpSession::deliver() {
  while (!closed_) {  // a callback may close the session
    const auto record = reader_.next();
    if (!record) return record.error();
    if (!record->has_value()) break;
    if (auto delivered = deliver(**record); !delivered) return delivered;
  }
  return {};
}

boost::system::result<void> TcpSession::deliver(const Record& record) {
  if (record.kind == RecordKind::payload) {
    const auto frame = opener_.open_payload(record, place_);
    if (!frame) return frame.error();
    if (shared_->callbacks.on_payload) {
      shared_->callbacks.on_payload(id_, frame->header, frame->data);
    }
    return {};
  }
  const auto plaintext = opener_.open_control(record);
  if (!plaintext) return plaintext.error();
  auto message = joiner_.add(*plaintext);
  if (!message) return message.error();
  if (message->has_value() && shared_->callbacks.on_control) {
    shared_->callbacks.on_control(id_, std::move(**message));
  }
  return {};
}

asio::awaitable<void> TcpSession::write([[maybe_unused]] std::shared_ptr<TcpSession> self) {
  while (!closed_) {
    if (controls_.empty() && payloads_.empty()) {
      co_await wake_.async_wait(no_throw);
      continue;
    }
    fill_batch();
    report_sent();
    if (closed_) break;
    const std::array<asio::const_buffer, 2> batch{
        asio::buffer(control_batch_), asio::buffer(payload_batch_.get(), payload_batch_bytes_)};
    const auto [error, size] = co_await asio::async_write(socket_, batch, whole, no_throw);
    shared_->sent_bytes += size;
    if (closed_) break;
    if (error) {
      close(error);
      break;
    }
  }
}

// Before the write: the peer may answer the first of these frames with its next request before this
// side learns that the last of them is gone, and would look as if it asked for more than it may.
void TcpSession::report_sent() {
  for (const PayloadHeader& header : std::exchange(batch_headers_, {})) {
    if (!closed_ && shared_->callbacks.on_payload_sent) {
      shared_->callbacks.on_payload_sent(id_, header);
    }
  }
}

void TcpSession::fill_batch() {
  control_batch_.clear();
  payload_batch_bytes_ = 0;
  batch_headers_.clear();
  while (!controls_.empty() && control_batch_.size() < limits::session_write_batch_bytes) {
    sealer_.seal_control(controls_.front(), control_batch_);
    const std::size_t bytes = control_wire_bytes(controls_.front().size());
    queued_bytes_ -= bytes;
    uncount_control(bytes);
    controls_.pop_front();
  }
  while (!closed_ && !payloads_.empty()) {
    const std::size_t bytes = payload_record_bytes(payloads_.front().header.length);
    const std::size_t used = control_batch_.size() + payload_batch_bytes_;
    if (used + bytes > limits::session_write_batch_bytes) break;
    fill_payload();
  }
}

void TcpSession::fill_payload() {
  if (!payload_batch_) {
    payload_batch_ = std::make_unique_for_overwrite<std::byte[]>(limits::session_write_batch_bytes);
  }
  const QueuedPayload next = std::move(payloads_.front());
  payloads_.pop_front();
  const std::size_t bytes = payload_record_bytes(next.header.length);
  queued_bytes_ -= bytes;
  const MutableByteView record(payload_batch_.get() + payload_batch_bytes_, bytes);
  if (const auto filled = next.source(SessionSealer::payload_data(record)); !filled) {
    if (shared_->callbacks.on_payload_unavailable) {
      shared_->callbacks.on_payload_unavailable(id_, next.header, filled.error());
    }
    return;
  }
  sealer_.seal_payload(next.header, record);
  payload_batch_bytes_ += bytes;
  batch_headers_.push_back(next.header);
}

}  // namespace waggle::transfer
