// The OCI API over real sockets, with content in memory.
#include "mirror/oci_driver.hpp"

#include "loopback.hpp"
#include "memory_source.hpp"

#include <doctest/doctest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>

using namespace waggle;
using namespace waggle::mirror;
using namespace waggle::mirror::test;
using namespace std::chrono_literals;

namespace {

/// A node's OCI listener with content in memory.
struct Node {
  explicit Node(Duration first_byte = 5s) {
    OciConfig config;
    config.first_byte = first_byte;
    config.on_served = [this](const ServedRequest& request) {
      const std::lock_guard lock(mutex);
      statuses.push_back(request.status);
      cuts += request.cut ? 1 : 0;
      body_bytes += request.body_bytes;
    };
    handler.emplace(source, std::move(config));
    HttpServerConfig server_config;
    server_config.error_body = &OciHandler::error_body;
    loop.run([&] {
      server.emplace(loop.context.get_executor(), server_config,
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
  template <typename Condition>
  bool wait_until(Condition condition) {
    const auto give_up = std::chrono::steady_clock::now() + 5s;
    while (!condition() && std::chrono::steady_clock::now() < give_up) loop.run([] {});
    return condition();
  }

  MemorySource source;
  std::mutex mutex;
  std::vector<unsigned> statuses;
  int cuts = 0;
  std::uint64_t body_bytes = 0;
  std::optional<OciHandler> handler;
  std::optional<HttpServer> server;
  Endpoint endpoint;
  LoopThread loop;  // last: its thread ends before what it uses
};

std::string blob_target(const Digest& digest) {
  return "/v2/team/app/blobs/" + digest.to_string() + "?ns=r.test";
}

}  // namespace

TEST_SUITE("mirror/oci_driver") {
  TEST_CASE("a blob is answered whole, with its headers, over one connection") {
    Node node;
    const auto body = pattern(700'001);
    const auto digest = node.add(body);
    TestClient client(node.endpoint);
    for (int i = 0; i < 2; ++i) {
      const auto response = client.get(blob_target(digest), "X-Request-Id: abc-1\r\n");
      CHECK(response.status == 200);
      CHECK((response.body == body));
      CHECK(response.header("Content-Type") == "application/octet-stream");
      CHECK(response.header("Docker-Content-Digest") == digest.to_string());
      CHECK(response.header("Accept-Ranges") == "bytes");
      CHECK(response.header("X-Waggle-Source") == "peer");
      CHECK(response.header("X-Request-Id") == "abc-1");
      CHECK(response.header("Content-Encoding").empty());
    }
    CHECK(node.source.last_request.registry == "r.test");
    CHECK(node.source.last_request.repository == "team/app");
    CHECK(node.wait_until([&] { return node.source.readers_alive == 0; }));
    CHECK(node.wait_until([&] {
      const std::lock_guard lock(node.mutex);
      return node.body_bytes == 2 * body.size();
    }));
  }

  TEST_CASE("HEAD tells the size and opens nothing") {
    Node node;
    const auto digest = node.add(pattern(1234));
    TestClient client(node.endpoint);
    const auto response = client.head(blob_target(digest));
    CHECK(response.status == 200);
    CHECK(response.header("Content-Length") == "1234");
    CHECK(node.source.readers_opened == 0);
    CHECK(client.get("/v2/").status == 200);  // nothing is left of the first answer
  }

  TEST_CASE("ranges: closed, open, suffix, clamped, unsatisfiable, several") {
    Node node;
    const auto body = pattern(4000);
    const auto digest = node.add(body);
    TestClient client(node.endpoint);
    const auto get = [&](const std::string& range) {
      return client.get(blob_target(digest), "Range: " + range + "\r\n");
    };
    auto response = get("bytes=500-1499");
    CHECK(response.status == 206);
    CHECK((response.body == body.substr(500, 1000)));
    CHECK(response.header("Content-Range") == "bytes 500-1499/4000");
    CHECK(response.header("Content-Length") == "1000");
    CHECK(node.source.last_range == "bytes=500-1499");
    response = get("bytes=500-");
    CHECK((response.body == body.substr(500)));
    response = get("bytes=-500");
    CHECK(response.header("Content-Range") == "bytes 3500-3999/4000");
    response = get("bytes=2000-5000");
    CHECK(response.header("Content-Range") == "bytes 2000-3999/4000");
    response = get("bytes=5000-10000");
    CHECK(response.status == 416);
    CHECK(response.header("Content-Range") == "bytes */4000");
    CHECK(get("bytes=0-0,5-6").status == 200);
    CHECK(get("bytes=500-0").status == 200);
  }

  TEST_CASE("If-Range heeds a range only for the same digest") {
    Node node;
    const auto digest = node.add(pattern(100));
    TestClient client(node.endpoint);
    CHECK(client
              .get(blob_target(digest),
                   "Range: bytes=1-2\r\nIf-Range: \"" + digest.to_string() + "\"\r\n")
              .status == 206);
    CHECK(client.get(blob_target(digest), "Range: bytes=1-2\r\nIf-Range: \"other\"\r\n").status ==
          200);
  }

  TEST_CASE("an empty blob is a 200, even to bytes=0-") {
    Node node;
    const auto digest = node.add("");
    TestClient client(node.endpoint);
    const auto response = client.get(blob_target(digest), "Range: bytes=0-\r\n");
    CHECK(response.status == 200);
    CHECK(response.header("Content-Length") == "0");
    CHECK(client.get("/v2/").status == 200);
  }

  TEST_CASE("a complete file goes out with sendfile, whole and in ranges") {
    Node node;
    const auto body = pattern(3'000'000);
    MemoryBlob blob;
    blob.source = Source::local;
    blob.descriptor = ::memfd_create("blob", MFD_CLOEXEC);
    REQUIRE(::write(blob.descriptor, body.data(), body.size()) ==
            static_cast<ssize_t>(body.size()));
    const auto descriptor = blob.descriptor;
    const auto digest = node.add(body, blob);
    TestClient client(node.endpoint);
    auto response = client.get(blob_target(digest));
    CHECK((response.body == body));
    CHECK(response.header("X-Waggle-Source") == "local");
    response = client.get(blob_target(digest), "Range: bytes=1000000-2999998\r\n");
    CHECK(response.status == 206);
    CHECK((response.body == body.substr(1'000'000, 1'999'999)));
    CHECK(client.get("/v2/").status == 200);
    ::close(descriptor);
  }

  TEST_CASE("a file that grows goes out with sendfile as far as it may be given out") {
    Node node(200ms);
    const auto body = pattern(600'000);
    MemoryBlob whole;
    whole.growing_descriptor = ::memfd_create("blob", MFD_CLOEXEC);
    REQUIRE(::write(whole.growing_descriptor, body.data(), body.size()) ==
            static_cast<ssize_t>(body.size()));
    const int descriptor = whole.growing_descriptor;
    whole.read_bytes_max = 70'001;
    const auto digest = node.add(body, whole);
    {
      TestClient client(node.endpoint);
      const auto all = client.get(blob_target(digest));
      CHECK(all.status == 200);
      CHECK((all.body == body));
      const auto part = client.get(blob_target(digest), "Range: bytes=1000-500000\r\n");
      CHECK(part.status == 206);
      CHECK((part.body == body.substr(1000, 499'001)));
    }
    MemoryBlob stalls = whole;
    stalls.available = 300'000;
    const auto stalling = node.add(body + "y", stalls);
    MemoryBlob fails = whole;
    fails.fails_at = 300'000;
    const auto failing = node.add(body + "x", fails);
    for (const auto& ends : {stalling, failing}) {
      TestClient client(node.endpoint);
      const auto response = client.get(blob_target(ends));
      CHECK(response.status == 200);
      CHECK_FALSE(response.complete);
      CHECK((response.body == body.substr(0, 300'000)));
    }
    MemoryBlob never = whole;
    never.fails_at = 0;
    TestClient client(node.endpoint);
    CHECK(client.get(blob_target(node.add(body + "z", never))).status == 404);
    ::close(descriptor);
  }

  TEST_CASE("manifests by digest and tag carry their media type") {
    Node node;
    const std::string manifest = R"({"schemaVersion":2,"manifests":[]})";
    const auto digest = node.add(manifest);
    node.loop.run([&] {
      node.source.tags["docker.io/library/app:v1"] = {
          digest, manifest.size(), "application/vnd.oci.image.index.v1+json", Source::upstream};
      node.source.tags["docker.io/library/app:v2"] = {digest, manifest.size(), "",
                                                      Source::upstream};
    });
    TestClient client(node.endpoint);
    for (const std::string& reference :
         {digest.to_string(), std::string("v1"), std::string("v2")}) {
      CAPTURE(reference);
      const auto head = client.head("/v2/library/app/manifests/" + reference);
      CHECK(head.status == 200);
      CHECK(head.header("Content-Type") == "application/vnd.oci.image.index.v1+json");
      CHECK(head.header("Content-Length") == std::to_string(manifest.size()));
      CHECK(head.header("Docker-Content-Digest") == digest.to_string());
      const auto get = client.get("/v2/library/app/manifests/" + reference);
      CHECK(get.body == manifest);
      CHECK(get.header("Content-Type") == "application/vnd.oci.image.index.v1+json");
    }
    const auto part = client.get("/v2/library/app/manifests/v1", "Range: bytes=0-\r\n");
    CHECK(part.status == 206);
    CHECK(part.body == manifest);
    CHECK(client.get("/v2/library/app/manifests/none").status == 404);
  }

  TEST_CASE("a manifest beyond the limit is a 404") {
    Node node;
    const auto digest = node.add(std::string(limits::manifest_bytes_max + 1, ' '));
    TestClient client(node.endpoint);
    const auto response = client.get("/v2/app/manifests/" + digest.to_string());
    CHECK(response.status == 404);
    CHECK(response.body.find("MANIFEST_UNKNOWN") != std::string::npos);
  }

  TEST_CASE("errors speak the distribution spec's codes") {
    Node node;
    TestClient client(node.endpoint);
    const auto unknown = client.get(blob_target(sha256_of(as_bytes("unknown"))));
    CHECK(unknown.status == 404);
    CHECK(unknown.body.find("\"BLOB_UNKNOWN\"") != std::string::npos);
    CHECK(unknown.header("Content-Type") == "application/json");
    CHECK_FALSE(unknown.header("X-Request-Id").empty());
    CHECK(client.get("/v2/app/blobs/sha256:xyz").body.find("DIGEST_INVALID") != std::string::npos);
    CHECK(client.get("/v2/App/manifests/v1").status == 400);
    CHECK(client.get("/other").status == 404);
    client.send("DELETE /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n");
    const auto refused = client.read_response();
    CHECK(refused.status == 405);
    CHECK(refused.header("Allow") == "GET, HEAD");
    CHECK(refused.body.find("UNSUPPORTED") != std::string::npos);
    CHECK(client.get("/v2/").status == 200);
  }

  TEST_CASE("a node that is not ready says 404 at once, but answers the ping") {
    Node node;
    const auto digest = node.add("x");
    node.loop.run([&] { node.source.is_ready = false; });
    TestClient client(node.endpoint);
    CHECK(client.get(blob_target(digest)).status == 404);
    CHECK(client.get("/v2/app/tags/list").status == 404);
    CHECK(client.get("/v2/").status == 200);
    CHECK(node.source.readers_opened == 0);
  }

  TEST_CASE("whatever hangs before the first byte is a 404 at the deadline") {
    Node node(200ms);
    MemoryBlob hangs;
    hangs.open_hangs = true;
    const auto never_opens = node.add("never opens", hangs);
    MemoryBlob silent;
    silent.available = 0;
    const auto never_reads = node.add("never reads", silent);
    TestClient client(node.endpoint);
    for (const auto& digest : {never_opens, never_reads}) {
      const auto response = client.get(blob_target(digest));
      CHECK(response.status == 404);
      CHECK(response.complete);
    }
    CHECK(client.head(blob_target(never_opens)).status == 404);
    CHECK(node.source.last_request.size_only);
    CHECK(client.get("/v2/").status == 200);
    CHECK(node.wait_until([&] { return node.source.readers_alive == 0; }));
  }

  TEST_CASE("what hangs or fails behind the first byte is cut") {
    Node node(200ms);
    const auto body = pattern(600'000);
    MemoryBlob stalls;
    stalls.available = 300'000;
    const auto stalling = node.add(body, stalls);
    MemoryBlob fails;
    fails.fails_at = 300'000;
    const auto failing = node.add(body + "x", fails);
    for (const auto& digest : {stalling, failing}) {
      TestClient client(node.endpoint);
      const auto response = client.get(blob_target(digest));
      CHECK(response.status == 200);
      CHECK_FALSE(response.complete);
      CHECK((response.body == body.substr(0, 300'000)));
    }
    CHECK(node.wait_until([&] {
      const std::lock_guard lock(node.mutex);
      return node.cuts == 2;
    }));
  }

  TEST_CASE(
      "a client that leaves takes its reader with it, while nothing flows and while everything "
      "does") {
    Node node(60s);
    MemoryBlob silent;
    silent.available = 0;
    const auto waiting = node.add("never", silent);
    TestClient first(node.endpoint);
    first.send("GET " + blob_target(waiting) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(node.wait_until([&] { return node.source.readers_alive == 1; }));
    first.close();
    CHECK(node.wait_until([&] { return node.source.readers_alive == 0; }));

    const auto big = node.add(pattern(16'000'000));
    TestClient second(node.endpoint);
    second.send("GET " + blob_target(big) + " HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\n\r\n");
    CHECK(second.read_exactly(100'000).size() == 100'000);
    second.close();
    CHECK(node.wait_until([&] { return node.source.readers_alive == 0; }));
    std::size_t connections = 1;
    CHECK(node.wait_until([&] {
      node.loop.run([&] { connections = node.server->connection_count(); });
      return connections == 0;
    }));
  }

  TEST_CASE("a source that gives one byte at a time is read to its end") {
    Node node;
    MemoryBlob slow;
    slow.read_bytes_max = 1;
    const auto body = pattern(2000);
    const auto digest = node.add(body, slow);
    TestClient client(node.endpoint);
    CHECK((client.get(blob_target(digest)).body == body));
  }

  TEST_CASE("tags and referrers pass through, failures become 404") {
    Node node;
    TestClient client(node.endpoint);
    CHECK(client.get("/v2/app/tags/list?ns=r.test").status == 404);
    node.loop.run(
        [&] { node.source.forward = ForwardResponse{429, "text/plain", "", "slow down"}; });
    CHECK(client.get("/v2/app/tags/list?ns=r.test").status == 404);
    node.loop.run([&] {
      node.source.forward = ForwardResponse{200, "application/json",
                                            "</v2/app/tags/list?last=b>; rel=\"next\"", "{}"};
    });
    const auto response = client.get("/v2/app/tags/list?ns=r.test&n=1");
    CHECK(response.status == 200);
    CHECK(response.body == "{}");
    CHECK(response.header("Link") == "</v2/app/tags/list?last=b>; rel=\"next\"");
    CHECK(node.source.last_forward == "r.test/v2/app/tags/list?n=1");
  }
}
