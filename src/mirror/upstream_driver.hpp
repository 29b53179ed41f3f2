// Requests to upstream registries: TLS, proxies, redirects, credentials, connection reuse and the
// rules about which addresses may be talked to. Whether to retry, and how many bytes to want, is
// the caller's business.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "mirror/range.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace waggle::mirror {

/// upstream.registries of the configuration.
struct RegistryConfig {
  std::string endpoint;  ///< "https://registry-1.docker.io", "http://127.0.0.1:5000"; empty:
                         ///< https://<registry>
  std::string username;
  std::string password;
  std::string ca_file;  ///< PEM; trusted beside the system's in requests to this registry and where
                        ///< it redirects to
  bool insecure = false;  ///< no certificate check at the endpoint itself
};

struct UpstreamConfig {
  std::map<std::string, RegistryConfig> registries;  ///< by registry name as in `ns`
  std::string docker_config;                         ///< path of a docker config.json; empty: none
  Duration connect_timeout = std::chrono::seconds(3);  ///< each of: DNS, TCP, proxy, TLS
  Duration idle_timeout = std::chrono::seconds(10);    ///< until the head is complete; then between
                                                       ///< two reads, limits::upstream_body_gap at
                                                       ///< most
  std::vector<std::string> allow = {"*"};              ///< host globs
  std::vector<std::string> allow_local;                ///< `host[:port]` globs
  std::string https_proxy;  ///< "http://[user:password@]host:port", used for https origins
  std::string http_proxy;   ///< the same for http origins
  std::string no_proxy;     ///< as in NO_PROXY
  std::string user_agent = "waggle/" WAGGLE_VERSION;
};

/// Fills https_proxy, http_proxy and no_proxy from the environment (either case; HTTP_PROXY only in
/// lower case).
void read_proxy_environment(UpstreamConfig& config);

struct UpstreamTarget {
  std::string registry;        ///< as in `ns`
  std::string repository;      ///< for the token's scope
  std::string path_and_query;  ///< "/v2/library/busybox/blobs/sha256:...", see the builders below
  std::string accept;          ///< empty: none sent
  std::string authorization;   ///< the caller's own, sent instead of ours; empty: ours
  std::optional<RangeSpec> range;
  /// An absolute URL instead of registry, repository and path: asked with `authorization` or
  /// without any, never with a credential of this node.
  std::string url;
};
[[nodiscard]] std::string blob_path(std::string_view repository, const Digest& digest);
/// @param reference  a tag or a digest
[[nodiscard]] std::string manifest_path(std::string_view repository, std::string_view reference);
/// The Accept value for manifests: docker v2 and OCI, single and list.
extern const char* const manifest_accept;

/// Head of the final answer, whatever its status (see error_of_status()).
struct UpstreamHead {
  unsigned status = 0;
  std::optional<std::uint64_t> content_length;
  std::optional<ContentRange> content_range;
  std::string content_type;
  std::string docker_content_digest;
  std::string etag;
  std::string link;
  std::string date;                     ///< the server's clock, as HTTP writes it
  std::string www_authenticate;         ///< of a 401 that our credentials could not answer
  std::optional<Duration> retry_after;  ///< 429 and 503; an unreadable one counts as 60 s
  bool redirected = false;              ///< somebody else than the registry answered
  bool paused = false;  ///< a 429 of our own: the host asked for a pause, nothing was sent
};

/// One request. Contract: start() once, then read_some() until it returns 0; one operation at a
/// time.
class UpstreamRequest {
 public:
  /// Cancels. A connection whose body was read to its end goes back to the pool.
  virtual ~UpstreamRequest() = default;

  /// Connects (or reuses), sends, follows redirects, authenticates, and waits for the head of the
  /// final answer. When a redirect's target says 401 or 403 (its signature has expired) the
  /// registry is asked once more. A host that said 429, or 503 with Retry-After, is not asked
  /// until its pause ends (UpstreamHead::paused).
  virtual boost::asio::awaitable<Result<UpstreamHead>> start() = 0;
  /// Body bytes as they arrive; 0 = the body is complete. MirrorError::short_body when the other
  /// side ended early, timeout when it fell silent or trickles (RateFloor).
  virtual boost::asio::awaitable<Result<std::size_t>> read_some(MutableByteView buffer) = 0;
  /// Ends the running operation with MirrorError::canceled; safe to call at any time on the
  /// executor's thread.
  virtual void cancel() = 0;
  /// After refused_host or refused_address: what was refused, as host:port. Empty otherwise.
  [[nodiscard]] virtual std::string refused() const = 0;
};

/// Contract: all calls on the executor's one thread; its context must accept work from other
/// threads (DNS runs on its own) and must outlive the driver and its requests.
class UpstreamDriver {
 public:
  UpstreamDriver(boost::asio::any_io_executor executor, UpstreamConfig config);
  ~UpstreamDriver();
  UpstreamDriver(const UpstreamDriver&) = delete;
  UpstreamDriver& operator=(const UpstreamDriver&) = delete;

  /// "scheme://host:port" after endpoint mapping; part of a cold swarm's key. docker.io and names
  /// with a scheme-less endpoint are handled. Fails with refused_host, or malformed for text that
  /// is no host[:port].
  [[nodiscard]] Result<std::string> origin_of(std::string_view registry) const;

  /// The same for an absolute URL: where its request goes. A host that names a registry of the
  /// configuration goes to that registry's endpoint. Errors as above; malformed also for a URL with
  /// a user name in it.
  [[nodiscard]] Result<std::string> origin_of_url(std::string_view url) const;

  [[nodiscard]] std::unique_ptr<UpstreamRequest> get(UpstreamTarget target);
  [[nodiscard]] std::unique_ptr<UpstreamRequest> head(UpstreamTarget target);

  /// Called when a registry asked for a pause under a credential that other nodes may use, too: not
  /// a caller's own, not a token. A redirect's target is no registry.
  /// @param credential  a hash of the user name; 0: none was used
  using PauseListener =
      std::function<void(const std::string& origin, std::uint64_t credential, Duration remaining)>;
  void on_pause(PauseListener listener);
  /// Another node was asked for one. A tenth at most is added, as to own ones.
  void pause(const std::string& origin, std::uint64_t credential, Duration remaining);

  /// Replaces credentials, endpoints and rules; running requests finish under the old ones.
  void reconfigure(UpstreamConfig config);

  struct Stats {
    std::uint64_t connects = 0;  ///< TCP connections made
    std::uint64_t requests = 0;  ///< HTTP requests sent, redirects and token requests included
    std::uint64_t redirects = 0;
    std::uint64_t token_requests = 0;
    std::size_t idle_connections = 0;
  };
  [[nodiscard]] Stats stats() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace waggle::mirror
