// One connection of the HTTP server: reads requests, runs the handler for each, frames the answers,
// watches the clock and the client. Private to http_server_driver.
#pragma once

#include "mirror/http_server_driver.hpp"
#include "mirror/watchdog_driver.hpp"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <memory>

namespace waggle::mirror {

/// What connections share with their server.
struct HttpServerShared {
  HttpServerConfig config;
  HttpHandler handler;
  bool stopping = false;
  std::uint64_t request_counter = 0;
  std::uint64_t request_salt = 0;  ///< so that ids of two processes differ

  [[nodiscard]] std::string next_request_id();
  [[nodiscard]] std::string error_body(unsigned status, std::string_view message) const;
};

struct HttpConnection : std::enable_shared_from_this<HttpConnection> {
  using Socket = boost::asio::generic::stream_protocol::socket;

  HttpConnection(Socket socket, std::shared_ptr<HttpServerShared> shared,
                 std::optional<Endpoint> client, bool allowed);

  /// Until the client or the server has enough. The caller keeps the object alive.
  boost::asio::awaitable<void> run();
  /// Closes now; a running handler sees its client gone.
  void close();
  /// Closes if no request is being answered, else after the answer.
  void close_when_idle();

  // What HttpExchange offers.
  boost::asio::awaitable<Result<std::string>> read_body(std::size_t bytes_max);
  void begin(HttpResponseHead head);
  boost::asio::awaitable<Result<void>> write(ByteView bytes);
  boost::asio::awaitable<Result<void>> write_file(int descriptor, std::uint64_t offset,
                                                  std::uint64_t size);
  boost::asio::awaitable<Result<void>> respond(HttpResponseHead head, std::string body);

  Socket socket;
  HttpRequest request;
  bool begun = false;
  bool cut = false;
  bool client_gone = false;
  std::function<void()> client_gone_callback;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  boost::asio::awaitable<bool> read_head();
  boost::asio::awaitable<void> answer();
  boost::asio::awaitable<void> run_handler();
  boost::asio::awaitable<void> finish_answer();
  boost::asio::awaitable<void> refuse(unsigned status, std::string_view message);
  boost::asio::awaitable<void> linger();
  boost::asio::awaitable<Result<void>> flush_head(bool more_follows);
  void take_request();
  void watch_client();
  void note_client_gone();

  std::shared_ptr<HttpServerShared> shared_;
  bool allowed_;
  bool idle_ = true;
  bool closed_ = false;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Watchdog watchdog_;
  boost::asio::cancellation_signal client_watch_;

  // The answer under way.
  bool http_1_0_ = false;
  bool keep_alive_ = true;
  bool chunked_ = false;
  bool bodiless_ = false;        ///< HEAD, 204, 304
  std::uint64_t remaining_ = 0;  ///< of a body with a length
  std::string head_text_;        ///< not yet sent
};

}  // namespace waggle::mirror
