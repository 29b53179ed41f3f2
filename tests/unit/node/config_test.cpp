// The configuration: defaults, every kind of value, errors with place and suggestion, the
// environment.
#include "node/config.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using namespace waggle::node;
using namespace std::chrono_literals;

namespace {

/// The first error's text, or "ok".
std::string outcome(std::string_view yaml,
                    const std::map<std::string, std::string>& environment = {}) {
  const ConfigResult result = parse_config(yaml, "w.yaml", environment);
  return result.errors.empty() ? "ok" : result.errors.front().to_string();
}

Config parsed(std::string_view yaml, const std::map<std::string, std::string>& environment = {}) {
  const ConfigResult result = parse_config(yaml, "w.yaml", environment);
  REQUIRE(result.errors.empty());
  return result.config;
}

}  // namespace

TEST_SUITE("node/config") {
  TEST_CASE("an empty file gives the defaults of the contract") {
    const Config config = parsed("");
    CHECK(config.cluster.bind == std::vector<std::string>{"[::]:7947"});
    CHECK(config.mirror.bind == std::vector<std::string>{"127.0.0.1:30000"});
    CHECK(config.ops.bind == std::vector<std::string>{"0.0.0.0:30004"});
    CHECK(config.mirror.first_byte == 8s);
    CHECK(config.cache.max_bytes.is_percent);
    CHECK(config.cache.max_bytes.percent == 20);
    CHECK(config.upstream.in_flight_per_host == 64);
  }

  TEST_CASE("every key of the contract is accepted") {
    const char* all = R"(
node:     { name: "a", data_dir: /tmp/x, zone: "z", labels: { rack: r1 } }
cluster:
  name: waggle
  key_files: [/etc/waggle/cluster.key]
  bind: ["[::]:7947"]
  advertise: []
  join: ["10.0.0.1:7947", "dns:waggle-peers.waggle.svc:7947", "k8s:ns/service", "multicast:239.255.79.47:7947"]
  broadcast: auto
  packet_bytes: 1400
  accept: [warm, rm, pause]
transfer: { max_upload: 0, max_download: 0, threads: 0, dscp: 0, early_bytes: members }
upstream:
  allow: ["*"]
  allow_local: []
  in_flight_per_host: 64
  connect_timeout: 3s
  idle_timeout: 10s
  docker_config: ""
  registries: { "docker.io": { endpoint: "https://registry-1.docker.io", username: u, password_file: /p, ca_file: /c, insecure: false } }
mirror:
  bind: ["127.0.0.1:30000"]
  allow: []
  on_miss: fetch
  access: open
  default_registry: docker.io
  tags: upstream
  first_byte: 8s
  prefetch: { chunk: 1MiB, workers: 50 }
  lazy_reads: peers
  share_unproven: true
huggingface: { bind: ["127.0.0.1:30002"], access: open, endpoint: "https://huggingface.co", token_file: "" }
objects:  { bind: ["127.0.0.1:30006"], access: open, access_keys_file: "", tls_cert: "", tls_key: "", replicas: 2 }
ops:      { bind: ["0.0.0.0:30004"], expose: health, socket: /run/waggle/waggle.sock }
cache:
  max_bytes: "20%"
  min_free: "20%"
  containerd: { content_store: /var/lib/containerd/io.containerd.content.v1.content }
  scrub: 7d
kubernetes: { events: auto, namespace: "", pod: "", node: "" }
log:      { level: info, modules: {}, format: text }
)";
    const ConfigResult result = parse_config(all, "w.yaml", {});
    for (const auto& error : result.errors) MESSAGE(error.to_string());
    CHECK(result.errors.empty());
    const Config& config = result.config;
    CHECK(config.upstream.registries.at("docker.io").username == "u");
    CHECK(config.cluster.join.size() == 4);
    const auto warned = [&](const std::string& key) {
      return std::any_of(result.warnings.begin(), result.warnings.end(),
                         [&](const ConfigNote& note) { return note.key == key; });
    };
    CHECK(warned("huggingface.endpoint"));
    CHECK(warned("cluster.join"));
    CHECK_FALSE(warned("mirror.bind"));
    CHECK_FALSE(warned("upstream.in_flight_per_host"));
  }

  TEST_CASE("an unknown key names its place and the nearest known one") {
    CHECK(outcome("mirror:\n  bindd: x\n") ==
          "w.yaml:2: mirror.bindd: unknown key; did you mean 'mirror.bind'?");
    CHECK(outcome("miror: {}\n") == "w.yaml:1: miror: unknown key; did you mean 'mirror'?");
    CHECK(
        outcome("upstream: { registries: { a: { endpont: x } } }").find("unknown key 'endpont'") !=
        std::string::npos);
  }

  TEST_CASE("bad values say what was expected, with line and key") {
    CHECK(outcome("mirror:\n  first_byte: soon\n") ==
          "w.yaml:2: mirror.first_byte: 'soon' is not a duration such as 250ms, 10s or 7d");
    CHECK(outcome("mirror:\n\n  on_miss: maybe\n") ==
          "w.yaml:3: mirror.on_miss: 'maybe' is not one of fetch | not_found");
    CHECK(outcome("cache: { max_bytes: 101% }").find("is not a size such as 50GB") !=
          std::string::npos);
    for (const char* count : {"0", "4097"}) {
      CHECK(outcome("upstream: { in_flight_per_host: " + std::string(count) + " }")
                .find("must be 1 to 4096") != std::string::npos);
    }
    CHECK(outcome("cluster: [1]").find("expected a map") != std::string::npos);
    CHECK(outcome("a: [").find("not valid YAML") != std::string::npos);
    CHECK(outcome("cluster: { key_files: [a, b, c] }").find("needs 1 or 2 files") !=
          std::string::npos);
    CHECK(outcome("cluster: { join: [\"nowhere\"] }").find("is not host:port") !=
          std::string::npos);
  }

  TEST_CASE("scalars stand for lists of one") {
    CHECK(parsed("mirror: { bind: \"127.0.0.1:1\" }").mirror.bind ==
          std::vector<std::string>{"127.0.0.1:1"});
  }

  TEST_CASE("the environment overrides the file: flow values, comma lists, unknown names refused") {
    const Config config =
        parsed("node: { name: file }\n",
               {{"WAGGLE_NODE_NAME", "env"},
                {"WAGGLE_CLUSTER_BIND", "10.0.0.1:1,10.0.0.2:1"},
                {"WAGGLE_CLUSTER_JOIN", "[\"10.0.0.3:1\"]"},
                {"WAGGLE_UPSTREAM_REGISTRIES", "{ r: { endpoint: \"http://127.0.0.1:5000\" } }"},
                {"PATH", "/bin"}});
    CHECK(config.node.name == "env");
    CHECK(config.cluster.bind == std::vector<std::string>{"10.0.0.1:1", "10.0.0.2:1"});
    CHECK(config.cluster.join == std::vector<std::string>{"10.0.0.3:1"});
    CHECK(config.upstream.registries.at("r").endpoint == "http://127.0.0.1:5000");
    CHECK(outcome("", {{"WAGGLE_NODE_NAM", "x"}}) ==
          "env WAGGLE_NODE_NAM: WAGGLE_NODE_NAM: unknown key; did you mean 'WAGGLE_NODE_NAME'?");
  }

  TEST_CASE("sizes and durations") {
    CHECK(parse_size("64MiB") == 64 * limits::MiB);
    CHECK(parse_size("2GB") == 2'000'000'000U);
    CHECK(parse_size("1.5GiB") == 3 * limits::GiB / 2);
    CHECK_FALSE(parse_size("64XB").has_value());
    CHECK_FALSE(parse_size("-1").has_value());
    CHECK_FALSE(parse_size("").has_value());
    CHECK_FALSE(parse_size("99999999TB").has_value());
    CHECK(parse_duration("250ms") == 250ms);
    CHECK(parse_duration("7d") == 168h);
    CHECK(parse_duration("0") == 0s);
    CHECK_FALSE(parse_duration("10").has_value());
    CHECK(parse_size_or_percent("25%")->resolve(1000) == 250);
  }
}
