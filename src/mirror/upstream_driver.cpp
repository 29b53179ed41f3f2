// One request: origin, credential, redirects, head, body.
#include "mirror/upstream_driver.hpp"

#include "base/limits.hpp"
#include "mirror/callback_gate_driver.hpp"
#include "mirror/text.hpp"
#include "mirror/upstream_auth_driver.hpp"
#include "mirror/upstream_body.hpp"
#include "mirror/upstream_pauses.hpp"
#include "mirror/upstream_pool_driver.hpp"

#include <cstdlib>
#include <ctime>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;

constexpr std::uint64_t drained_bytes_max =
    64 * limits::KiB;  ///< of an answer nobody wants; beyond: closed

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string environment(const char* lower, const char* upper) {
  for (const char* name : {lower, upper}) {
    if (name == nullptr) continue;
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return {};
}

std::optional<Duration> retry_after(const ResponseHead& head) {
  const auto text = head.header("Retry-After");
  if (text.empty()) return std::nullopt;
  unsigned long long seconds = 0;
  if (parse_decimal(trim(text), seconds))
    return std::chrono::seconds(std::min<unsigned long long>(seconds, 86'400));
  std::tm date{};
  if (::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date) == nullptr)
    return std::chrono::seconds(60);
  const auto left = ::timegm(&date) - std::time(nullptr);
  return std::chrono::seconds(std::clamp<std::int64_t>(left, 0, 86'400));
}

TimePoint core_now() { return TimePoint(std::chrono::steady_clock::now().time_since_epoch()); }

UpstreamHead to_upstream_head(const ResponseHead& head) {
  UpstreamHead result;
  result.status = head.status;
  result.content_length = head.content_length;
  result.content_range = parse_content_range(head.header("Content-Range"));
  result.content_type = head.header("Content-Type");
  result.docker_content_digest = head.header("Docker-Content-Digest");
  result.etag = head.header("ETag");
  result.link = head.header("Link");
  result.date = head.header("Date");
  if (head.status == 401) result.www_authenticate = head.header("WWW-Authenticate");
  result.retry_after = retry_after(head);
  return result;
}

/// Header text from outside must not end a header.
bool is_header_value(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

/// Of one driver.
struct HostPauses {
  explicit HostPauses(std::uint64_t seed) : table(seed) {}
  UpstreamPauses table;
  UpstreamDriver::PauseListener listener;
};

std::string shared_name(const std::string& origin, std::uint64_t credential) {
  return origin + " #" + std::to_string(credential);
}

/// The state of one request; its coroutines keep it alive when the caller drops its handle.
struct RequestState {
  std::shared_ptr<UpstreamPool> pool;
  std::shared_ptr<UpstreamAuth> auth;
  std::shared_ptr<UpstreamRules> rules;
  std::shared_ptr<HostPauses> pauses;
  UpstreamTarget target;
  bool head_method = false;

  UpstreamRoute route;
  Url url;
  std::string authorization;
  bool may_authenticate = true;  ///< until the first redirect to another origin
  bool answered_challenge = false;
  bool asked_again = false;  ///< for a fresh redirect
  RateFloor rate;
  std::shared_ptr<UpstreamConnection> connection;
  std::function<void()> cancel_wait;
  bool canceled = false;
  std::string refused;

  void cancel() {
    if (canceled) return;
    canceled = true;
    if (connection) connection->cancel();
    if (const auto wait = std::exchange(cancel_wait, nullptr)) wait();
  }

  Result<void> prepare() { return target.url.empty() ? prepare_registry() : prepare_url(); }

  Result<void> prepare_registry() {
    if (!is_header_value(target.accept) || !is_header_value(target.authorization) ||
        !target.path_and_query.starts_with('/') ||
        target.path_and_query.find_first_of(" \r\n") != std::string::npos) {
      return MirrorError::malformed;
    }
    const auto origin = rules->origin_of(target.registry);
    if (!origin) return origin.error();
    route.rules = rules;
    route.registry = canonical_registry(target.registry);
    route.repository = target.repository;
    route.host = HostPort::parse(target.registry)->host;
    route.origin = *origin;
    trust(rules->find(target.registry));
    url.origin = *origin;
    url.target = target.path_and_query;
    authorization = target.authorization.empty() ? auth->remembered(route) : target.authorization;
    may_authenticate = true;
    return boost::system::in_place_value;
  }

  Result<void> prepare_url() {
    if (!is_header_value(target.authorization)) return MirrorError::malformed;
    const auto named = Url::parse(target.url);
    if (!named) return MirrorError::malformed;
    auto mapped = rules->mapped(*named);
    if (!mapped) {
      if (mapped.error() == MirrorError::refused_host) refused = named->origin.authority();
      return mapped.error();
    }
    url = *std::move(mapped);
    route.rules = rules;
    route.host = named->origin.host;
    route.origin = url.origin;
    trust(rules->find_endpoint(url.origin));
    authorization = target.authorization;
    may_authenticate = false;
    return boost::system::in_place_value;
  }

  void trust(const RegistryConfig* settings) {
    if (settings == nullptr) return;
    route.ca_file = settings->ca_file;
    route.insecure = settings->insecure;
  }

  /// What the cluster may know of who asks: the hash of a user name. nullopt: nothing.
  std::optional<std::uint64_t> shared_credential() const {
    if (!target.authorization.empty()) return std::nullopt;
    const auto credential = rules->credential(route.registry, route.repository);
    if (!credential) return 0;
    if (!credential->identity_token.empty()) return std::nullopt;
    return std::max<std::uint64_t>(
        1, load_le<std::uint64_t>(sha256_of(as_bytes("user " + credential->username)).bytes()));
  }

  /// Whom a pause is kept for: the host, and who asks it.
  std::string who() const {
    const std::string origin = url.origin.to_string();
    if (const auto shared = shared_credential()) return shared_name(origin, *shared);
    const auto& own = target.authorization;
    const auto account = own.empty()
                             ? account_of(rules->credential(route.registry, route.repository))
                             : sha256_of(as_bytes(own)).hex();
    return origin + " " + account;
  }

  void note_pause(const std::string& who, std::optional<Duration> wait) const {
    pauses->table.pause(core_now(), who, wait);
    const auto shared = shared_credential();
    if (!shared || url.origin != route.origin || !pauses->listener) return;
    const auto left = pauses->table.remaining(core_now(), who);
    if (left) pauses->listener(url.origin.to_string(), *shared, *left);
  }

  std::string text(const UpstreamConnection& via) const {
    std::string text =
        request_text(head_method ? "HEAD" : "GET", url, via, rules->config.user_agent);
    if (!target.accept.empty()) text += "Accept: " + target.accept + "\r\n";
    if (target.range) text += "Range: " + target.range->to_string() + "\r\n";
    if (!authorization.empty()) text += "Authorization: " + authorization + "\r\n";
    return text + "\r\n";
  }

  static asio::awaitable<Result<UpstreamHead>> start(std::shared_ptr<RequestState> self) {
    if (auto prepared = self->prepare(); !prepared) co_return prepared.error();
    for (std::size_t redirects = 0;;) {
      const std::string who = self->who();
      if (const auto left = self->pauses->table.remaining(core_now(), who)) {
        UpstreamHead pause;
        pause.status = 429;
        pause.retry_after = *left;
        pause.paused = true;
        co_return pause;
      }
      auto head = co_await send(self);
      if (!head) co_return head.error();
      const auto wait = retry_after(*head);
      if (head->status == 429 || (head->status == 503 && wait)) self->note_pause(who, wait);
      const auto location = head->header("Location");
      if (is_redirect(head->status) && !location.empty()) {
        if (++redirects > limits::upstream_redirects_max) co_return MirrorError::too_many_redirects;
        if (auto followed = self->follow(location); !followed) co_return followed.error();
        ++self->pool->stats.redirects;
        continue;
      }
      const bool refused = head->status == 401 || head->status == 403;
      if (refused && redirects > 0 && !self->asked_again && self->target.url.empty()) {
        self->asked_again = true;
        redirects = 0;
        if (auto prepared = self->prepare(); !prepared) co_return prepared.error();
        continue;
      }
      const bool challenged = head->status == 401 && self->may_authenticate &&
                              !self->answered_challenge && self->target.authorization.empty();
      if (!challenged) {
        auto answer = to_upstream_head(*head);
        answer.redirected = redirects > 0;
        co_return answer;
      }
      const auto answered = co_await answer_challenge(self, head->header("WWW-Authenticate"));
      if (self->canceled) co_return MirrorError::canceled;
      if (!answered)
        co_return answered.error() == MirrorError::no_credential
            ? to_upstream_head(*head)
            : Result<UpstreamHead>(answered.error());
    }
  }

  /// Sends to `url`; of answers that are not final the small body is read away, so that the
  /// connection can be kept.
  static asio::awaitable<Result<ResponseHead>> send(std::shared_ptr<RequestState> self) {
    UpstreamSend sending;
    sending.route = self->route;
    sending.origin = self->url.origin;
    sending.head_method = self->head_method;
    sending.text_for = [&state = *self](const UpstreamConnection& via) { return state.text(via); };
    sending.on_connection = [&state = *self](std::shared_ptr<UpstreamConnection> connection) {
      state.connection = std::move(connection);
      return !state.canceled;
    };
    auto answer = co_await send_upstream(self->pool, std::move(sending));
    if (self->canceled) co_return MirrorError::canceled;
    if (!answer) {
      if (answer.error() == MirrorError::refused_address)
        self->refused = self->url.origin.authority();
      co_return answer.error();
    }
    if (is_redirect(answer->head.status) || answer->head.status == 401) co_await drain(self);
    co_return std::move(answer->head);
  }

  static asio::awaitable<void> drain(std::shared_ptr<RequestState> self) {
    Bytes scratch(4096);
    for (std::uint64_t total = 0; total < drained_bytes_max;) {
      const auto read = co_await self->connection->read_some(scratch);
      if (!read) co_return;
      if (*read == 0) break;
      total += *read;
    }
    self->pool->put(self->route, self->url.origin, self->connection);
  }

  Result<void> follow(const std::string& location) {
    auto next = url.resolve(location);
    if (!next) return MirrorError::protocol;
    if (!rules->policy.next_allowed(route.host, route.origin, next->origin)) {
      refused = next->origin.authority();
      return MirrorError::refused_host;
    }
    if (next->origin != url.origin) {
      authorization.clear();
      may_authenticate = false;
    }
    url = std::move(*next);
    return boost::system::in_place_value;
  }

  static asio::awaitable<Result<void>> answer_challenge(std::shared_ptr<RequestState> self,
                                                        std::string challenge) {
    self->answered_challenge = true;
    if (!self->authorization.empty()) self->auth->forget(self->route);
    CallbackGate<std::string> gate(self->pool->executor);
    self->cancel_wait = gate.canceler();
    self->auth->async_answer(self->route, challenge, gate.callback());
    // The token server gets the time a request gets.
    const auto& config = self->rules->config;
    const auto patience = 3 * config.connect_timeout + config.idle_timeout;
    auto answer = co_await gate.wait(std::chrono::steady_clock::now() + patience);
    self->cancel_wait = nullptr;
    if (!answer) {
      if (answer.error() == MirrorError::refused_address ||
          answer.error() == MirrorError::refused_host)
        self->refused = "the token server of " + self->url.origin.authority();
      co_return answer.error();
    }
    self->authorization = std::move(*answer);
    co_return boost::system::in_place_value;
  }

  static asio::awaitable<Result<std::size_t>> read_some(std::shared_ptr<RequestState> self,
                                                        MutableByteView buffer) {
    if (self->canceled) co_return MirrorError::canceled;
    if (!self->connection) co_return 0;
    const auto connection = self->connection;
    const TimePoint asked = core_now();
    const auto read = co_await connection->read_some(buffer);
    if (self->canceled) co_return MirrorError::canceled;
    if (read && *read > 0 && self->rate.too_slow(core_now() - asked, *read)) {
      connection->cancel();
      co_return MirrorError::timeout;
    }
    if (read && connection->reusable()) {
      self->pool->put(self->route, self->url.origin, connection);
      self->connection.reset();
    }
    co_return read;
  }
};

class RequestHandle final : public UpstreamRequest {
 public:
  explicit RequestHandle(std::shared_ptr<RequestState> state) : state_(std::move(state)) {}
  ~RequestHandle() override {
    // An answer without a body, or read to its end, leaves a connection worth keeping.
    if (state_->connection && state_->connection->reusable() && !state_->canceled) {
      state_->pool->put(state_->route, state_->url.origin, std::move(state_->connection));
      state_->connection = nullptr;
    }
    state_->cancel();
  }
  asio::awaitable<Result<UpstreamHead>> start() override { return RequestState::start(state_); }
  asio::awaitable<Result<std::size_t>> read_some(MutableByteView buffer) override {
    return RequestState::read_some(state_, buffer);
  }
  void cancel() override { state_->cancel(); }
  [[nodiscard]] std::string refused() const override { return state_->refused; }

 private:
  std::shared_ptr<RequestState> state_;
};

}  // namespace

const char* const manifest_accept =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json, */*";

void read_proxy_environment(UpstreamConfig& config) {
  config.https_proxy = environment("https_proxy", "HTTPS_PROXY");
  config.http_proxy =
      environment("http_proxy", nullptr);  // upper case may come from a CGI request's header
  config.no_proxy = environment("no_proxy", "NO_PROXY");
}

std::string blob_path(std::string_view repository, const Digest& digest) {
  return "/v2/" + std::string(repository) + "/blobs/" + digest.to_string();
}

std::string manifest_path(std::string_view repository, std::string_view reference) {
  return "/v2/" + std::string(repository) + "/manifests/" + std::string(reference);
}

struct UpstreamDriver::Impl {
  explicit Impl(const asio::any_io_executor& executor, UpstreamConfig config)
      : pool(std::make_shared<UpstreamPool>(executor)),
        auth(std::make_shared<UpstreamAuth>(pool)),
        rules(std::make_shared<UpstreamRules>(std::move(config), pool->start_generation())),
        pauses(std::make_shared<HostPauses>(
            static_cast<std::uint64_t>(core_now().time_since_epoch().count()))) {}

  std::unique_ptr<UpstreamRequest> request(UpstreamTarget target, bool head_method) const {
    auto state = std::make_shared<RequestState>();
    state->pool = pool;
    state->auth = auth;
    state->rules = rules;
    state->pauses = pauses;
    state->target = std::move(target);
    state->head_method = head_method;
    return std::make_unique<RequestHandle>(std::move(state));
  }

  std::shared_ptr<UpstreamPool> pool;
  std::shared_ptr<UpstreamAuth> auth;
  std::shared_ptr<UpstreamRules> rules;
  std::shared_ptr<HostPauses> pauses;
};

UpstreamDriver::UpstreamDriver(asio::any_io_executor executor, UpstreamConfig config)
    : impl_(std::make_shared<Impl>(executor, std::move(config))) {}

UpstreamDriver::~UpstreamDriver() {
  impl_->pauses->listener = nullptr;
  impl_->pool->clear();
}

Result<std::string> UpstreamDriver::origin_of(std::string_view registry) const {
  const auto origin = impl_->rules->origin_of(registry);
  if (!origin) return origin.error();
  return origin->to_string();
}

Result<std::string> UpstreamDriver::origin_of_url(std::string_view url) const {
  auto parsed = Url::parse(url);
  if (!parsed) return parsed.error();
  const auto mapped = impl_->rules->mapped(*std::move(parsed));
  if (!mapped) return mapped.error();
  return mapped->origin.to_string();
}

std::unique_ptr<UpstreamRequest> UpstreamDriver::get(UpstreamTarget target) {
  return impl_->request(std::move(target), false);
}

std::unique_ptr<UpstreamRequest> UpstreamDriver::head(UpstreamTarget target) {
  return impl_->request(std::move(target), true);
}

void UpstreamDriver::on_pause(PauseListener listener) {
  impl_->pauses->listener = std::move(listener);
}

void UpstreamDriver::pause(const std::string& origin, std::uint64_t credential,
                           Duration remaining) {
  impl_->pauses->table.pause(core_now(), shared_name(origin, credential), remaining);
}

void UpstreamDriver::reconfigure(UpstreamConfig config) {
  impl_->rules =
      std::make_shared<UpstreamRules>(std::move(config), impl_->pool->start_generation());
  impl_->auth->clear();
}

UpstreamDriver::Stats UpstreamDriver::stats() const {
  auto stats = impl_->pool->stats;
  stats.idle_connections = impl_->pool->idle_count();
  return stats;
}

}  // namespace waggle::mirror
