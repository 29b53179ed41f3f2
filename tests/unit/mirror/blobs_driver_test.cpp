// /blobs/ over real sockets, with content in memory.
#include "mirror/blobs_driver.hpp"

#include "loopback.hpp"
#include "memory_source.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;
using namespace waggle::mirror::test;
using namespace std::chrono_literals;

namespace {

struct Node {
  explicit Node(Duration first_byte = 5s) {
    BlobsConfig config;
    config.first_byte = first_byte;
    config.on_served = [this](const ServedRequest& request) {
      const std::lock_guard lock(mutex);
      targets.emplace_back(request.target);
    };
    handler.emplace(source, std::move(config));
    loop.run([&] {
      server.emplace(loop.context.get_executor(), HttpServerConfig{},
                     [this](HttpExchange& exchange) { return handler->handle(exchange); });
      endpoint = server->listen(Endpoint::v4(127, 0, 0, 1, 0)).value();
    });
  }
  ~Node() {
    loop.run([&] { server.reset(); });
  }
  Digest add(std::string bytes, MemoryBlob blob = {}) {
    const auto digest = sha256_of(as_bytes(bytes));
    blob.bytes = std::move(bytes);
    loop.run([&] { source.blobs[digest] = std::move(blob); });
    return digest;
  }
  void add_url(const std::string& url, MemoryBlob blob) {
    loop.run([&] { source.urls[url] = std::move(blob); });
  }

  MemorySource source;
  std::mutex mutex;
  std::vector<std::string> targets;
  std::optional<BlobsHandler> handler;
  std::optional<HttpServer> server;
  Endpoint endpoint;
  LoopThread loop;  // last: its thread ends before what it uses
};

std::string target_of(const Digest& digest) {
  return "/blobs/https://store.test/sha256/" + digest.hex() + "/data?sig=secret&se=1";
}

std::string range(std::string_view value) { return "Range: " + std::string(value) + "\r\n"; }

}  // namespace

TEST_SUITE("mirror/blobs_driver") {
  TEST_CASE("a range is a 206 with exactly its bytes and the real total, never a 200") {
    Node node;
    const auto body = pattern(700'001);
    const auto digest = node.add(body);
    TestClient client(node.endpoint);
    struct Wanted {
      const char* range;
      std::size_t first, size;
      const char* content_range;
    };
    for (const auto& wanted :
         {Wanted{"bytes=0-0", 0, 1, "bytes 0-0/700001"},
          Wanted{"bytes=0-", 0, 700'001, "bytes 0-700000/700001"},
          Wanted{"bytes=4096-8191", 4096, 4096, "bytes 4096-8191/700001"},
          Wanted{"bytes=699000-900000", 699'000, 1001, "bytes 699000-700000/700001"},
          Wanted{"bytes=-512", 699'489, 512, "bytes 699489-700000/700001"},
          Wanted{"bytes=100000-599999", 100'000, 500'000, "bytes 100000-599999/700001"}}) {
      CAPTURE(wanted.range);
      const auto response = client.get(target_of(digest), range(wanted.range));
      CHECK(response.status == 206);
      CHECK(response.header("Content-Range") == wanted.content_range);
      CHECK(response.header("Content-Length") == std::to_string(wanted.size));
      CHECK((response.body == body.substr(wanted.first, wanted.size)));
      CHECK(response.header("X-Waggle-Source") == "peer");
    }
    CHECK(node.source.last_request.from_url->url ==
          "https://store.test/sha256/" + digest.hex() + "/data?sig=secret&se=1");
    CHECK(node.source.last_range == "bytes=100000-599999");
  }

  TEST_CASE("a range that cannot be answered so is an error, and never a 200 either") {
    Node node;
    const auto digest = node.add(pattern(1000));
    const auto empty = node.add("");
    TestClient client(node.endpoint);
    for (const char* header : {"bytes=1000-", "bytes=5-4", "bytes=0-1,5-6", "lines=0-1", "junk"}) {
      CAPTURE(header);
      CHECK(client.get(target_of(digest), range(header)).status == 416);
    }
    const auto beyond = client.get(target_of(digest), range("bytes=1000-"));
    CHECK(beyond.header("Content-Range") == "bytes */1000");
    CHECK(client.get(target_of(empty), range("bytes=0-0")).header("Content-Range") == "bytes */0");
    const auto other =
        client.get(target_of(digest), range("bytes=0-1") + "If-Range: \"other\"\r\n");
    CHECK(other.status == 412);
    const auto same = client.get(
        target_of(digest), range("bytes=0-1") + "If-Range: \"" + digest.to_string() + "\"\r\n");
    CHECK(same.status == 206);
  }

  TEST_CASE("without a range the whole content comes, and HEAD tells its size") {
    Node node;
    const auto body = pattern(300'000);
    const auto digest = node.add(body);
    TestClient client(node.endpoint);
    const auto whole = client.get(target_of(digest));
    CHECK(whole.status == 200);
    CHECK((whole.body == body));
    CHECK(whole.header("ETag") == '"' + digest.to_string() + '"');
    CHECK(node.source.last_range.empty());
    const int opened = node.source.readers_opened;
    const auto head = client.head(target_of(digest), range("bytes=0-0"));
    CHECK(head.status == 200);
    CHECK(head.header("Content-Length") == "300000");
    CHECK(node.source.readers_opened == opened);
  }

  TEST_CASE("a URL without a digest is passed through, its size asked with one byte") {
    Node node;
    const std::string url = "https://store.test/layer?sig=secret";
    node.add_url(url, {.bytes = pattern(5000), .source = Source::upstream});
    TestClient client(node.endpoint);
    const auto part = client.get("/blobs/" + url, range("bytes=10-19") + "Authorization: B x\r\n");
    CHECK(part.status == 206);
    CHECK(part.header("Content-Range") == "bytes 10-19/5000");
    CHECK((part.body == pattern(5000).substr(10, 10)));
    CHECK(part.header("ETag").empty());
    CHECK(node.source.last_url.url == url);
    CHECK(node.source.last_url.authorization == "B x");
    CHECK(node.source.last_range == "bytes=10-19");
    CHECK(client.head("/blobs/" + url).header("Content-Length") == "5000");
    CHECK(node.source.last_range == "bytes=0-0");
  }

  TEST_CASE("upstream's refusal of a signature goes on to the client; trouble is a 503") {
    Node node;
    TestClient client(node.endpoint);
    const auto expect = [&](MirrorError error, unsigned status, const char* code) {
      const auto digest =
          node.add("x" + std::to_string(static_cast<int>(error)), {.open_error = error});
      const auto response = client.get(target_of(digest), range("bytes=0-0"));
      CAPTURE(response.body);
      CHECK(response.status == status);
      CHECK(response.body.find(code) != std::string::npos);
      CHECK(response.body.find("secret") == std::string::npos);
    };
    expect(MirrorError::no_credential, 403, "DENIED_UPSTREAM");
    expect(MirrorError::not_found, 404, "NOT_FOUND_UPSTREAM");
    expect(MirrorError::unavailable, 503, "UNAVAILABLE");
    expect(MirrorError::timeout, 503, "UNAVAILABLE");
    expect(MirrorError::connect_failed, 503, "UNAVAILABLE");
    expect(MirrorError::refused_host, 403, "'store.test:443' is not in upstream.allow");
    expect(MirrorError::refused_address, 403, "upstream.allow_local");
    CHECK(client.get("/blobs/ftp://store.test/x").status == 400);
    CHECK(client.get("/blobs/https://user:pw@store.test/x").status == 400);
    client.send("DELETE /blobs/https://store.test/x HTTP/1.1\r\nHost: n\r\n\r\n");
    CHECK(client.read_response().status == 405);
  }

  TEST_CASE("nothing hangs: 503 at the deadline, or what upstream said before it; a cut later") {
    Node node(200ms);
    const auto stuck = node.add(pattern(1000), {.open_hangs = true});
    const auto denied =
        node.add(pattern(1001), {.open_hangs = true, .upstream_said = MirrorError::no_credential});
    const auto half = node.add(pattern(2000), {.available = 500});
    TestClient client(node.endpoint);
    CHECK(client.get(target_of(stuck), range("bytes=0-9")).status == 503);
    CHECK(client.get(target_of(denied), range("bytes=0-9")).status == 403);
    const auto cut = client.get(target_of(half), range("bytes=0-999"));
    CHECK(cut.status == 206);
    CHECK_FALSE(cut.complete);
    CHECK(cut.body.size() == 500);
  }

  TEST_CASE("a draining node says 503, and no signature reaches the log") {
    Node node;
    const auto digest = node.add(pattern(10));
    node.loop.run([&] { node.source.is_draining = true; });
    TestClient client(node.endpoint);
    CHECK(client.get(target_of(digest)).status == 503);
    const auto give_up = std::chrono::steady_clock::now() + 5s;
    const auto count = [&] {
      node.loop.run([] {});
      const std::lock_guard lock(node.mutex);
      return node.targets.size();
    };
    while (count() == 0 && std::chrono::steady_clock::now() < give_up) continue;
    const std::lock_guard lock(node.mutex);
    REQUIRE(node.targets.size() == 1);
    CHECK(node.targets[0] == "/blobs/https://store.test/sha256/" + digest.hex() + "/data");
  }
}
