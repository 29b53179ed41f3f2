// A small HTTP/1.1 server: listening, connections, limits and framing. What a request means is its
// handler's business (oci_driver.hpp, the operator's API). Beast parses requests; answers go out
// with writev and sendfile.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/error.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace waggle::mirror {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  ///< as sent: "GET"
  std::string target;  ///< as sent: "/v2/?ns=docker.io"
  HeaderList headers;
  std::string
      request_id;  ///< the client's X-Request-Id when it is a plain token, else a random one
  std::optional<Endpoint> client;  ///< nullopt on a unix socket
  /// The first header of that name, case-insensitive; empty when absent.
  [[nodiscard]] std::string_view header(std::string_view name) const;
  [[nodiscard]] bool is_head() const { return method == "HEAD"; }
};

/// X-Request-Id, Content-Length, Transfer-Encoding and Connection are added by the server.
struct HttpResponseHead {
  unsigned status = 200;
  HeaderList headers;
  /// nullopt: chunked (until the handler returns). For HEAD: what GET would have sent.
  std::optional<std::uint64_t> content_length;
};

struct HttpConnection;

/// One request and its answer. Lives as long as the handler's coroutine runs.
class HttpExchange {
 public:
  explicit HttpExchange(HttpConnection& connection) : connection_(connection) {}
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  [[nodiscard]] const HttpRequest& request() const;
  [[nodiscard]] boost::asio::any_io_executor executor() const;

  /// Reads the request's body; MirrorError::too_large beyond `bytes_max`. A body nobody reads
  /// closes the connection after the answer.
  boost::asio::awaitable<Result<std::string>> read_body(std::size_t bytes_max);

  /// Fixes status and headers; they leave with the first bytes of the body or when the handler
  /// returns.
  /// @pre once per exchange
  void begin(HttpResponseHead head);
  [[nodiscard]] bool begun() const;
  /// Sends body bytes (silently nothing for HEAD). An error means the client is gone: return.
  /// @pre begun(); no more than content_length in all
  boost::asio::awaitable<Result<void>> write(ByteView bytes);
  /// As write(), from a file with sendfile(2).
  boost::asio::awaitable<Result<void>> write_file(int descriptor, std::uint64_t offset,
                                                  std::uint64_t size);
  /// begin() with a length, and write().
  boost::asio::awaitable<Result<void>> respond(HttpResponseHead head, std::string body);
  /// Closes the connection when the handler returns: the only way to say that a begun body cannot
  /// be completed.
  void cut();

  /// Called once, on the server's thread, when the client closes its side before the handler
  /// returned. Replaces the previous one; an empty function removes it.
  void on_client_gone(std::function<void()> callback);
  [[nodiscard]] bool client_gone() const;

 private:
  HttpConnection& connection_;
};

using HttpHandler = std::function<boost::asio::awaitable<void>(HttpExchange&)>;

struct HttpServerConfig {
  std::vector<std::string>
      allow;  ///< CIDRs that may ask, beside loopback and own addresses; others get 403
  bool allow_all = false;                                        ///< everybody may ask
  std::size_t header_bytes_max = limits::http_header_bytes_max;  ///< beyond: 431
  std::size_t connections_max = limits::http_connections_max;    ///< beyond: 503, closed
  Duration header_timeout =
      limits::http_header_timeout;  ///< from a request's first byte to the end of its head
  Duration idle_timeout = limits::http_idle_timeout;  ///< between requests of a connection
  Duration write_timeout =
      limits::http_write_timeout;  ///< a client that takes no byte for so long is cut
  /// The body (JSON) of answers the server gives by itself: 400, 403, 408, 431, 500, 503.
  std::function<std::string(unsigned status, std::string_view message)> error_body;
};

/// Contract: all calls on the executor's one thread. Whatever the handler refers to must outlive
/// stop().
class HttpServer {
 public:
  HttpServer(boost::asio::any_io_executor executor, HttpServerConfig config, HttpHandler handler);
  /// Closes everything at once; handlers still running see errors.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds and accepts. Port 0 takes a free one; [::] is dual stack. Fails with the system's error.
  Result<Endpoint> listen(const Endpoint& endpoint);
  /// Replaces a stale socket file; `mode` are its permissions.
  Result<void> listen_unix(const std::string& path, unsigned mode);
  /// Takes over, and owns from now on, a socket that already listens (socket activation); TCP or
  /// unix.
  Result<void> adopt(int descriptor);

  /// Stops accepting, ends idle connections, lets running answers finish, cuts what is left after
  /// `deadline`. Returns when the last handler has returned: handlers that wait for something else
  /// must heed on_client_gone().
  boost::asio::awaitable<void> stop(Duration deadline);

  [[nodiscard]] std::vector<Endpoint> endpoints() const;
  [[nodiscard]] std::size_t connection_count() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace waggle::mirror
