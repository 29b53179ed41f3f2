// How the upstream client waits for a registry that asks for time, and asks anew after a stale
// redirect.
#include "loopback.hpp"
#include "mirror/error.hpp"
#include "mirror/upstream_driver.hpp"
#include "upstream_client.hpp"

#include <doctest/doctest.h>

#include <ctime>
#include <tuple>
#include <utility>
#include <vector>

using namespace waggle;
using namespace waggle::mirror;
using namespace waggle::mirror::test;
using namespace std::chrono_literals;

TEST_SUITE("mirror/upstream_driver") {
  TEST_CASE("Retry-After of a 429 or 503 is read: seconds, a date, or something else") {
    std::time_t in_half_a_minute = std::time(nullptr) + 30;
    std::array<char, 64> date{};
    std::strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT",
                  std::gmtime(&in_half_a_minute));
    for (const auto& [value, low, high] : {std::tuple<std::string, Duration, Duration>{"7", 7s, 7s},
                                           {date.data(), 25s, 30s},
                                           {"Wed, 21 Oct 2015 07:28:00 GMT", 0s, 0s},
                                           {"soon", 60s, 60s}}) {
      CAPTURE(value);
      const ScriptedServer server([&value = value](const std::string&) -> Reply {
        return {http_text("429 Too Many Requests", "Retry-After: " + value + "\r\n", "")};
      });
      Client client(config_for(server));
      const auto answer = client.get("r.test").head;
      CHECK_FALSE(answer.paused);
      CHECK(answer.retry_after.value() >= low);
      CHECK(answer.retry_after.value() <= high);
    }
    CHECK(error_of_status(429) == MirrorError::unavailable);
  }

  TEST_CASE("Retry-After is heeded: a paused host is not asked, another one is") {
    const ScriptedServer busy([&](const std::string&) -> Reply {
      return {http_text("503 Service Unavailable", "Retry-After: 40\r\n", "")};
    });
    const ScriptedServer well(
        [&](const std::string&) -> Reply { return {http_text("200 OK", "", "x")}; });
    auto config = config_for(busy);
    config.registries["w.test"].endpoint = well.origin();
    Client client(config);
    CHECK(client.get("r.test").head.status == 503);
    for (int i = 0; i < 3; ++i) {
      const auto answer = client.get("r.test").head;
      CHECK(answer.status == 429);
      CHECK(answer.paused);
      CHECK(answer.retry_after.value() > 35s);
      CHECK(answer.retry_after.value() <= 44s);
    }
    CHECK(busy.requests().size() == 1);
    CHECK(client.get("w.test").body == "x");
    // Another account is another quota.
    config.registries["r.test"].username = "somebody";
    client.driver.reconfigure(config);
    CHECK_FALSE(client.get("r.test").head.paused);
  }

  TEST_CASE("a pause is told with a hash of the user name, a caller's own is not told") {
    const ScriptedServer busy([&](const std::string&) -> Reply {
      return {http_text("429 Too Many Requests", "Retry-After: 40\r\n", "")};
    });
    auto config = config_for(busy);
    Client client(config);
    std::vector<std::pair<std::string, std::uint64_t>> told;
    client.driver.on_pause(
        [&](const std::string& origin, std::uint64_t credential, Duration remaining) {
          CHECK(remaining >= 39s);
          told.emplace_back(origin, credential);
        });
    UpstreamTarget own;
    own.url = busy.origin() + "/x";
    own.authorization = "Bearer secret";
    CHECK(client.fetch(client.driver.get(own)).head.status == 429);
    CHECK(told.empty());
    (void)client.get("r.test");
    (void)client.get("r.test");  // paused: nothing new
    REQUIRE(told.size() == 1);
    CHECK(told[0] == std::pair<std::string, std::uint64_t>{busy.origin(), 0});
    config.registries["r.test"].username = "somebody";
    config.registries["r.test"].password = "one";
    client.driver.reconfigure(config);
    (void)client.get("r.test");
    REQUIRE(told.size() == 2);
    CHECK(told[1].second != 0);
    // Another node of that user, with another password, which is told.
    Client other(config);
    config.registries["r.test"].password = "two";
    other.driver.reconfigure(config);
    other.driver.pause(busy.origin(), told[1].second, 30s);
    const auto answer = other.get("r.test").head;
    CHECK(answer.paused);
    CHECK(answer.retry_after.value() > 29s);
  }

  TEST_CASE("a 503 without Retry-After is about one request, not about the host") {
    const ScriptedServer server([&](const std::string&) -> Reply {
      return {http_text("503 Service Unavailable", "", "")};
    });
    Client client(config_for(server));
    for (int i = 0; i < 3; ++i) CHECK_FALSE(client.get("r.test").head.paused);
    CHECK(server.requests().size() == 3);
  }

  TEST_CASE("a redirect whose target has expired is asked for anew, once") {
    std::size_t signatures = 0, good = 2;
    const ScriptedServer server([&](const std::string& request) -> Reply {
      if (has(request, "/signed/" + std::to_string(good) + " "))
        return {http_text("200 OK", "", "x")};
      if (has(request, "/signed/")) return {http_text("403 Forbidden", "", "expired")};
      return {http_text("307 Temporary Redirect",
                        "Location: /signed/" + std::to_string(++signatures) + "\r\n", "")};
    });
    Client client(config_for(server));
    CHECK(client.get("r.test").body == "x");
    good = 0;
    const auto refused = client.get("r.test");
    CHECK(refused.head.status == 403);
    CHECK(refused.head.redirected);
    CHECK(signatures == 4);
  }
}
