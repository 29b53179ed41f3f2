// A connection of the HTTP server whose client sends anything, in two pieces, and leaves.
#include "mirror/http_connection_driver.hpp"
#include "target.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace waggle::fuzz {
namespace {

namespace asio = boost::asio;
using namespace waggle::mirror;

constexpr std::size_t body_bytes_max = 1000;
constexpr std::size_t answer_bytes_max = 4U << 20U;

/// Answers with what it was asked; POST reads its body, other paths are sent chunked.
asio::awaitable<void> answer(HttpExchange& exchange, std::size_t& handled) {
  ++handled;
  const HttpRequest& request = exchange.request();
  expect(request.target.size() <= limits::http_target_bytes_max, "a target keeps its limit");
  expect(!request.request_id.empty() && request.request_id.size() <= 64, "a request has an id");
  HttpResponseHead head;
  head.headers.emplace_back("X-Echo", request.target);
  if (request.method == "POST") {
    const auto body = co_await exchange.read_body(body_bytes_max);
    expect(!body || body->size() <= body_bytes_max, "a body keeps its limit");
    head.status = body ? 200 : 413;
    co_await exchange.respond(std::move(head), "done");
  } else if (request.target.ends_with("chunks")) {
    exchange.begin(std::move(head));
    co_await exchange.write(as_bytes("one"));
    co_await exchange.write(as_bytes("two"));
  } else {
    co_await exchange.respond(std::move(head), "done");
  }
}

/// What the client has received until now; true when the server closed.
bool receive(int descriptor, std::string& received) {
  std::array<char, 4096> piece{};
  while (true) {
    const auto size = ::recv(descriptor, piece.data(), piece.size(), MSG_DONTWAIT);
    if (size <= 0) return size == 0;
    received.append(piece.data(), static_cast<std::size_t>(size));
    expect(received.size() <= answer_bytes_max, "answers are bounded");
  }
}

void run(ByteView bytes) {
  Input input(bytes);
  const std::size_t cut = input.integer<std::uint16_t>();
  const ByteView all = input.rest();
  const ByteView pieces[] = {all.first(std::min(cut, all.size())),
                             all.subspan(std::min(cut, all.size()))};
  int ends[2] = {-1, -1};
  expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "there are sockets");
  std::string received;
  std::size_t handled = 0;
  {
    asio::io_context context{1};
    auto shared = std::make_shared<HttpServerShared>();
    shared->config.header_bytes_max = 2048;
    shared->handler = [&](HttpExchange& exchange) { return answer(exchange, handled); };
    HttpConnection::Socket socket(context);
    socket.assign(asio::generic::stream_protocol(AF_UNIX, SOCK_STREAM), ends[0]);
    const auto connection =
        std::make_shared<HttpConnection>(std::move(socket), shared, std::nullopt, true);
    bool over = false;
    asio::co_spawn(context, connection->run(), [&](std::exception_ptr failure) {
      expect(failure == nullptr, "a connection ends without an exception");
      over = true;
    });
    for (const ByteView& piece : pieces) {
      (void)::send(ends[1], piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      context.poll();
      (void)receive(ends[1], received);
    }
    ::shutdown(ends[1], SHUT_WR);
    for (int i = 0; i < 1000 && !over; ++i) {
      context.poll();
      (void)receive(ends[1], received);
    }
    expect(over, "a connection ends when its client is gone");
    connection->close();
    context.poll();
  }
  (void)receive(ends[1], received);
  ::close(ends[1]);
  expect(received.empty() || received.starts_with("HTTP/1.1 "), "answers are HTTP");
  expect(received.find("\r\nInjected:") == std::string::npos, "no header is the client's");
  expect(handled <= all.size(), "a request takes a byte at least");
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> out;
  for (const std::string& text :
       {std::string("GET /1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc\r\n\r\n"),
        std::string("POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET /3chunks "
                    "HTTP/1.1\r\nHost: x\r\n\r\n"),
        std::string("POST /4 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
                    "4;a=b\r\nbody\r\n0\r\nT: x\r\n\r\n"),
        std::string("HEAD /5chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        std::string("BREW a\rb HTTP/1.1\r\n\r\n"),
        "GET /6 HTTP/1.1\r\nA: " + std::string(3000, 'a') + "\r\n\r\n"}) {
    Bytes seed;
    append_le(seed, static_cast<std::uint16_t>(text.size() / 2));
    append(seed, as_bytes(text));
    out.push_back(seed);
  }
  return out;
}

const Target target("http_server", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
