// Beast over a unix or TCP stream; timeouts by the stream's own timer.
#include "cli/api_client_driver.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include <chrono>
#include <optional>

namespace waggle::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Error = boost::system::error_code;

constexpr std::chrono::seconds call_timeout{10};
constexpr std::size_t reply_bytes_max = std::size_t{256} * 1024 * 1024;

template <typename Stream>
asio::awaitable<Result<ApiReply>> exchange(Stream stream, std::string host, std::string method,
                                           std::string path) {
  Error error;
  auto token = asio::redirect_error(asio::use_awaitable, error);
  http::request<http::empty_body> request(http::string_to_verb(method), path, 11);
  request.set(http::field::host, host);
  request.set(http::field::user_agent, "waggle/" WAGGLE_VERSION);
  request.prepare_payload();
  stream.expires_after(call_timeout);
  co_await http::async_write(stream, request, token);
  if (error) co_return error;
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(reply_bytes_max);
  co_await http::async_read(stream, buffer, parser, token);
  if (error) co_return error;
  co_return ApiReply{parser.get().result_int(), std::move(parser.get().body())};
}

asio::awaitable<Result<ApiReply>> over_unix(std::string socket_path, std::string method,
                                            std::string path) {
  using Protocol = asio::local::stream_protocol;
  beast::basic_stream<Protocol> stream(co_await asio::this_coro::executor);
  Error error;
  stream.expires_after(call_timeout);
  co_await stream.async_connect(Protocol::endpoint(socket_path),
                                asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return error;
  co_return co_await exchange(std::move(stream), "localhost", method, path);
}

asio::awaitable<Result<ApiReply>> over_tcp(std::string host, std::string port, std::string method,
                                           std::string path) {
  const auto executor = co_await asio::this_coro::executor;
  Error error;
  auto token = asio::redirect_error(asio::use_awaitable, error);
  asio::ip::tcp::resolver resolver(executor);
  const auto endpoints = co_await resolver.async_resolve(host, port, token);
  if (error) co_return error;
  beast::tcp_stream stream(executor);
  stream.expires_after(call_timeout);
  co_await stream.async_connect(endpoints, token);
  if (error) co_return error;
  co_return co_await exchange(std::move(stream), host, method, path);
}

}  // namespace

Result<ApiReply> call_api(const std::string& api, const std::string& method,
                          const std::string& path) {
  asio::io_context context;
  std::optional<Result<ApiReply>> reply;
  const auto keep = [&reply](std::exception_ptr, Result<ApiReply> result) {
    reply = std::move(result);
  };
  if (api.starts_with("http://")) {
    const auto url = boost::urls::parse_uri(api);
    if (!url || url->host().empty()) return BaseError::malformed;
    const std::string port = url->has_port() ? std::string(url->port()) : "80";
    asio::co_spawn(context, over_tcp(std::string(url->host_address()), port, method, path), keep);
  } else if (api.starts_with("/") || api.starts_with("./") || api.starts_with("unix:")) {
    const std::string socket_path = api.starts_with("unix:") ? api.substr(5) : api;
    if (socket_path.size() > 107) return BaseError::limit_exceeded;
    asio::co_spawn(context, over_unix(socket_path, method, path), keep);
  } else {
    return BaseError::malformed;
  }
  context.run();
  return reply ? *std::move(reply) : Result<ApiReply>(BaseError::malformed);
}

}  // namespace waggle::cli
