// What the upstream client's tests share: a client on its own loop, and what one request came to.
#pragma once

#include "loopback.hpp"
#include "mirror/text.hpp"
#include "mirror/upstream_driver.hpp"

#include <doctest/doctest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace waggle::mirror::test {

using namespace std::chrono_literals;

namespace asio = boost::asio;

/// What one request came to.
struct Outcome {
  boost::system::error_code error;  ///< of start()
  UpstreamHead head;
  std::string body;
  boost::system::error_code body_error;  ///< of read_some()
};

/// A client on its own loop; each fetch runs the loop until it is done.
struct Client {
  explicit Client(UpstreamConfig config) : driver(context.get_executor(), std::move(config)) {}

  static asio::awaitable<void> run(std::unique_ptr<UpstreamRequest> request, Outcome& outcome,
                                   int& running) {
    auto head = co_await request->start();
    if (head) {
      outcome.head = *head;
      Bytes buffer(10'000);
      while (true) {
        const auto read = co_await request->read_some(buffer);
        if (!read) outcome.body_error = read.error();
        if (!read || *read == 0) break;
        outcome.body += as_text(ByteView(buffer).first(*read));
      }
    } else {
      outcome.error = head.error();
    }
    --running;
  }
  void wait() {
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    while (running > 0 && std::chrono::steady_clock::now() < give_up) {
      context.restart();
      context.run_one_for(100ms);
    }
    REQUIRE(running == 0);
  }
  Outcome fetch(std::unique_ptr<UpstreamRequest> request) {
    Outcome outcome;
    ++running;
    asio::co_spawn(context, run(std::move(request), outcome, running), asio::detached);
    wait();
    return outcome;
  }
  Outcome get(const std::string& registry, const std::string& path = "/v2/team/app/blobs/x") {
    UpstreamTarget target;
    target.registry = registry;
    target.repository = "team/app";
    target.path_and_query = path;
    return fetch(driver.get(std::move(target)));
  }

  int running = 0;
  asio::io_context context;
  UpstreamDriver driver;
};

/// Two registries by name, so that configured endpoints are told from addresses that are merely
/// local.
inline UpstreamConfig config_for(const ScriptedServer& server) {
  UpstreamConfig config;
  config.registries["r.test"].endpoint = server.origin();
  config.idle_timeout = 5s;
  return config;
}

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace waggle::mirror::test
