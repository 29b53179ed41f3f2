// Endpoint mapping, trust stores, and idle connections by origin.
#include "mirror/upstream_pool_driver.hpp"

#include "base/limits.hpp"
#include "mirror/text.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

/// "https://host:5000", or host[:port] meaning https.
Result<Origin> parse_endpoint(std::string_view text) {
  const bool has_scheme = text.find("://") != std::string_view::npos;
  const auto url = Url::parse(has_scheme ? std::string(text) : "https://" + std::string(text));
  if (!url) return url.error();
  return url->origin;
}

std::string read_file(const std::string& path, std::uint64_t bytes_max) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 4096> piece{};
  while (text.size() <= bytes_max && (file.read(piece.data(), piece.size()) || file.gcount() > 0)) {
    text.append(piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  return text.size() > bytes_max ? std::string() : text;
}

}  // namespace

UpstreamRules::UpstreamRules(UpstreamConfig config_in, std::uint64_t generation_in)
    : config(std::move(config_in)), generation(generation_in) {
  std::vector<Origin> configured;
  for (const auto& [registry, settings] : config.registries) {
    if (settings.endpoint.empty()) continue;
    if (const auto origin = parse_endpoint(settings.endpoint)) {
      endpoints[canonical_registry(registry)] = *origin;
      configured.push_back(*origin);
    }
  }
  policy = HostPolicy(config.allow, config.allow_local, std::move(configured));
  if (auto parsed = ProxySettings::parse(config.https_proxy, config.http_proxy, config.no_proxy))
    proxies = *parsed;
  if (!config.docker_config.empty()) {
    const auto text = read_file(config.docker_config, limits::docker_config_bytes_max);
    if (auto parsed = DockerConfig::parse(text)) docker = std::move(*parsed);
  }
}

const RegistryConfig* UpstreamRules::find(std::string_view registry) const {
  const auto wanted = canonical_registry(registry);
  for (const auto& [name, settings] : config.registries) {
    if (canonical_registry(name) == wanted) return &settings;
  }
  return nullptr;
}

Result<Origin> UpstreamRules::origin_of(std::string_view registry) const {
  const auto name = HostPort::parse(registry);
  if (!name) return name.error();
  const auto canonical = canonical_registry(registry);
  Origin origin{true, name->host, name->port.value_or(443)};
  if (const auto mapped = endpoints.find(canonical); mapped != endpoints.end()) {
    origin = mapped->second;
  } else if (canonical == "docker.io") {
    origin.host = "registry-1.docker.io";
  }
  if (!policy.host_allowed(name->host, origin)) return MirrorError::refused_host;
  return origin;
}

Result<Url> UpstreamRules::mapped(Url url) const {
  if (!url.userinfo.empty()) return MirrorError::malformed;
  const std::string host = url.origin.host;
  const auto endpoint = endpoints.find(canonical_registry(url.origin.host_header()));
  if (endpoint != endpoints.end()) url.origin = endpoint->second;
  if (!policy.host_allowed(host, url.origin)) return MirrorError::refused_host;
  return url;
}

const RegistryConfig* UpstreamRules::find_endpoint(const Origin& origin) const {
  for (const auto& [name, endpoint] : endpoints) {
    if (endpoint == origin) return find(name);
  }
  return nullptr;
}

std::optional<Credential> UpstreamRules::credential(std::string_view registry,
                                                    std::string_view repository) const {
  const auto* settings = find(registry);
  if (settings != nullptr && !settings->username.empty()) {
    Credential credential;
    credential.username = settings->username;
    credential.password = settings->password;
    return credential;
  }
  return docker.find(registry, repository);
}

Result<std::shared_ptr<asio::ssl::context>> UpstreamRules::context(const std::string& ca_file) {
  auto& context = contexts[ca_file];
  if (context) return context;
  auto fresh = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  error_code error;
  fresh->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                         asio::ssl::context::no_tlsv1_1,
                     error);
  fresh->set_default_verify_paths(error);
  if (!ca_file.empty()) {
    fresh->load_verify_file(ca_file, error);
    if (error) return MirrorError::tls_failed;
  }
  context = std::move(fresh);
  return context;
}

UpstreamPool::UpstreamPool(const asio::any_io_executor& executor_in)
    : executor(executor_in), resolver(executor_in), sweep_timer_(executor_in) {}

UpstreamPool::Key UpstreamPool::key_of(const UpstreamRoute& route, const Origin& origin) {
  return {origin, route.ca_file, route.insecure};
}

std::shared_ptr<UpstreamConnection> UpstreamPool::take(const UpstreamRoute& route,
                                                       const Origin& origin) {
  const auto found = idle_.find(key_of(route, origin));
  if (found == idle_.end() || route.rules->generation != generation_) return nullptr;
  std::shared_ptr<UpstreamConnection> connection;
  while (!found->second.empty() && !connection) {
    connection = std::move(found->second.back().connection);
    found->second.pop_back();
    if (!connection->is_quiet()) connection.reset();
  }
  if (found->second.empty()) idle_.erase(found);
  return connection;
}

Result<ConnectOptions> UpstreamPool::options(const UpstreamRoute& route, const Origin& origin) {
  ConnectOptions options;
  options.origin = origin;
  options.proxy = route.rules->proxies.find(origin);
  if (origin.tls) {
    auto context = route.rules->context(route.ca_file);
    if (!context) return context.error();
    options.tls = *context;
  }
  options.verify = !(route.insecure && origin == route.origin);
  options.policy = &route.rules->policy;
  options.resolver = &resolver;
  options.connect_timeout = route.rules->config.connect_timeout;
  options.idle_timeout = route.rules->config.idle_timeout;
  return options;
}

void UpstreamPool::put(const UpstreamRoute& route, const Origin& origin,
                       std::shared_ptr<UpstreamConnection> connection) {
  if (!connection || !connection->reusable() || route.rules->generation != generation_) return;
  if (idle_count() >= limits::upstream_idle_max) return;
  auto& kept = idle_[key_of(route, origin)];
  if (kept.size() >= limits::upstream_idle_per_origin_max) return;
  kept.push_back({std::move(connection), std::chrono::steady_clock::now()});
  if (!sweeping_) wait_for_sweep();
}

void UpstreamPool::wait_for_sweep() {
  sweeping_ = true;
  sweep_timer_.expires_after(limits::upstream_idle_kept / 2);
  sweep_timer_.async_wait([weak = weak_from_this()](error_code error) {
    const auto self = weak.lock();
    if (!self) return;
    self->sweeping_ = false;
    if (!error) self->sweep();
  });
}

void UpstreamPool::sweep() {
  const auto oldest = std::chrono::steady_clock::now() - limits::upstream_idle_kept;
  for (auto& [key, kept] : idle_) {
    std::erase_if(kept, [&](const Idle& idle) {
      return idle.since < oldest || !idle.connection->is_quiet();
    });
  }
  std::erase_if(idle_, [](const auto& entry) { return entry.second.empty(); });
  if (!idle_.empty()) wait_for_sweep();
}

std::uint64_t UpstreamPool::start_generation() {
  clear();
  return ++generation_;
}

void UpstreamPool::clear() {
  idle_.clear();
  sweep_timer_.cancel();
}

std::size_t UpstreamPool::idle_count() const {
  std::size_t count = 0;
  for (const auto& [key, kept] : idle_) count += kept.size();
  return count;
}

}  // namespace waggle::mirror
