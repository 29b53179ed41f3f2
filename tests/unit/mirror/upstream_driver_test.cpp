// The upstream client against scripted servers on loopback: redirects, credentials, ranges,
// failures, TLS, proxies.
#include "mirror/upstream_driver.hpp"

#include "base/limits.hpp"
#include "loopback.hpp"
#include "mirror/auth_challenge.hpp"
#include "mirror/error.hpp"
#include "mirror/text.hpp"
#include "upstream_client.hpp"

#include <doctest/doctest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <tuple>

using namespace waggle;
using namespace waggle::mirror;
using namespace waggle::mirror::test;
using namespace std::chrono_literals;

TEST_SUITE("mirror/upstream_driver") {
  TEST_CASE("origins follow the endpoint mapping and the allow list") {
    UpstreamConfig config;
    config.allow = {"docker.io", "*.test", "127.0.0.1"};
    config.registries["local"].endpoint = "http://127.0.0.1:5000";
    config.registries["mirrored.io"].endpoint = "mirror.corp:8443";
    asio::io_context context;
    const UpstreamDriver driver(context.get_executor(), config);
    CHECK(driver.origin_of("docker.io").value() == "https://registry-1.docker.io:443");
    CHECK(driver.origin_of("R.test:5000").value() == "https://r.test:5000");
    CHECK(driver.origin_of("local").value() == "http://127.0.0.1:5000");
    CHECK(driver.origin_of("mirrored.io").value() == "https://mirror.corp:8443");
    CHECK(driver.origin_of("quay.io").error() == MirrorError::refused_host);
    CHECK(driver.origin_of("a/b").error() == MirrorError::malformed);
    const auto digest = sha256_of({});
    CHECK(blob_path("a/b", digest) == "/v2/a/b/blobs/" + digest.to_string());
    CHECK(manifest_path("a", "v1") == "/v2/a/manifests/v1");
  }

  TEST_CASE("a body with a length, chunked, or ended by the connection arrives as it was sent") {
    const std::string body(100'000, 'b');
    const ScriptedServer server([&](const std::string& request) -> Reply {
      if (has(request, "/chunked")) {
        return {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nfirst\r\n186a0\r\n" +
                body + "\r\n0\r\nA: b\r\n\r\n"};
      }
      if (has(request, "/until-close")) return {"HTTP/1.1 200 OK\r\n\r\n" + body, true};
      if (has(request, "/continue"))
        return {"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" + http_text("200 OK", "", "late")};
      if (has(request, "/empty")) return {http_text("200 OK", "", "")};
      return {http_text(
          "200 OK",
          "Content-Type: a/b\r\nETag: \"e\"\r\nDocker-Content-Digest: sha256:x\r\nLink: <l>\r\n",
          body)};
    });
    Client client(config_for(server));
    auto outcome = client.get("r.test");
    CHECK(outcome.head.status == 200);
    CHECK(outcome.head.content_length == body.size());
    CHECK(outcome.head.content_type == "a/b");
    CHECK(outcome.head.etag == "\"e\"");
    CHECK(outcome.head.docker_content_digest == "sha256:x");
    CHECK(outcome.head.link == "<l>");
    CHECK((outcome.body == body));
    outcome = client.get("r.test", "/chunked");
    CHECK_FALSE(outcome.body_error);
    CHECK((outcome.body == "first" + body));
    CHECK_FALSE(outcome.head.content_length.has_value());
    CHECK(client.get("r.test", "/continue").body == "late");
    CHECK(client.get("r.test", "/empty").body.empty());
    CHECK((client.get("r.test", "/until-close").body == body));
    CHECK(server.connection_count() == 1);  // all of them over one connection
    CHECK(client.driver.stats().connects == 1);
    CHECK(client.get("r.test").head.status == 200);
    CHECK(server.connection_count() == 2);
  }

  TEST_CASE("requests say who asks, for what and which range; HEAD has no body") {
    const ScriptedServer server([](const std::string& request) -> Reply {
      if (request.starts_with("HEAD")) return {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"};
      return {http_text("206 Partial Content", "Content-Range: bytes 10-13/20\r\n", "abcd")};
    });
    Client client(config_for(server));
    UpstreamTarget target{"r.test",        "app", "/v2/app/blobs/x",
                          manifest_accept, "",    parse_range("bytes=10-13")};
    auto outcome = client.fetch(client.driver.get(target));
    CHECK(outcome.head.status == 206);
    CHECK(outcome.head.content_range == ContentRange{ByteRange{10, 13}, 20});
    CHECK(outcome.body == "abcd");
    target.range.reset();
    target.accept.clear();
    outcome = client.fetch(client.driver.head(target));
    CHECK(outcome.head.content_length == 500);
    CHECK(outcome.body.empty());
    const auto requests = server.requests();
    CHECK(requests[0].starts_with("GET /v2/app/blobs/x HTTP/1.1\r\nHost: " + server.host() +
                                  "\r\nUser-Agent: waggle/"));
    CHECK(has(requests[0], "\r\nRange: bytes=10-13\r\n"));
    CHECK(has(requests[0], "application/vnd.oci.image.index.v1+json"));
    CHECK(has(requests[0], "\r\nAccept-Encoding: identity\r\n"));
    CHECK_FALSE(has(requests[1], "Range:"));
    CHECK(server.connection_count() == 1);
  }

  TEST_CASE("a redirect to another host is followed without the Authorization") {
    const ScriptedServer storage(
        [](const std::string&) -> Reply { return {http_text("200 OK", "", "blob")}; });
    const ScriptedServer registry([&](const std::string& request) -> Reply {
      if (has(request, "/same"))
        return {http_text("307 Temporary Redirect", "Location: /moved\r\n", "")};
      if (has(request, "/moved")) return {http_text("200 OK", "", "moved")};
      return {http_text("302 Found", "Location: " + storage.origin() + "/store?sig=1\r\n",
                        "see there")};
    });
    auto config = config_for(registry);
    config.allow_local = {storage.host()};
    Client client(config);
    UpstreamTarget target{"r.test", "app", "/blob", "", "Bearer secret", parse_range("bytes=5-")};
    auto outcome = client.fetch(client.driver.get(target));
    CHECK(outcome.body == "blob");
    const auto stored = storage.requests().at(0);
    CHECK(stored.starts_with("GET /store?sig=1 "));
    CHECK_FALSE(has(stored, "Authorization"));
    CHECK(has(stored, "Range: bytes=5-"));
    CHECK(has(registry.requests().at(0), "Authorization: Bearer secret"));
    target.path_and_query = "/same";
    CHECK(client.fetch(client.driver.get(target)).body == "moved");
    CHECK(has(registry.requests().back(), "Authorization: Bearer secret"));
    CHECK(client.driver.stats().redirects == 2);
  }

  TEST_CASE("a redirect to a metadata or loopback address is refused, as is such a registry") {
    std::string location = "http://169.254.169.254/latest/meta-data";
    const ScriptedServer other(
        [](const std::string&) -> Reply { return {http_text("200 OK", "", "secret")}; });
    const ScriptedServer server([&](const std::string&) -> Reply {
      return {http_text("302 Found", "Location: " + location + "\r\n", "")};
    });
    Client client(config_for(server));
    for (const std::string& target :
         {location, other.origin(), std::string("http://[::1]:1/"),
          "http://localhost:" + std::to_string(other.port()), std::string("http://0x7f.1/")}) {
      CAPTURE(target);
      location = target;
      CHECK(client.get("r.test").error == MirrorError::refused_address);
    }
    CHECK(client.get("169.254.169.254").error == MirrorError::refused_address);
    CHECK(client.get(other.host()).error == MirrorError::refused_address);
    CHECK(other.requests().empty());
  }

  TEST_CASE("upstream.allow holds for redirects, and the refusal names the host") {
    const ScriptedServer storage(
        [](const std::string&) -> Reply { return {http_text("200 OK", "", "blob")}; });
    const ScriptedServer registry([&](const std::string&) -> Reply {
      return {http_text("302 Found", "Location: " + storage.origin() + "/x\r\n", "")};
    });
    auto config = config_for(registry);
    config.allow = {"r.test"};
    Client client(config);
    UpstreamTarget target;
    target.registry = "r.test";
    target.path_and_query = "/v2/x";
    auto request = client.driver.get(target);
    UpstreamRequest* kept = request.get();
    std::string refused;
    int running = 1;
    asio::co_spawn(
        client.context,
        [](UpstreamRequest* asked, std::string& out, int& left) -> asio::awaitable<void> {
          const auto head = co_await asked->start();
          CHECK(head.error() == MirrorError::refused_host);
          out = asked->refused();
          --left;
        }(kept, refused, running),
        asio::detached);
    while (running > 0) client.context.run_one_for(100ms);
    CHECK(refused == storage.host());
    CHECK(storage.requests().empty());
    config.allow = {"r.test", "127.0.0.1"};
    client.driver.reconfigure(config);
    CHECK(client.fetch(client.driver.get(target)).error == MirrorError::refused_address);
    config.allow_local = {storage.host()};
    client.driver.reconfigure(config);
    CHECK(client.fetch(client.driver.get(target)).body == "blob");
  }

  TEST_CASE("a URL is asked as it stands, with the caller's credential or none") {
    const ScriptedServer store([](const std::string& request) -> Reply {
      if (has(request, "/denied")) {
        return {http_text("401 No", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")};
      }
      return {http_text("200 OK", "", "blob")};
    });
    auto config = config_for(store);
    config.registries["r.test"].username = "node";
    config.registries["r.test"].password = "secret";
    Client client(config);
    UpstreamTarget target;
    target.url = store.origin() + "/a%2Fb?sig=x%3D&y";
    CHECK(client.fetch(client.driver.get(target)).body == "blob");
    CHECK(store.requests().back().starts_with("GET /a%2Fb?sig=x%3D&y "));
    CHECK_FALSE(has(store.requests().back(), "Authorization"));
    target.authorization = "Bearer caller";
    CHECK(client.fetch(client.driver.get(target)).body == "blob");
    CHECK(has(store.requests().back(), "Authorization: Bearer caller"));
    target.authorization.clear();
    target.url = store.origin() + "/denied";
    CHECK(client.fetch(client.driver.get(target)).head.status == 401);
    CHECK_FALSE(has(store.requests().back(), "Authorization"));
    target.url = "https://r.test/mapped";  // a configured registry's name: its endpoint
    CHECK(client.fetch(client.driver.get(target)).body == "blob");
    CHECK(client.driver.origin_of_url("https://r.test/x").value() ==
          "http://127.0.0.1:" + std::to_string(store.port()));
    CHECK(client.driver.origin_of_url("https://o.test/x").value() == "https://o.test:443");
    CHECK(client.driver.origin_of_url("https://u:p@o.test/x").error() == MirrorError::malformed);
    CHECK(client.driver.origin_of_url("o.test/x").error() == MirrorError::malformed);
  }

  TEST_CASE("the sixth redirect is one too many, other schemes are refused") {
    std::string location = "/again";
    const ScriptedServer server([&](const std::string&) -> Reply {
      return {http_text("301 Moved Permanently", "Location: " + location + "\r\n", "")};
    });
    Client client(config_for(server));
    CHECK(client.get("r.test").error == MirrorError::too_many_redirects);
    CHECK(server.requests().size() == 6);
    location = "ftp://r.test/x";
    CHECK(client.get("r.test").error == MirrorError::protocol);
  }

  TEST_CASE("a bearer challenge is answered through the token server, once for many requests") {
    const ScriptedServer tokens([](const std::string& request) -> Reply {
      if (!has(request, "Authorization: " + basic_authorization("user", "pa:ss")))
        return {http_text("401 No", "", "")};
      return {http_text("200 OK", "", R"({"token":"good","expires_in":300})")};
    });
    const ScriptedServer registry([&](const std::string& request) -> Reply {
      if (has(request, "Authorization: Bearer good\r\n")) return {http_text("200 OK", "", "blob")};
      return {http_text("401 Unauthorized",
                        "WWW-Authenticate: Bearer realm=\"" + tokens.origin() +
                            "/token\",service=\"r.test\",scope=\"repository:team/app:pull\"\r\n",
                        "{}")};
    });
    auto config = config_for(registry);
    config.allow_local = {tokens.host()};
    config.registries["r.test"].username = "user";
    config.registries["r.test"].password = "pa:ss";
    Client client(config);
    std::vector<Outcome> outcomes(8);
    for (auto& outcome : outcomes) {
      ++client.running;
      UpstreamTarget target{"r.test", "team/app", "/v2/team/app/blobs/x", "", "", std::nullopt};
      asio::co_spawn(client.context,
                     Client::run(client.driver.get(target), outcome, client.running),
                     asio::detached);
    }
    client.wait();
    for (const auto& outcome : outcomes) CHECK(outcome.body == "blob");
    REQUIRE(tokens.requests().size() == 1);
    CHECK(tokens.requests()[0].starts_with(
        "GET /token?service=r.test&scope=repository%3Ateam%2Fapp%3Apull HTTP/1.1"));
    const auto asked = registry.requests().size();
    CHECK(client.get("r.test").body == "blob");
    CHECK(registry.requests().size() == asked + 1);  // the token is sent unasked now
    CHECK(tokens.requests().size() == 1);
  }

  TEST_CASE("a 401 that cannot be answered comes back with its challenge") {
    const ScriptedServer tokens(
        [](const std::string&) -> Reply { return {http_text("403 Forbidden", "", "{}")}; });
    std::string challenge;
    const ScriptedServer registry([&](const std::string&) -> Reply {
      return {http_text("401 Unauthorized", "WWW-Authenticate: " + challenge + "\r\n", "")};
    });
    auto config = config_for(registry);
    config.allow_local = {tokens.host()};
    Client client(config);
    challenge = "Basic realm=\"x\"";
    auto outcome = client.get("r.test");
    CHECK(outcome.head.status == 401);
    CHECK(outcome.head.www_authenticate == challenge);
    CHECK(error_of_status(outcome.head.status) == MirrorError::no_credential);
    challenge = "Bearer realm=\"" + tokens.origin() + "\",service=\"s\"";
    CHECK(client.get("r.test").head.status == 401);
    CHECK(has(tokens.requests().at(0), "scope=repository%3Ateam%2Fapp%3Apull"));
    challenge = "Bearer realm=\"http://169.254.169.254/\",service=\"s\"";
    CHECK(client.get("r.test").error == MirrorError::refused_address);
    challenge = "\"nonsense";
    CHECK(client.get("r.test").head.status == 401);
  }

  TEST_CASE(
      "basic credentials come from docker's config and are remembered; a token is renewed when "
      "refused") {
    const auto path = std::filesystem::temp_directory_path() /
                      ("waggle-docker-" + std::to_string(::getpid()) + ".json");
    std::atomic<int> generation = 1;
    const ScriptedServer tokens([&](const std::string&) -> Reply {
      return {
          http_text("200 OK", "", R"({"access_token":"t)" + std::to_string(generation) + R"("})")};
    });
    const ScriptedServer registry([&](const std::string& request) -> Reply {
      if (has(request, "/basic")) {
        if (has(request, "Authorization: " + basic_authorization("user", "pa:ss")))
          return {http_text("200 OK", "", "in")};
        return {http_text("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")};
      }
      if (has(request, "Bearer t" + std::to_string(generation) + "\r\n"))
        return {http_text("200 OK", "", "in")};
      return {http_text("401 Unauthorized",
                        "WWW-Authenticate: Bearer realm=\"" + tokens.origin() + "\"\r\n", "")};
    });
    std::ofstream(path) << R"({"auths":{"r.test":{"auth":"dXNlcjpwYTpzcw=="}}})";
    auto config = config_for(registry);
    config.allow_local = {tokens.host()};
    config.docker_config = path.string();
    Client client(config);
    std::filesystem::remove(path);
    CHECK(client.get("r.test", "/basic").body == "in");
    CHECK(client.get("r.test", "/basic").body == "in");
    CHECK(registry.requests().size() == 3);
    CHECK(client.get("r.test", "/token").body == "in");
    generation = 2;
    CHECK(client.get("r.test", "/token").body == "in");
    CHECK(tokens.requests().size() == 2);
  }

  TEST_CASE("a short body, a stall, garbage and a refused port are told apart") {
    const ScriptedServer server([](const std::string& request) -> Reply {
      if (has(request, "/short")) return {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true};
      if (has(request, "/short-chunk"))
        return {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", true};
      if (has(request, "/stall-body"))
        return {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false, true};
      if (has(request, "/stall-head")) return {"HTTP/1.1 200", false, true};
      if (has(request, "/trickle")) return {"HTTP/1.1 200 OK\r\n", false, false, "A: b\r\n"};
      if (has(request, "/close")) return {"", true};
      if (has(request, "/long-head")) {
        return {"HTTP/1.1 200 OK\r\nX: " + std::string(limits::upstream_header_bytes_max, 'x') +
                "\r\n\r\n"};
      }
      return {"garbage\r\n\r\n"};
    });
    auto config = config_for(server);
    config.idle_timeout = 200ms;
    Client client(config);
    auto outcome = client.get("r.test", "/short");
    CHECK(outcome.body == "abc");
    CHECK(outcome.body_error == MirrorError::short_body);
    CHECK(client.get("r.test", "/stall-body").body_error == MirrorError::timeout);
    CHECK(client.get("r.test", "/stall-head").error == MirrorError::timeout);
    CHECK(client.get("r.test", "/trickle").error == MirrorError::timeout);
    CHECK(client.get("r.test", "/close").error == MirrorError::protocol);
    CHECK(client.get("r.test", "/garbage").error == MirrorError::protocol);
    CHECK(client.get("r.test", "/long-head").error == MirrorError::protocol);
    CHECK(client.driver.stats().idle_connections == 0);
    config.registries["r.test"].endpoint = "http://127.0.0.1:1";
    client.driver.reconfigure(config);
    CHECK(client.get("r.test").error == MirrorError::connect_failed);
    CHECK(client.get(std::string(64, 'a') + ".test").error == MirrorError::resolve_failed);
  }

  TEST_CASE(
      "a body that falls silent is given up after the body's gap, however long the head may take") {
    const ScriptedServer server([](const std::string&) -> Reply {
      return {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", false, true};
    });
    auto config = config_for(server);
    config.idle_timeout = 60s;
    Client client(config);
    const auto began = std::chrono::steady_clock::now();
    const auto answer = client.get("r.test");
    CHECK(answer.body == "ab");
    CHECK(answer.body_error == MirrorError::timeout);
    CHECK(std::chrono::steady_clock::now() - began < limits::upstream_body_gap + 3s);
  }

  TEST_CASE("a reused connection that died meanwhile is replaced unnoticed") {
    const ScriptedServer server([](const std::string& request) -> Reply {
      return {http_text("200 OK", "", "x"), has(request, "/last")};
    });
    Client client(config_for(server));
    CHECK(client.get("r.test", "/last").body == "x");
    CHECK(client.get("r.test", "/last").body == "x");
    CHECK(client.get("r.test", "/last").body == "x");
    CHECK(server.requests().size() == 3);
  }

  TEST_CASE("cancel ends a waiting start and a waiting read") {
    const ScriptedServer server([](const std::string& request) -> Reply {
      if (has(request, "/body"))
        return {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false, true};
      return {"", false, true};
    });
    Client client(config_for(server));
    for (const char* path : {"/head", "/body"}) {
      CAPTURE(path);
      auto request = client.driver.get({"r.test", "app", path, "", "", std::nullopt});
      auto* handle = request.get();
      const auto before = server.requests().size();
      Outcome outcome;
      ++client.running;
      asio::co_spawn(client.context, Client::run(std::move(request), outcome, client.running),
                     asio::detached);
      while (server.requests().size() == before) client.context.run_one_for(10ms);
      while (path == std::string("/body") && outcome.body.empty()) client.context.run_one_for(10ms);
      handle->cancel();
      client.wait();
      CHECK((outcome.error ? outcome.error : outcome.body_error) == MirrorError::canceled);
    }
  }

  TEST_CASE("a target that could smuggle a header is malformed") {
    const ScriptedServer server(
        [](const std::string&) -> Reply { return {http_text("200 OK", "", "x")}; });
    Client client(config_for(server));
    CHECK(client.get("r.test", "/x y").error == MirrorError::malformed);
    CHECK(client.get("r.test", "/x\r\nA: b").error == MirrorError::malformed);
    CHECK(client.get("r.test", "x").error == MirrorError::malformed);
    UpstreamTarget target{"r.test", "app", "/x", "", "Bearer a\r\nB: c", std::nullopt};
    CHECK(client.fetch(client.driver.get(target)).error == MirrorError::malformed);
    CHECK(server.requests().empty());
  }

  TEST_CASE(
      "http origins go through a proxy with the absolute target, https ones through CONNECT") {
    const ScriptedServer proxy([](const std::string& request) -> Reply {
      if (request.starts_with("CONNECT"))
        return {"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", true};
      return {http_text("200 OK", "", "by proxy")};
    });
    UpstreamConfig config;
    config.registries["plain.test"].endpoint = "http://plain.test:5000";
    config.http_proxy = "http://user:pw@" + proxy.host();
    config.https_proxy = proxy.host();
    Client client(config);
    CHECK(client.get("plain.test", "/v2/").body == "by proxy");
    CHECK(client.get("tls.test", "/v2/").error == MirrorError::proxy_failed);
    CHECK(client.get("169.254.169.254", "/v2/").error == MirrorError::refused_address);
    const auto requests = proxy.requests();
    REQUIRE(requests.size() == 2);
    CHECK(requests[0].starts_with(
        "GET http://plain.test:5000/v2/ HTTP/1.1\r\nHost: plain.test:5000\r\n"));
    CHECK(has(requests[0], "Proxy-Authorization: " + basic_authorization("user", "pw")));
    CHECK(requests[1].starts_with("CONNECT tls.test:443 HTTP/1.1\r\nHost: tls.test:443\r\n"));
  }

  TEST_CASE("TLS: only a certificate of the right CA for the right name will do") {
    const auto directory =
        std::filesystem::temp_directory_path() / ("waggle-tls-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory);
    const auto make = [&](const std::string& name, const std::string& subject) {
      const auto base = (directory / name).string();
      const auto command =
          "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
          "/CN=" +
          name + " -addext subjectAltName=" + subject + " -keyout " + base + ".key -out " + base +
          ".pem 2>/dev/null";
      REQUIRE(std::system(command.c_str()) == 0);
      return base;
    };
    const auto good = make("good", "IP:127.0.0.1,DNS:localhost");
    const auto other = make("other", "DNS:elsewhere.test");
    const auto script = [](const std::string&) -> Reply {
      return {http_text("200 OK", "", std::string(300'000, 't'))};
    };
    const auto start = [&](const std::string& base) {
      auto tls = std::make_unique<ScriptedServer::Tls>();
      tls->certificate_file = base + ".pem";
      tls->key_file = base + ".key";
      return std::make_unique<ScriptedServer>(script, std::move(tls));
    };
    const auto server = start(good);
    const auto misnamed = start(other);
    const auto outcome_of = [&](const ScriptedServer& at, const std::string& host,
                                const std::string& ca, bool insecure) {
      UpstreamConfig config;
      config.registries["r.test"].endpoint = "https://" + host + ":" + std::to_string(at.port());
      config.registries["r.test"].ca_file = ca;
      config.registries["r.test"].insecure = insecure;
      Client client(config);
      const auto first = client.get("r.test");
      if (!first.error) {
        CHECK(client.get("r.test").body.size() == 300'000);
        CHECK(client.driver.stats().connects == 1);
      }
      return first.error ? first.error : first.body_error;
    };
    CHECK_FALSE(outcome_of(*server, "127.0.0.1", good + ".pem", false));
    CHECK_FALSE(outcome_of(*server, "localhost", good + ".pem", false));
    CHECK_FALSE(outcome_of(*server, "127.0.0.1", "", true));
    CHECK(outcome_of(*server, "127.0.0.1", "", false) == MirrorError::tls_failed);
    CHECK(outcome_of(*server, "127.0.0.1", other + ".pem", false) == MirrorError::tls_failed);
    CHECK(outcome_of(*misnamed, "127.0.0.1", other + ".pem", false) == MirrorError::tls_failed);
    CHECK(outcome_of(*server, "127.0.0.1", "/nonexistent", false) == MirrorError::tls_failed);
    std::filesystem::remove_all(directory);
  }

  TEST_CASE("a server that accepts and says nothing to TLS times out") {
    const ScriptedServer silent([](const std::string&) -> Reply { return {"", false, true}; });
    UpstreamConfig config;
    config.registries["r.test"].endpoint = "https://" + silent.host();
    config.connect_timeout = 200ms;
    Client client(config);
    CHECK(client.get("r.test").error == MirrorError::timeout);
  }
}
