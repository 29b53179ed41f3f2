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

#include <sys/socket.h>

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

/// Less than this is sealed or opened sooner than another thread has woken up.
constexpr std::size_t offload_bytes_min = 128 * limits::KiB;

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
      opener_(secrets),
      read_more_(socket_.get_executor(), asio::steady_timer::time_point::max()) {
  if (shared_->callbacks.payload_place) {
    place_ = [this](const PayloadHeader& header) {
      return shared_->callbacks.payload_place(id_, header);
    };
  }
}

void TcpSession::start() {
  boost::system::error_code ignored;  // a socket that blocks is one that is slow
  socket_.non_blocking(true, ignored);
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
  read_more_.cancel();
}

// The loops hold `self`, so that the session lives until both have ended.
asio::awaitable<void> TcpSession::read([[maybe_unused]] std::shared_ptr<TcpSession> self) {
  while (!closed_) {
    if (opening_ && reader_.prepare().empty()) {
      co_await read_more_.async_wait(no_throw);
      continue;
    }
    // While a worker opens, the end of its run may exchange the buffer: no read may hold on to it.
    if (opening_) co_await socket_.async_wait(asio::ip::tcp::socket::wait_read, no_throw);
    if (closed_) break;
    const auto [error, size] = opening_ ? read_now() : co_await read_some();
    if (closed_) break;
    if (error == asio::error::would_block) continue;
    if (error) {
      const bool ended = error == asio::error::eof;
      close(ended ? make_error_code(TransferError::closed_by_peer) : error);
      break;
    }
    shared_->received_bytes += size;
    reader_.commit(size);
    if (const auto delivered = deliver(); !delivered) close(delivered.error());
    if (!closed_) wait_for_whole_record();
  }
}

void TcpSession::wait_for_whole_record() {
  constexpr int worth_a_call = 4096;  // bytes; below, a wake-up more costs less
  const int lacking = static_cast<int>(reader_.lacking());
  const int wanted = lacking >= worth_a_call ? lacking : 1;
  if (wanted == low_water_) return;
  low_water_ = wanted;
  // Advice: without it the loop wakes up more often.
  static_cast<void>(::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVLOWAT, &low_water_,
                                 sizeof(low_water_)));
}

asio::awaitable<TcpSession::ReadResult> TcpSession::read_some() {
  const MutableByteView space = reader_.prepare();
  const auto [error, size] =
      co_await socket_.async_read_some(asio::buffer(space.data(), space.size()), no_throw);
  co_return ReadResult{error, size};
}

TcpSession::ReadResult TcpSession::read_now() {
  const MutableByteView space = reader_.prepare();
  ReadResult result;
  result.second = socket_.read_some(asio::buffer(space.data(), space.size()), result.first);
  return result;
}

boost::system::result<void> TcpSession::deliver() {
  while (!closed_ && !opening_) {  // a callback may close the session
    if (shared_->config.workers && reader_.buffered() >= offload_bytes_min + record_bytes_max) {
      open_on_worker();
      break;
    }
    const auto record = reader_.next();
    if (!record) return record.error();
    if (!record->has_value()) break;
    if (auto delivered = deliver(**record); !delivered) return delivered;
  }
  return {};
}

void TcpSession::open_on_worker() {
  Run run;
  for (;;) {
    const auto record = reader_.next();
    if (!record) run.error = record.error();
    if (!record || !record->has_value()) break;
    run.records.push_back(**record);
  }
  FrameReader next = spare_reader_ ? *std::exchange(spare_reader_, std::nullopt) : FrameReader();
  next.take_rest(reader_);
  run.memory = std::exchange(reader_, std::move(next));
  opening_ = true;
  asio::post(shared_->config.workers, [self = shared_from_this(), executor = socket_.get_executor(),
                                       run = std::move(run)]() mutable {
    self->open(run);
    asio::post(executor, [self = std::move(self), run = std::move(run)]() mutable {
      self->opened(std::move(run));
    });
  });
}

void TcpSession::open(Run& run) {
  for (const Record& record : run.records) {
    if (record.kind == RecordKind::payload) {
      const auto frame = opener_.open_payload(record);
      if (!frame) return void(run.error = frame.error());
      run.opened.emplace_back(*frame);
      continue;
    }
    const auto plaintext = opener_.open_control(record);
    if (!plaintext) return void(run.error = plaintext.error());
    auto message = joiner_.add(*plaintext);
    if (!message) return void(run.error = message.error());
    if (message->has_value()) run.opened.emplace_back(std::move(**message));
  }
}

void TcpSession::opened(Run run) {
  opening_ = false;
  const TcpCallbacks& callbacks = shared_->callbacks;
  for (auto& item : run.opened) {
    if (closed_) return;
    if (const auto* frame = std::get_if<PayloadFrame>(&item)) {
      if (callbacks.on_payload) callbacks.on_payload(id_, frame->header, frame->data);
    } else if (callbacks.on_control) {
      callbacks.on_control(id_, std::move(std::get<Bytes>(item)));
    }
  }
  if (closed_) return;
  if (run.error) return close(run.error);
  spare_reader_ = std::move(run.memory);
  read_more_.cancel();
  if (const auto delivered = deliver(); !delivered) close(delivered.error());
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
    seal_ahead();
    if (controls_.empty() && !sealed_) {
      if (!sealing_) spare_.reset();
      co_await wake_.async_wait(no_throw);
      continue;
    }
    seal_controls();
    Batch batch = std::exchange(sealed_, std::nullopt).value_or(Batch{});
    report_sent(batch);
    if (closed_) break;
    if (shared_->config.workers) seal_ahead();  // the next one, while this one is written
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(control_batch_),
                                                    asio::buffer(batch.memory.get(), batch.size)};
    const auto [error, size] = co_await asio::async_write(socket_, buffers, whole, no_throw);
    shared_->sent_bytes += size;
    if (closed_) break;
    if (error) {
      close(error);
      break;
    }
    if (batch.memory) spare_ = std::move(batch.memory);
  }
}

// Before the write: the peer may answer the first of these frames with its next request before this
// side learns that the last of them is gone, and would look as if it asked for more than it may.
void TcpSession::report_sent(const Batch& batch) {
  const TcpCallbacks& callbacks = shared_->callbacks;
  for (const QueuedPayload& frame : batch.frames) {
    if (closed_) return;
    if (frame.failed) {
      if (callbacks.on_payload_unavailable) {
        callbacks.on_payload_unavailable(id_, frame.header, frame.failed);
      }
    } else if (callbacks.on_payload_sent) {
      callbacks.on_payload_sent(id_, frame.header);
    }
  }
}

void TcpSession::seal_controls() {
  control_batch_.clear();
  while (!controls_.empty() && control_batch_.size() < limits::session_write_batch_bytes) {
    sealer_.seal_control(controls_.front(), control_batch_);
    const std::size_t bytes = control_wire_bytes(controls_.front().size());
    queued_bytes_ -= bytes;
    uncount_control(bytes);
    controls_.pop_front();
  }
}

void TcpSession::seal_ahead() {
  if (sealing_ || sealed_ || payloads_.empty()) return;
  Batch batch;
  std::size_t bytes = 0;
  while (!payloads_.empty()) {
    const std::size_t more = payload_record_bytes(payloads_.front().header.length);
    if (bytes + more > limits::session_write_batch_bytes) break;
    bytes += more;
    batch.frames.push_back(std::move(payloads_.front()));
    payloads_.pop_front();
  }
  queued_bytes_ -= bytes;
  batch.memory =
      spare_ ? std::move(spare_)
             : std::make_unique_for_overwrite<std::byte[]>(limits::session_write_batch_bytes);
  if (!shared_->config.workers || bytes < offload_bytes_min) {
    seal(batch);
    sealed_ = std::move(batch);
    return;
  }
  sealing_ = true;
  asio::post(shared_->config.workers, [self = shared_from_this(), executor = socket_.get_executor(),
                                       batch = std::move(batch)]() mutable {
    self->seal(batch);
    asio::post(executor, [self = std::move(self), batch = std::move(batch)]() mutable {
      self->sealed(std::move(batch));
    });
  });
}

void TcpSession::sealed(Batch batch) {
  sealing_ = false;
  if (closed_) return;
  sealed_ = std::move(batch);
  wake_.cancel();
}

// Payload has keys of its own: the strand may seal control messages meanwhile.
void TcpSession::seal(Batch& batch) {
  for (QueuedPayload& frame : batch.frames) {
    const MutableByteView record(batch.memory.get() + batch.size,
                                 payload_record_bytes(frame.header.length));
    if (const auto filled = frame.source(SessionSealer::payload_data(record)); !filled) {
      frame.failed = filled.error();
      continue;
    }
    sealer_.seal_payload(frame.header, record);
    batch.size += record.size();
  }
}

}  // namespace waggle::transfer
