// The ops API: health, metrics and /api/v1, as a function from a request to a response. The node
// answers questions about itself through ApiSource; listeners and connections are the HTTP
// server's. Description: api/openapi.yaml.
#pragma once

#include "ops/doctor.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::ops {

struct MemberInfo {
  std::string id, name, zone, state, version;
  std::vector<std::string> addresses;
  std::uint64_t incarnation = 0;
  bool draining = false, is_self = false;
  bool compatible = true;         ///< shares a protocol version with this node
  std::vector<std::string> keys;  ///< of cluster keys that it opens, the first seals
};
/// One cluster key and how the live members, this node included, stand with it.
struct KeyInfo {
  std::string id, role;  ///< role: seals, opens, or unknown (only others hold it)
  std::size_t accepted_by = 0, sealed_with_by = 0;
  std::vector<std::string> not_accepted_by;  ///< names, at most names_listed_max of them
  std::size_t not_accepted_count = 0;
  std::size_t sessions = 0;  ///< transfer sessions of this node that were opened with it
};
/// An identity that two processes use.
struct CloneInfo {
  std::string id, name;
  std::string address;        ///< of the one that this node listens to, or its own
  std::string other_address;  ///< where the other one answered from
  std::string other_name;
  bool is_self = false;  ///< it is this node's identity
};
/// In lists of names that grow with the cluster.
inline constexpr std::size_t names_listed_max = 64;
struct BlobInfo {
  std::string digest;
  std::uint64_t size = 0;
  bool size_known = true;
  bool complete = false;
  std::uint64_t have_bytes = 0;
  std::vector<std::string> holders;  ///< names of live members that hold it, this node included
};
struct SwarmInfo {
  std::string digest, origin;
  std::optional<std::uint64_t> size;
  std::uint64_t have_bytes = 0;
  std::size_t peers = 0, readers = 0;
  bool proven = false;
};
struct StatusInfo {
  std::string version, id, name, zone, cluster;
  bool ready = false, draining = false;
  std::size_t members_alive = 0, members_suspect = 0, members_faulty = 0, members_left = 0;
  std::size_t members_incompatible =
      0;                              ///< live ones that share no protocol version with this node
  std::uint64_t cluster_version = 0;  ///< the highest protocol version all others speak
  std::map<std::string, std::size_t> protocol_versions;  ///< "min-max" -> live members
  std::size_t index_digests = 0, index_facts = 0, swarms = 0, sessions = 0;
  std::uint64_t state_hash = 0;  ///< of members and index, as this node has them
  std::uint64_t index_root = 0, cache_bytes = 0, cache_max_bytes = 0, disk_free_bytes = 0;
  double uptime_seconds = 0;
  std::vector<std::string> tainted;  ///< digests refuted here within the last 24 h
  std::vector<std::string> banned;   ///< names of members that this node deals with no more
  std::vector<KeyInfo> keys;
  std::vector<CloneInfo> clones;  ///< proven within the last 10 minutes
};

/// What the node can say of its own health; `waggle doctor` adds what only it can see.
struct DoctorReport {
  std::vector<Finding> findings;
  std::vector<std::string> listeners;  ///< host:port whose /livez must echo a nonce
  std::vector<std::string> mirrors;    ///< those of them that clients are pointed at
};

/// What came of re-reading the configuration.
struct ReloadResult {
  enum class Outcome : std::uint8_t {
    done,
    invalid,     ///< the configuration or a file it names is bad; nothing changed
    would_part,  ///< members would be cut off by the new keys; nothing changed
  } outcome = Outcome::done;
  std::string problem;                ///< unless done
  std::vector<std::string> warnings;  ///< when done
};

/// What the API asks the node.
class ApiSource {
 public:
  virtual ~ApiSource() = default;
  /// Ready: the index is ready and the node is not draining.
  [[nodiscard]] virtual bool ready() const = 0;
  [[nodiscard]] virtual StatusInfo status() = 0;
  [[nodiscard]] virtual std::vector<MemberInfo> members() = 0;
  /// Blobs of this node, complete and partial, ascending by digest.
  [[nodiscard]] virtual std::vector<BlobInfo> blobs() = 0;
  /// nullopt: nobody holds it and no part of it is here. @pre `digest` parses
  [[nodiscard]] virtual std::optional<BlobInfo> blob(std::string_view digest) = 0;
  [[nodiscard]] virtual std::vector<SwarmInfo> swarms() = 0;
  [[nodiscard]] virtual std::string metrics() = 0;
  /// The latest examination; the node makes one before it passes this question on.
  [[nodiscard]] virtual DoctorReport doctor() { return {}; }
  /// Starts draining; the process leaves within 10 s.
  virtual void drain() = 0;
  /// Re-reads what SIGHUP re-reads: all of it or nothing.
  /// @param force  also when the new cluster keys cut off live members
  [[nodiscard]] virtual ReloadResult reload(bool force) = 0;
};

struct ApiRequest {
  std::string_view method;
  std::string_view path;   ///< without the query
  std::string_view nonce;  ///< value of the query parameter "nonce", for /livez
  /// How far the caller is trusted, decided by the listener it came through.
  enum class Access : std::uint8_t { health, read, admin } access = Access::health;
  bool force = false;  ///< query parameter "force" is "true", for reload
};
struct ApiResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
};

/// @return 404 for unknown paths, 405 for the wrong method, 403 when the listener does not allow
/// it;
///         error bodies are {"error":{"code","message","hint"}}
[[nodiscard]] ApiResponse handle_api(const ApiRequest& request, ApiSource& source);

/// {"error":{"code","message","hint"}}
[[nodiscard]] std::string error_body(std::string_view code, std::string_view message,
                                     std::string_view hint);

}  // namespace waggle::ops
