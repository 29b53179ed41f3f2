// The daemon's configuration: every key of the contract, its default, and where it was set. YAML
// text in, values out; reading files and the environment is the caller's.
#pragma once

#include "base/limits.hpp"
#include "base/time.hpp"
#include "node/config_value.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::node {

struct RegistryConfig {
  std::string endpoint;
  std::string username;
  std::string password_file;
  std::string ca_file;
  bool insecure = false;
};

/// Defaults are the member initialisers. Each key's meaning: deploy/waggle.yaml and
/// docs/operations.md.
struct Config {
  struct Node {
    std::string name;
    std::string data_dir = "/var/lib/waggle";
    std::string zone;
    std::map<std::string, std::string> labels;
  } node;
  struct Cluster {
    std::string name = "waggle";
    std::vector<std::string> key_files = {"/etc/waggle/cluster.key"};
    std::vector<std::string> bind = {"[::]:7947"};
    std::vector<std::string> advertise;
    std::vector<std::string> join;
    std::string broadcast = "auto";
    std::uint64_t packet_bytes = limits::datagram_bytes_max;
    std::vector<std::string> accept = {"warm", "rm", "pause"};
  } cluster;
  struct Transfer {
    std::uint64_t max_upload = 0;
    std::uint64_t max_download = 0;
    std::uint64_t threads = 0;
    std::uint64_t dscp = 0;
    std::string early_bytes = "members";
    bool relay = true;
  } transfer;
  struct Upstream {
    std::vector<std::string> allow = {"*"};
    std::vector<std::string> allow_local;
    std::uint64_t in_flight_per_host = 64;
    Duration connect_timeout = std::chrono::seconds(3);
    Duration idle_timeout = std::chrono::seconds(10);
    std::string docker_config;
    std::map<std::string, RegistryConfig> registries;
  } upstream;
  struct Mirror {
    std::vector<std::string> bind = {"127.0.0.1:30000"};
    std::vector<std::string> allow;
    std::string on_miss = "fetch";
    std::string access = "open";
    std::string default_registry = "docker.io";
    std::string tags = "upstream";
    Duration first_byte = std::chrono::seconds(8);
    std::uint64_t prefetch_chunk = limits::MiB;
    std::uint64_t prefetch_workers = 50;
    std::string lazy_reads = "peers";
    bool share_unproven = true;
  } mirror;
  struct HuggingFace {
    std::vector<std::string> bind = {"127.0.0.1:30002"};
    std::string access = "open";
    std::string endpoint = "https://huggingface.co";
    std::string token_file;
  } huggingface;
  struct Objects {
    std::vector<std::string> bind = {"127.0.0.1:30006"};
    std::string access = "open";
    std::string access_keys_file;
    std::string tls_cert;
    std::string tls_key;
    std::uint64_t replicas = 2;
  } objects;
  struct Ops {
    std::vector<std::string> bind = {"0.0.0.0:30004"};
    std::string expose = "health";
    std::string socket = "/run/waggle/waggle.sock";
  } ops;
  struct Cache {
    SizeOrPercent max_bytes{.bytes = 0, .percent = 20, .is_percent = true};
    SizeOrPercent min_free{.bytes = 0, .percent = 20, .is_percent = true};
    std::string containerd_content_store = "/var/lib/containerd/io.containerd.content.v1.content";
    Duration scrub = std::chrono::hours(24 * 7);
  } cache;
  struct Kubernetes {
    std::string events = "auto";
    std::string namespace_name;
    std::string pod;
    std::string node;
  } kubernetes;
  struct Log {
    std::string level = "info";
    std::map<std::string, std::string> modules;
    std::string format = "text";
  } log;
};

/// One thing wrong (or worth a warning) with where and what to do.
struct ConfigNote {
  std::string place;  ///< "file:line" or "env WAGGLE_..."
  std::string key;    ///< dotted path
  std::string message;
  [[nodiscard]] std::string to_string() const { return place + ": " + key + ": " + message; }
};

struct ConfigResult {
  Config config;
  std::vector<ConfigNote> errors;
  std::vector<ConfigNote> warnings;
  std::map<std::string, std::string> places;  ///< dotted path -> where it was set
  /// Where `key` was set, or "default".
  [[nodiscard]] std::string place_of(const std::string& key) const;
};

/// @param file_name    for messages
/// @param environment  names and values; those not starting with WAGGLE_ are ignored, and
/// WAGGLE_API, which is the CLI's Cost: microseconds per key. Never throws.
[[nodiscard]] ConfigResult parse_config(std::string_view yaml, const std::string& file_name,
                                        const std::map<std::string, std::string>& environment);

}  // namespace waggle::node
