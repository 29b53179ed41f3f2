// One connection to an upstream server or through a proxy: TCP, TLS, HTTP framing, a deadline per
// phase.
#pragma once

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "mirror/error.hpp"
#include "mirror/host_policy.hpp"
#include "mirror/name_resolver_driver.hpp"
#include "mirror/proxy.hpp"
#include "mirror/watchdog_driver.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace waggle::mirror {

struct ConnectOptions {
  Origin origin;
  std::optional<Proxy> proxy;
  std::shared_ptr<boost::asio::ssl::context> tls;  ///< for https origins
  bool verify = true;
  const HostPolicy* policy = nullptr;
  NameResolver* resolver = nullptr;
  Duration connect_timeout{};
  Duration idle_timeout{};
};

struct ResponseHead {
  unsigned status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<std::uint64_t> content_length;
  /// All headers of that name, joined by ", "; empty when absent.
  [[nodiscard]] std::string header(std::string_view name) const;
};

/// Contract: connect() once; then send(), read_head() and read_some() to its 0, again and again
/// while reusable(). One operation at a time. Keep the object alive (shared_ptr) until the
/// operation has returned.
class UpstreamConnection {
 public:
  explicit UpstreamConnection(const boost::asio::any_io_executor& executor);

  /// Resolves, checks each address against the policy, connects to the first that answers, and
  /// speaks TLS.
  boost::asio::awaitable<Result<void>> connect(ConnectOptions options);
  /// Sends one request and reads the head of its answer (1xx are passed over).
  /// @param text  the whole request, head and body
  boost::asio::awaitable<Result<ResponseHead>> exchange(std::string text, bool head_method);
  /// Body bytes; 0 = complete.
  boost::asio::awaitable<Result<std::size_t>> read_some(MutableByteView buffer);

  /// The answer is complete and the server keeps the connection open.
  [[nodiscard]] bool reusable() const { return body_done_ && keep_alive_ && !closed_; }
  /// An idle connection on which the server has said nothing (a close included).
  [[nodiscard]] bool is_quiet();
  /// True when the last exchange() failed before the server sent anything: on a reused connection,
  /// ask again.
  [[nodiscard]] bool got_nothing() const { return !got_bytes_; }
  /// Requests to a proxied http origin name the whole URL.
  [[nodiscard]] bool wants_absolute_target() const {
    return options_.proxy && !options_.origin.tls;
  }
  [[nodiscard]] const std::optional<Proxy>& proxy() const { return options_.proxy; }
  /// Ends the running operation with MirrorError::canceled.
  void cancel();

 private:
  using Tcp = boost::asio::ip::tcp;
  using Parser = boost::beast::http::response_parser<boost::beast::http::buffer_body>;

  boost::asio::awaitable<Result<std::vector<Endpoint>>> find_addresses();
  boost::asio::awaitable<Result<void>> connect_tcp(std::vector<Endpoint> addresses);
  boost::asio::awaitable<Result<void>> open_tunnel();
  boost::asio::awaitable<Result<void>> handshake();
  boost::asio::awaitable<Result<void>> write_all(std::string text);
  boost::asio::awaitable<Result<std::size_t>> read_stream(MutableByteView buffer);
  [[nodiscard]] std::chrono::nanoseconds read_patience() const;
  boost::asio::awaitable<Result<ResponseHead>> read_head(bool head_method);
  boost::asio::awaitable<Result<std::size_t>> read_plain(MutableByteView buffer);
  boost::asio::awaitable<Result<std::size_t>> read_chunked(MutableByteView buffer);
  [[nodiscard]] boost::system::error_code explain(boost::system::error_code error,
                                                  MirrorError otherwise) const;
  void close();

  ConnectOptions options_;
  Tcp::socket socket_;
  std::optional<boost::asio::ssl::stream<Tcp::socket&>> tls_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Watchdog watchdog_;
  std::function<void()> cancel_lookup_;
  /// While a head is awaited: a head that trickles ends, too.
  std::optional<std::chrono::steady_clock::time_point> head_deadline_;
  bool timed_out_ = false;
  bool canceled_ = false;
  bool closed_ = false;
  bool keep_alive_ = false;
  bool body_done_ = false;
  bool got_bytes_ = false;
  bool until_close_ = false;
  std::uint64_t remaining_ = 0;
};

}  // namespace waggle::mirror
