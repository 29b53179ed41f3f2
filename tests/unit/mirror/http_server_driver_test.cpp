// Connections, limits and framing of the HTTP server, with handlers made for each test.
#include "mirror/http_server_driver.hpp"

#include "loopback.hpp"
#include "mirror/error.hpp"

#include <doctest/doctest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

using namespace waggle;
using namespace waggle::mirror;
using namespace waggle::mirror::test;
using namespace std::chrono_literals;

namespace {

namespace asio = boost::asio;

asio::awaitable<void> echo(HttpExchange& exchange) {
  const auto body = co_await exchange.read_body(1000);
  HttpResponseHead head;
  head.status = body ? 200 : 413;
  const std::string text =
      exchange.request().method + " " + exchange.request().target + " " + (body ? *body : "!");
  co_await exchange.respond(std::move(head), text);
}

asio::awaitable<void> chunks(HttpExchange& exchange) {
  HttpResponseHead head;
  head.headers.emplace_back("X-Bad", "a\r\nInjected: 1");
  exchange.begin(std::move(head));
  const std::string first = "first ";
  const std::string second(100'000, 's');
  co_await exchange.write(as_bytes(first));
  co_await exchange.write(as_bytes(second));
}

struct Server {
  explicit Server(HttpHandler handler, HttpServerConfig config = {}) {
    config.error_body = [](unsigned status, std::string_view message) {
      return std::to_string(status) + ": " + std::string(message);
    };
    loop.run([&] {
      server.emplace(loop.context.get_executor(), config, std::move(handler));
      endpoint = server->listen(Endpoint::v4(127, 0, 0, 1, 0)).value();
    });
  }
  ~Server() {
    loop.run([&] { server.reset(); });
  }
  std::optional<HttpServer> server;
  Endpoint endpoint;
  LoopThread loop;
};

}  // namespace

TEST_SUITE("mirror/http_server") {
  TEST_CASE("requests of one connection are answered in order, pipelined ones too") {
    Server server(&echo);
    TestClient client(server.endpoint);
    client.send(
        "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: "
        "4\r\n\r\nbodyGET /3 "
        "HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client.read_response().body == "GET /1 ");
    CHECK(client.read_response().body == "POST /2 body");
    CHECK(client.read_response().body == "GET /3 ");
  }

  TEST_CASE("a body beyond the handler's limit is refused, 100-continue is honoured") {
    Server server(&echo);
    TestClient client(server.endpoint);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    CHECK(client.read_exactly(25) == "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ok");
    CHECK(client.read_response().body == "POST / ok");
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    const auto refused = client.read_response();
    CHECK(refused.status == 413);
    CHECK(refused.header("Connection") == "close");
  }

  TEST_CASE("a body without a length is chunked, to HTTP/1.0 it ends with the connection") {
    Server server(&chunks);
    TestClient client(server.endpoint);
    const auto response = client.get("/");
    CHECK(response.complete);
    CHECK((response.body == "first " + std::string(100'000, 's')));
    CHECK(response.header("Injected").empty());
    CHECK(client.head("/").status == 200);
    client.send("GET / HTTP/1.0\r\n\r\n");
    bool closed = false;
    const auto text = client.read_all(closed);
    CHECK(closed);
    CHECK(text.ends_with("sss"));
    CHECK(text.find("chunked") == std::string::npos);
  }

  TEST_CASE("oversized and malformed heads are answered and the connection closed") {
    Server server(&echo);
    const auto answer = [&](const std::string& text) {
      TestClient client(server.endpoint);
      client.send(text);
      const auto response = client.read_response();
      bool closed = false;
      client.read_all(closed);
      CHECK(closed);
      return response.status;
    };
    CHECK(answer("GET / HTTP/1.1\r\nX: " + std::string(limits::http_header_bytes_max, 'x') +
                 "\r\n\r\n") == 431);
    CHECK(answer("GET /" + std::string(limits::http_target_bytes_max, 'x') +
                 " HTTP/1.1\r\nHost: x\r\n\r\n") == 414);
    CHECK(answer("not http\r\n\r\n") == 400);
  }

  TEST_CASE("a head that never ends is cut at its deadline") {
    HttpServerConfig config;
    config.header_timeout = 100ms;
    Server server(&echo, config);
    TestClient client(server.endpoint);
    client.send("GET / HTTP/1.1\r\nX: ");
    bool closed = false;
    CHECK(client.read_all(closed).empty());
    CHECK(closed);
  }

  TEST_CASE("an idle connection is closed") {
    HttpServerConfig config;
    config.idle_timeout = 100ms;
    Server server(&echo, config);
    TestClient client(server.endpoint);
    CHECK(client.get("/").status == 200);
    bool closed = false;
    client.read_all(closed);
    CHECK(closed);
  }

  TEST_CASE("a handler that throws or answers nothing is a 500") {
    Server server([](HttpExchange& exchange) -> asio::awaitable<void> {
      if (exchange.request().target == "/throw") throw std::runtime_error("bug");
      co_return;
    });
    TestClient first(server.endpoint);
    CHECK(first.get("/throw").status == 500);
    TestClient second(server.endpoint);
    const auto response = second.get("/nothing");
    CHECK(response.status == 500);
    CHECK(response.body == "500: no answer");
  }

  TEST_CASE("one connection beyond the maximum gets 503") {
    HttpServerConfig config;
    config.connections_max = 1;
    Server server(&echo, config);
    TestClient first(server.endpoint);
    CHECK(first.get("/").status == 200);
    TestClient second(server.endpoint);
    CHECK(second.read_response().status == 503);
    CHECK(first.get("/").status == 200);
  }

  TEST_CASE("a unix socket has its mode, replaces a stale file and leaves none") {
    const auto path =
        (std::filesystem::temp_directory_path() / ("waggle-test-" + std::to_string(::getpid())))
            .string();
    {
      Server server(&echo);
      server.loop.run([&] { REQUIRE(server.server->listen_unix(path, 0600)); });
      struct stat status {};
      REQUIRE(::stat(path.c_str(), &status) == 0);
      CHECK((status.st_mode & 0777U) == 0600U);
      TestClient client(path);
      CHECK(client.get("/").body == "GET / ");
      Result<void> again = boost::system::in_place_value;
      server.loop.run([&] { again = server.server->listen_unix(path, 0600); });
      CHECK(again.error() == boost::system::errc::address_in_use);
    }
    CHECK_FALSE(std::filesystem::exists(path));
  }

  TEST_CASE("a listening descriptor is adopted") {
    Server server(&echo);
    const int descriptor = ::socket(AF_INET6, SOCK_STREAM, 0);
    REQUIRE(::listen(descriptor, 4) == 0);
    server.loop.run([&] { REQUIRE(server.server->adopt(descriptor)); });
    TestClient client(server.server->endpoints().back());
    CHECK(client.get("/").status == 200);
  }

  TEST_CASE("a bad allow list and a taken port fail as values") {
    LoopThread loop;
    loop.run([&] {
      HttpServerConfig config;
      config.allow = {"10.0.0.0/99"};
      HttpServer server(loop.context.get_executor(), config, &echo);
      CHECK(server.listen(Endpoint::v4(127, 0, 0, 1, 0)).error() == BaseError::malformed);
      HttpServer good(loop.context.get_executor(), {}, &echo);
      const auto endpoint = good.listen(Endpoint::v4(127, 0, 0, 1, 0)).value();
      CHECK(good.listen(endpoint).error() == boost::system::errc::address_in_use);
    });
  }

  TEST_CASE("stop lets a running answer finish, ends idle connections and refuses new ones") {
    asio::steady_timer* release = nullptr;
    std::promise<void> entered;
    Server server([&](HttpExchange& exchange) -> asio::awaitable<void> {
      if (exchange.request().target == "/slow") {
        asio::steady_timer timer(exchange.executor(), 1h);
        release = &timer;
        entered.set_value();
        boost::system::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
      co_await echo(exchange);
    });
    TestClient idle(server.endpoint);
    CHECK(idle.get("/").status == 200);
    TestClient busy(server.endpoint);
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    entered.get_future().wait();
    auto stopped = asio::co_spawn(server.loop.context, server.server->stop(10s), asio::use_future);
    bool closed = false;
    idle.read_all(closed);
    CHECK(closed);
    server.loop.run([&] { release->cancel(); });
    const auto response = busy.read_response();
    CHECK(response.body == "GET /slow ");
    CHECK(response.header("Connection") == "close");
    CHECK(stopped.wait_for(5s) == std::future_status::ready);
  }

  TEST_CASE("stop cuts what is left at its deadline and tells the handler") {
    std::promise<void> entered;
    Server server([&](HttpExchange& exchange) -> asio::awaitable<void> {
      asio::steady_timer timer(exchange.executor(), 1h);
      exchange.on_client_gone([&] { timer.cancel(); });
      entered.set_value();
      boost::system::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      CHECK(exchange.client_gone());
    });
    TestClient busy(server.endpoint);
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    entered.get_future().wait();
    auto stopped = asio::co_spawn(server.loop.context, server.server->stop(50ms), asio::use_future);
    CHECK(stopped.wait_for(5s) == std::future_status::ready);
    bool closed = false;
    busy.read_all(closed);
    CHECK(closed);
  }
}
