// Beast reads requests; answers are written by hand, so that head and body leave in one writev and
// files in sendfile.
#include "mirror/http_connection_driver.hpp"

#include "base/assert.hpp"
#include "mirror/callback_gate_driver.hpp"
#include "mirror/error.hpp"
#include "mirror/text.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>

#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <exception>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr Duration linger_timeout = std::chrono::seconds(1);
constexpr std::uint64_t linger_bytes_max = limits::MiB;

bool is_plain_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), is_token_char);
}

void append_header(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ");
  for (const char c : value) {  // a control character would end the header
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    head += control && c != '\t' ? ' ' : c;
  }
  head += "\r\n";
}

std::string chunk_header(std::size_t size) {
  std::array<char, 20> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), size, 16).ptr;
  return std::string(digits.data(), end) + "\r\n";
}

error_code last_system_error() { return {errno, boost::system::system_category()}; }

}  // namespace

std::string HttpServerShared::next_request_id() {
  Bytes id;
  append_le(id, request_salt);
  append_le(id, ++request_counter);
  return to_hex(id);
}

std::string HttpServerShared::error_body(unsigned status, std::string_view message) const {
  return config.error_body ? config.error_body(status, message) : std::string();
}

HttpConnection::HttpConnection(Socket socket_in, std::shared_ptr<HttpServerShared> shared,
                               std::optional<Endpoint> client, bool allowed)
    : socket(std::move(socket_in)),
      shared_(std::move(shared)),
      allowed_(allowed),
      buffer_(shared_->config.header_bytes_max + limits::http_target_bytes_max),
      watchdog_(socket.get_executor(), [this] { close(); }) {
  request.client = client;
}

asio::awaitable<void> HttpConnection::run() {
  while (!closed_ && !shared_->stopping) {
    idle_ = buffer_.size() == 0;
    if (idle_) {
      watchdog_.arm(shared_->config.idle_timeout);
      const auto [error] = co_await socket.async_wait(Socket::wait_read, no_throw);
      if (error || closed_) break;
      idle_ = false;
    }
    if (!co_await read_head()) break;
    co_await answer();
    if (!keep_alive_ || cut) break;
  }
  if (!closed_ && !cut) co_await linger();
  close();
}

/// False when there is no request to answer: the connection ended, or was refused here.
asio::awaitable<bool> HttpConnection::read_head() {
  watchdog_.arm(shared_->config.header_timeout);
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(shared_->config.header_bytes_max));
  parser_->body_limit(boost::none);
  const auto [error, size] = co_await http::async_read_header(socket, buffer_, *parser_, no_throw);
  watchdog_.disarm();
  if (!error && !closed_) {
    take_request();
    co_return true;
  }
  // Only Beast's own errors are worth an answer; all others mean that nobody listens.
  const bool too_long = error == http::error::header_limit || error == http::error::buffer_overflow;
  const bool spoke = error.category() == make_error_code(http::error::bad_method).category();
  if (!closed_ && spoke && error != http::error::end_of_stream &&
      error != http::error::partial_message) {
    co_await refuse(too_long ? 431 : 400,
                    too_long ? "request header is too large" : "request is malformed");
  }
  co_return false;
}

void HttpConnection::take_request() {
  const auto& message = parser_->get();
  const auto text = [](auto view) { return std::string(view.data(), view.size()); };
  request.method = text(message.method_string());
  request.target = text(message.target());
  request.headers.clear();
  for (const auto& field : message) {
    request.headers.emplace_back(text(field.name_string()), text(field.value()));
  }
  const auto id = request.header("X-Request-Id");
  request.request_id = is_plain_request_id(id) ? std::string(id) : shared_->next_request_id();
  http_1_0_ = message.version() < 11;
  keep_alive_ = !http_1_0_ && message.keep_alive() && !shared_->stopping;
  begun = cut = chunked_ = bodiless_ = false;
  remaining_ = 0;
  head_text_.clear();
}

asio::awaitable<void> HttpConnection::answer() {
  if (!allowed_) co_return co_await refuse(403, "this address may not ask");
  if (request.target.size() > limits::http_target_bytes_max) {
    co_return co_await refuse(414, "request target is too long");
  }
  watch_client();
  co_await run_handler();
  client_watch_.emit(asio::cancellation_type::terminal);
  client_gone_callback = nullptr;
  if (!closed_) co_await finish_answer();
}

asio::awaitable<void> HttpConnection::run_handler() {
  HttpExchange exchange(*this);
  bool failed = false;
  try {
    co_await shared_->handler(exchange);
  } catch (const std::exception&) {
    failed = true;  // one request's bug must not end the daemon; its client sees a cut
  }
  if (failed && begun) cut = true;
}

asio::awaitable<void> HttpConnection::finish_answer() {
  if (client_gone) cut = true;
  if (cut) co_return;
  if (!begun) co_return co_await refuse(500, "no answer");
  if (!bodiless_ && !chunked_ && remaining_ > 0) {
    cut = true;
    co_return;
  }
  if (chunked_ && !http_1_0_) head_text_ += "0\r\n\r\n";  // behind a head that may still wait
  const auto flushed = co_await flush_head(false);
  if (!flushed) cut = true;
}

asio::awaitable<void> HttpConnection::refuse(unsigned status, std::string_view message) {
  if (request.request_id.empty()) request.request_id = shared_->next_request_id();
  keep_alive_ = false;
  begun = chunked_ = bodiless_ = false;
  HttpResponseHead head;
  head.status = status;
  head.headers = {{"Content-Type", "application/json"}, {"X-Waggle-Source", "local"}};
  co_await respond(std::move(head), shared_->error_body(status, message));
  co_await flush_head(false);
}

/// Closing with unread input would reset the connection and could destroy the answer on its way.
asio::awaitable<void> HttpConnection::linger() {
  error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
  watchdog_.arm(linger_timeout);
  std::array<std::byte, 4096> scratch;
  for (std::uint64_t total = 0; total < linger_bytes_max && !closed_;) {
    const auto [error, size] = co_await socket.async_read_some(asio::buffer(scratch), no_throw);
    if (error) break;
    total += size;
  }
}

void HttpConnection::close() {
  if (closed_) return;
  closed_ = true;
  error_code ignored;
  socket.close(ignored);
  note_client_gone();
}

void HttpConnection::close_when_idle() {
  keep_alive_ = false;
  if (idle_) close();
}

void HttpConnection::watch_client() {
  socket.async_wait(
      Socket::wait_read,
      asio::bind_cancellation_slot(client_watch_.slot(), [weak =
                                                              weak_from_this()](error_code error) {
        const auto self = weak.lock();
        if (!self || self->closed_ || error) return;
        char byte = 0;
        const auto size = ::recv(self->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        const bool open = size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
        if (!open) self->note_client_gone();  // more input is the next request: it waits
      }));
}

void HttpConnection::note_client_gone() {
  if (client_gone) return;
  client_gone = true;
  if (const auto callback = std::exchange(client_gone_callback, nullptr)) callback();
}

asio::awaitable<Result<std::string>> HttpConnection::read_body(std::size_t bytes_max) {
  if (parser_->is_done()) co_return std::move(parser_->get().body());
  if (const auto length = parser_->content_length(); length && *length > bytes_max) {
    co_return MirrorError::too_large;
  }
  watchdog_.arm(shared_->config.write_timeout);
  if (iequals(request.header("Expect"), "100-continue")) {
    constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto [error, size] = co_await asio::async_write(socket, asio::buffer(go_on), no_throw);
    if (error) co_return error;
  }
  parser_->body_limit(bytes_max);
  const auto [error, size] = co_await http::async_read(socket, buffer_, *parser_, no_throw);
  watchdog_.disarm();
  if (error == http::error::body_limit) co_return MirrorError::too_large;
  if (error) co_return error;
  watch_client();
  co_return std::move(parser_->get().body());
}

void HttpConnection::begin(HttpResponseHead head) {
  WAGGLE_ASSERT(!begun);
  begun = true;
  const bool empty_status = head.status == 204 || head.status == 304;
  bodiless_ = request.is_head() || empty_status;
  chunked_ = !head.content_length && !empty_status;
  remaining_ = head.content_length.value_or(0);
  if (!parser_ || !parser_->is_done() || (chunked_ && http_1_0_)) keep_alive_ = false;
  if (shared_->stopping) keep_alive_ = false;
  const auto reason = http::obsolete_reason(static_cast<http::status>(head.status));
  head_text_ = "HTTP/1.1 " + std::to_string(head.status) + " " +
               std::string(reason.data(), reason.size()) + "\r\n";
  for (const auto& [name, value] : head.headers) append_header(head_text_, name, value);
  append_header(head_text_, "X-Request-Id", request.request_id);
  if (chunked_ && !http_1_0_) {
    append_header(head_text_, "Transfer-Encoding", "chunked");
  } else if (head.content_length && !empty_status) {
    append_header(head_text_, "Content-Length", std::to_string(*head.content_length));
  }
  if (!keep_alive_) append_header(head_text_, "Connection", "close");
  head_text_ += "\r\n";
  if (bodiless_) chunked_ = false;
}

asio::awaitable<Result<void>> HttpConnection::flush_head(bool more_follows) {
  if (head_text_.empty()) co_return boost::system::in_place_value;
  // Straight into the socket's buffer where it fits, kept back for what follows.
  const auto sent = ::send(socket.native_handle(), head_text_.data(), head_text_.size(),
                           MSG_DONTWAIT | MSG_NOSIGNAL | (more_follows ? MSG_MORE : 0));
  const auto done = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
  if (done < head_text_.size()) {
    watchdog_.arm(shared_->config.write_timeout);
    const auto [error, size] = co_await asio::async_write(
        socket, asio::buffer(head_text_.data() + done, head_text_.size() - done), no_throw);
    watchdog_.disarm();
    if (error) co_return error;
  }
  head_text_.clear();
  co_return boost::system::in_place_value;
}

asio::awaitable<Result<void>> HttpConnection::write(ByteView bytes) {
  WAGGLE_ASSERT(begun);
  if (closed_ || client_gone) co_return MirrorError::canceled;
  if (bodiless_ || bytes.empty()) co_return boost::system::in_place_value;
  const bool framed = chunked_ && !http_1_0_;
  if (!chunked_) {
    WAGGLE_ASSERT(bytes.size() <= remaining_);
    remaining_ -= bytes.size();
  }
  const std::string before = framed ? chunk_header(bytes.size()) : std::string();
  const std::string_view after = framed ? "\r\n" : "";
  const std::array<asio::const_buffer, 4> buffers = {asio::buffer(head_text_), asio::buffer(before),
                                                     asio::buffer(bytes.data(), bytes.size()),
                                                     asio::buffer(after)};
  watchdog_.arm(shared_->config.write_timeout);
  const auto [error, size] = co_await asio::async_write(socket, buffers, no_throw);
  watchdog_.disarm();
  head_text_.clear();
  if (error) co_return error;
  co_return boost::system::in_place_value;
}

asio::awaitable<Result<void>> HttpConnection::write_file(int descriptor, std::uint64_t offset,
                                                         std::uint64_t size) {
  WAGGLE_ASSERT(begun && !chunked_);
  if (closed_ || client_gone) co_return MirrorError::canceled;
  if (bodiless_) co_return boost::system::in_place_value;
  WAGGLE_ASSERT(size <= remaining_);
  if (auto flushed = co_await flush_head(size > 0); !flushed) co_return flushed;
  error_code ignored;
  socket.native_non_blocking(true, ignored);
  auto position = static_cast<off_t>(offset);
  while (size > 0) {
    if (closed_) co_return MirrorError::canceled;
    const auto sent = ::sendfile(socket.native_handle(), descriptor, &position,
                                 std::min<std::uint64_t>(size, 4 * limits::http_write_bytes));
    if (sent > 0) {
      size -= static_cast<std::uint64_t>(sent);
      remaining_ -= static_cast<std::uint64_t>(sent);
      // A fast client must not starve the others.
      if (size > 0) co_await asio::post(socket.get_executor(), asio::use_awaitable);
    } else if (sent == 0) {
      co_return MirrorError::short_body;
    } else if (errno == EAGAIN) {
      watchdog_.arm(shared_->config.write_timeout);
      const auto [error] = co_await socket.async_wait(Socket::wait_write, no_throw);
      watchdog_.disarm();
      if (error) co_return error;
    } else if (errno != EINTR) {
      co_return last_system_error();
    }
  }
  co_return boost::system::in_place_value;
}

asio::awaitable<Result<void>> HttpConnection::respond(HttpResponseHead head, std::string body) {
  head.content_length = body.size();
  begin(std::move(head));
  co_return co_await write(as_bytes(body));
}

}  // namespace waggle::mirror
