// Beast parses heads and chunked bodies from our own buffer; bodies with a length go straight to
// the caller's memory.
#include "mirror/upstream_connection_driver.hpp"

#include "base/limits.hpp"
#include "mirror/callback_gate_driver.hpp"
#include "mirror/text.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t read_step = 16 * limits::KiB;

asio::ip::tcp::endpoint to_asio(const Endpoint& endpoint) {
  if (endpoint.is_v4()) {
    asio::ip::address_v4::bytes_type bytes;
    std::memcpy(bytes.data(), endpoint.address.data() + 12, bytes.size());
    return {asio::ip::address_v4(bytes), endpoint.port};
  }
  asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), endpoint.address.data(), bytes.size());
  return {asio::ip::address_v6(bytes), endpoint.port};
}

ResponseHead head_of(const http::response<http::buffer_body>& message) {
  ResponseHead head;
  head.status = message.result_int();
  for (const auto& field : message) {
    const auto name = field.name_string();
    const auto value = field.value();
    head.headers.emplace_back(std::string(name.data(), name.size()),
                              std::string(value.data(), value.size()));
  }
  return head;
}

}  // namespace

std::string ResponseHead::header(std::string_view name) const {
  std::string joined;
  for (const auto& [key, value] : headers) {
    if (!iequals(key, name)) continue;
    if (!joined.empty()) joined += ", ";
    joined += value;
  }
  return joined;
}

UpstreamConnection::UpstreamConnection(const asio::any_io_executor& executor)
    : socket_(executor),
      buffer_(limits::upstream_header_bytes_max + read_step),
      watchdog_(executor, [this] {
        timed_out_ = true;
        error_code ignored;
        socket_.close(ignored);
      }) {}

void UpstreamConnection::close() {
  closed_ = true;
  watchdog_.disarm();
  error_code ignored;
  socket_.close(ignored);
}

void UpstreamConnection::cancel() {
  canceled_ = true;
  close();
  if (const auto lookup = std::exchange(cancel_lookup_, nullptr)) lookup();
}

error_code UpstreamConnection::explain(error_code error, MirrorError otherwise) const {
  if (canceled_) return MirrorError::canceled;
  if (timed_out_) return MirrorError::timeout;
  return error.category() == mirror_category() ? error : make_error_code(otherwise);
}

asio::awaitable<Result<void>> UpstreamConnection::connect(ConnectOptions options) {
  options_ = std::move(options);
  auto addresses = co_await find_addresses();
  if (!addresses) co_return addresses.error();
  if (auto done = co_await connect_tcp(std::move(*addresses)); !done) co_return done;
  if (options_.origin.tls) {
    if (options_.proxy) {
      if (auto done = co_await open_tunnel(); !done) co_return done;
    }
    if (auto done = co_await handshake(); !done) co_return done;
  }
  keep_alive_ = body_done_ = true;
  co_return boost::system::in_place_value;
}

asio::awaitable<Result<std::vector<Endpoint>>> UpstreamConnection::find_addresses() {
  const Origin& origin = options_.origin;
  if (options_.proxy) {
    // The proxy resolves names; an address we can still judge.
    const auto literal = Endpoint::parse_address(origin.host, origin.port);
    if (literal && !options_.policy->address_allowed(origin, *literal))
      co_return MirrorError::refused_address;
  }
  const Origin& next = options_.proxy ? options_.proxy->origin : origin;
  CallbackGate<std::vector<Endpoint>> gate(socket_.get_executor());
  cancel_lookup_ = gate.canceler();
  if (canceled_) co_return MirrorError::canceled;
  options_.resolver->async_resolve(next.host, next.port, gate.callback());
  auto addresses = co_await gate.wait(std::chrono::steady_clock::now() + options_.connect_timeout);
  cancel_lookup_ = nullptr;
  if (!addresses || options_.proxy) co_return addresses;
  std::erase_if(*addresses, [&](const Endpoint& address) {
    return !options_.policy->address_allowed(origin, address);
  });
  if (addresses->empty()) co_return MirrorError::refused_address;
  co_return addresses;
}

asio::awaitable<Result<void>> UpstreamConnection::connect_tcp(std::vector<Endpoint> addresses) {
  // A dead first address must leave time for the second: each gets its share, at least a third.
  const auto share =
      options_.connect_timeout / static_cast<int>(std::clamp<std::size_t>(addresses.size(), 1, 3));
  const auto give_up = std::chrono::steady_clock::now() + options_.connect_timeout;
  for (const Endpoint& address : addresses) {
    const Duration left = give_up - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    timed_out_ = false;
    error_code ignored;
    socket_.close(ignored);
    watchdog_.arm(std::min<Duration>(share, left));
    const auto [error] = co_await socket_.async_connect(to_asio(address), no_throw);
    watchdog_.disarm();
    if (canceled_) co_return MirrorError::canceled;
    if (error || timed_out_) continue;
    socket_.set_option(Tcp::no_delay(true), ignored);
    co_return boost::system::in_place_value;
  }
  co_return timed_out_ ? MirrorError::timeout : MirrorError::connect_failed;
}

asio::awaitable<Result<void>> UpstreamConnection::open_tunnel() {
  const std::string authority = options_.origin.authority();
  std::string text = "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n";
  if (!options_.proxy->authorization.empty()) {
    text += "Proxy-Authorization: " + options_.proxy->authorization + "\r\n";
  }
  text += "\r\n";
  const auto normal = std::exchange(options_.idle_timeout, options_.connect_timeout);
  const auto head = co_await exchange(std::move(text), true);
  options_.idle_timeout = normal;
  if (!head) {
    co_return head.error() == MirrorError::protocol ? make_error_code(MirrorError::proxy_failed)
                                                    : head.error();
  }
  // Bytes behind the proxy's answer could only be the server's, and a TLS server never speaks
  // first.
  if (head->status < 200 || head->status > 299 || buffer_.size() != 0)
    co_return MirrorError::proxy_failed;
  co_return boost::system::in_place_value;
}

asio::awaitable<Result<void>> UpstreamConnection::handshake() {
  tls_.emplace(socket_, *options_.tls);
  const std::string& host = options_.origin.host;
  const bool literal = Endpoint::parse_address(host, 0).has_value();
  if (!literal && SSL_set_tlsext_host_name(tls_->native_handle(), host.c_str()) != 1)
    co_return MirrorError::tls_failed;
  if (options_.verify) {
    tls_->set_verify_mode(asio::ssl::verify_peer);
    tls_->set_verify_callback(asio::ssl::host_name_verification(host));
  } else {
    tls_->set_verify_mode(asio::ssl::verify_none);
  }
  watchdog_.arm(options_.connect_timeout);
  const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::client, no_throw);
  watchdog_.disarm();
  if (error) co_return explain(error, MirrorError::tls_failed);
  co_return boost::system::in_place_value;
}

asio::awaitable<Result<void>> UpstreamConnection::write_all(std::string text) {
  error_code failed;
  watchdog_.arm(options_.idle_timeout);
  if (tls_) {
    const auto [error, size] = co_await asio::async_write(*tls_, asio::buffer(text), no_throw);
    failed = error;
  } else {
    const auto [error, size] = co_await asio::async_write(socket_, asio::buffer(text), no_throw);
    failed = error;
  }
  watchdog_.disarm();
  if (failed || timed_out_ || canceled_) co_return explain(failed, MirrorError::connect_failed);
  co_return boost::system::in_place_value;
}

std::chrono::nanoseconds UpstreamConnection::read_patience() const {
  const std::chrono::nanoseconds idle = options_.idle_timeout;
  if (!head_deadline_) return std::min<std::chrono::nanoseconds>(idle, limits::upstream_body_gap);
  return std::max(std::chrono::nanoseconds(1), *head_deadline_ - std::chrono::steady_clock::now());
}

/// At least one byte, or 0 at the end of the stream; an unclean end of TLS is an error.
asio::awaitable<Result<std::size_t>> UpstreamConnection::read_stream(MutableByteView buffer) {
  error_code failed;
  std::size_t count = 0;
  const auto target = asio::buffer(buffer.data(), buffer.size());
  watchdog_.arm(read_patience());
  if (tls_) {
    const auto [error, size] = co_await tls_->async_read_some(target, no_throw);
    failed = error;
    count = size;
  } else {
    const auto [error, size] = co_await socket_.async_read_some(target, no_throw);
    failed = error;
    count = size;
  }
  watchdog_.disarm();
  if (count > 0) got_bytes_ = true;
  if (count > 0 && !canceled_) co_return count;
  if (failed == asio::error::eof && !timed_out_ && !canceled_) co_return 0;
  co_return explain(failed, MirrorError::short_body);
}

asio::awaitable<Result<ResponseHead>> UpstreamConnection::exchange(std::string text,
                                                                   bool head_method) {
  got_bytes_ = body_done_ = false;
  if (auto sent = co_await write_all(std::move(text)); !sent) co_return sent.error();
  head_deadline_ = std::chrono::steady_clock::now() + options_.idle_timeout;
  auto head = co_await read_head(head_method);
  head_deadline_.reset();
  if (!head) close();
  co_return head;
}

asio::awaitable<Result<ResponseHead>> UpstreamConnection::read_head(bool head_method) {
  while (true) {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(limits::upstream_header_bytes_max));
    parser_->body_limit(boost::none);
    parser_->skip(head_method);
    while (!parser_->is_header_done()) {
      error_code error = http::error::need_more;
      if (buffer_.size() > 0) buffer_.consume(parser_->put(buffer_.data(), error));
      if (error && error != http::error::need_more) co_return MirrorError::protocol;
      if (parser_->is_header_done()) break;
      if (buffer_.size() >= limits::upstream_header_bytes_max) co_return MirrorError::protocol;
      const auto space = buffer_.prepare(read_step);
      const auto read = co_await read_stream({static_cast<std::byte*>(space.data()), space.size()});
      if (!read)
        co_return read.error() == MirrorError::short_body ? make_error_code(MirrorError::protocol)
                                                          : read.error();
      if (*read == 0) co_return MirrorError::protocol;
      buffer_.commit(*read);
    }
    if (parser_->get().result_int() >= 200 || parser_->get().result_int() == 101) break;
  }
  const auto& message = parser_->get();
  auto head = head_of(message);
  keep_alive_ = message.keep_alive() && head.status != 101;
  const bool bodiless = head_method || head.status == 204 || head.status == 304;
  if (const auto length = parser_->content_length()) head.content_length = *length;
  if (bodiless && !head.content_length) {
    unsigned long long length = 0;  // skip() leaves it unread on an answer to HEAD
    if (parse_decimal(trim(head.header("Content-Length")), length)) head.content_length = length;
  }
  remaining_ = bodiless ? 0 : head.content_length.value_or(0);
  until_close_ = !bodiless && !parser_->chunked() && !head.content_length;
  if (until_close_) keep_alive_ = false;
  body_done_ = bodiless || (!parser_->chunked() && !until_close_ && remaining_ == 0);
  co_return head;
}

asio::awaitable<Result<std::size_t>> UpstreamConnection::read_some(MutableByteView buffer) {
  if (canceled_) co_return MirrorError::canceled;
  if (body_done_ || buffer.empty()) co_return 0;
  auto read = parser_->chunked() ? co_await read_chunked(buffer) : co_await read_plain(buffer);
  if (!read) close();
  co_return read;
}

asio::awaitable<Result<std::size_t>> UpstreamConnection::read_plain(MutableByteView buffer) {
  if (!until_close_) buffer = buffer.first(std::min<std::uint64_t>(buffer.size(), remaining_));
  std::size_t count = 0;
  if (buffer_.size() > 0) {
    count = asio::buffer_copy(asio::buffer(buffer.data(), buffer.size()), buffer_.data());
    buffer_.consume(count);
  } else {
    const auto read = co_await read_stream(buffer);
    if (!read) co_return read;
    if (*read == 0 && !until_close_) co_return MirrorError::short_body;
    count = *read;
  }
  if (until_close_) {
    body_done_ = count == 0;
  } else {
    remaining_ -= count;
    body_done_ = remaining_ == 0;
  }
  co_return count;
}

asio::awaitable<Result<std::size_t>> UpstreamConnection::read_chunked(MutableByteView buffer) {
  auto& body = parser_->get().body();
  body.data = buffer.data();
  body.size = buffer.size();
  body.more = true;
  parser_->eager(true);
  while (true) {
    error_code error = http::error::need_more;
    if (buffer_.size() > 0) buffer_.consume(parser_->put(buffer_.data(), error));
    const auto count = buffer.size() - body.size;
    body_done_ = parser_->is_done();
    if (error && error != http::error::need_more && error != http::error::need_buffer)
      co_return MirrorError::protocol;
    if (count > 0 || body_done_) co_return count;
    const auto space = buffer_.prepare(read_step);
    const auto read = co_await read_stream({static_cast<std::byte*>(space.data()), space.size()});
    if (!read) co_return read;
    if (*read == 0) co_return MirrorError::short_body;
    buffer_.commit(*read);
  }
}

bool UpstreamConnection::is_quiet() {
  if (closed_ || buffer_.size() > 0) return false;
  char byte = 0;
  const auto size = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace waggle::mirror
