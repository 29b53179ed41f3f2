// What all requests of one UpstreamDriver share: configuration, idle connections, trust, tokens.
// Private to it.
#pragma once

#include "mirror/docker_config.hpp"
#include "mirror/host_policy.hpp"
#include "mirror/name_resolver_driver.hpp"
#include "mirror/proxy.hpp"
#include "mirror/token_cache.hpp"
#include "mirror/upstream_connection_driver.hpp"
#include "mirror/upstream_driver.hpp"

#include <boost/asio/steady_timer.hpp>

#include <map>
#include <memory>
#include <tuple>

namespace waggle::mirror {

/// One configuration in force: requests keep theirs when it is replaced.
struct UpstreamRules {
  UpstreamConfig config;
  HostPolicy policy;
  ProxySettings proxies;
  DockerConfig docker;
  std::map<std::string, Origin> endpoints;  ///< by canonical registry name
  std::map<std::string, std::shared_ptr<boost::asio::ssl::context>> contexts;  ///< by CA file

  std::uint64_t generation;  ///< connections made under other rules are not reused

  UpstreamRules(UpstreamConfig config, std::uint64_t generation);
  /// The registry's section of the configuration; null when it has none.
  [[nodiscard]] const RegistryConfig* find(std::string_view registry) const;
  [[nodiscard]] Result<Origin> origin_of(std::string_view registry) const;
  /// `url` with its host mapped to the endpoint of the registry it names, if there is one.
  [[nodiscard]] Result<Url> mapped(Url url) const;
  /// The registry whose configured endpoint is `origin`; null when there is none.
  [[nodiscard]] const RegistryConfig* find_endpoint(const Origin& origin) const;
  [[nodiscard]] std::optional<Credential> credential(std::string_view registry,
                                                     std::string_view repository) const;
  /// MirrorError::tls_failed when the CA file cannot be read.
  [[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> context(
      const std::string& ca_file);
};

/// How one registry's requests are trusted and routed, redirects included.
struct UpstreamRoute {
  std::shared_ptr<UpstreamRules> rules;
  std::string registry;
  std::string repository;
  std::string host;  ///< as the caller named it, without the port
  Origin origin;
  std::string ca_file;
  bool insecure = false;
};

class UpstreamPool : public std::enable_shared_from_this<UpstreamPool> {
 public:
  explicit UpstreamPool(const boost::asio::any_io_executor& executor);

  /// An idle connection to `origin` that still lives; null when there is none.
  [[nodiscard]] std::shared_ptr<UpstreamConnection> take(const UpstreamRoute& route,
                                                         const Origin& origin);
  /// What a new connection to `origin` needs.
  [[nodiscard]] Result<ConnectOptions> options(const UpstreamRoute& route, const Origin& origin);
  /// Keeps the connection for the next request if it can be reused.
  void put(const UpstreamRoute& route, const Origin& origin,
           std::shared_ptr<UpstreamConnection> connection);
  /// Closes all idle connections; those of older rules are not kept any more. Returns the new
  /// rules' generation.
  std::uint64_t start_generation();
  /// Closes all idle connections.
  void clear();
  [[nodiscard]] std::size_t idle_count() const;

  boost::asio::any_io_executor executor;
  NameResolver resolver;
  UpstreamDriver::Stats stats;

 private:
  using Key = std::tuple<Origin, std::string, bool>;  ///< origin, CA file, insecure
  struct Idle {
    std::shared_ptr<UpstreamConnection> connection;
    std::chrono::steady_clock::time_point since;
  };
  [[nodiscard]] static Key key_of(const UpstreamRoute& route, const Origin& origin);
  void sweep();
  void wait_for_sweep();

  std::map<Key, std::vector<Idle>> idle_;
  std::uint64_t generation_ = 0;
  boost::asio::steady_timer sweep_timer_;
  bool sweeping_ = false;
};

}  // namespace waggle::mirror
