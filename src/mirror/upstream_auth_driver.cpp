// Docker's token protocol (distribution's docs/spec/auth) and Basic.
#include "mirror/upstream_auth_driver.hpp"

#include "base/limits.hpp"
#include "mirror/callback_gate_driver.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;

TimePoint core_now() { return TimePoint(std::chrono::steady_clock::now().time_since_epoch()); }

const AuthChallenge* find_scheme(const std::vector<AuthChallenge>& challenges,
                                 std::string_view scheme) {
  const auto found =
      std::find_if(challenges.begin(), challenges.end(),
                   [&](const AuthChallenge& challenge) { return challenge.scheme == scheme; });
  return found == challenges.end() ? nullptr : &*found;
}

/// The token server's URL and, for an identity token, the form to post.
std::string token_query(const TokenKey& key) {
  std::string query = "service=" + encode_component(key.service);
  if (!key.scope.empty()) query += "&scope=" + encode_component(key.scope);
  return query;
}

}  // namespace

std::string account_of(const std::optional<Credential>& credential) {
  if (!credential) return {};
  // Part of a key only: two credentials of one user must not share a token.
  return sha256_of(as_bytes(credential->username + "\n" + credential->password + "\n" +
                            credential->identity_token))
      .hex();
}

std::string request_text(std::string_view method, const Url& url,
                         const UpstreamConnection& connection, std::string_view user_agent) {
  const bool absolute = connection.wants_absolute_target();
  std::string text(method);
  text += " " + (absolute ? url.to_string() : url.target) +
          " HTTP/1.1\r\nHost: " + url.origin.host_header() +
          "\r\nUser-Agent: " + std::string(user_agent) + "\r\nAccept-Encoding: identity\r\n";
  if (absolute && !connection.proxy()->authorization.empty()) {
    text += "Proxy-Authorization: " + connection.proxy()->authorization + "\r\n";
  }
  return text;
}

asio::awaitable<Result<UpstreamAnswer>> send_upstream(std::shared_ptr<UpstreamPool> pool,
                                                      UpstreamSend send) {
  UpstreamAnswer answer;
  for (bool reuse = true;; reuse = false) {
    auto connection = reuse ? pool->take(send.route, send.origin) : nullptr;
    const bool reused = connection != nullptr;
    if (!reused) {
      auto options = pool->options(send.route, send.origin);
      if (!options) co_return options.error();
      connection = std::make_shared<UpstreamConnection>(pool->executor);
      if (!send.on_connection(connection)) co_return MirrorError::canceled;
      ++pool->stats.connects;
      const auto connected = co_await connection->connect(std::move(*options));
      if (!connected) co_return connected.error();
    } else if (!send.on_connection(connection)) {
      co_return MirrorError::canceled;
    }
    ++pool->stats.requests;
    auto head = co_await connection->exchange(send.text_for(*connection), send.head_method);
    const bool died_idle = reused && !head && connection->got_nothing() &&
                           head.error() != MirrorError::timeout &&
                           head.error() != MirrorError::canceled;
    if (died_idle) continue;  // the server closed it while idle; nothing was answered
    if (!head) co_return head.error();
    answer.head = std::move(*head);
    answer.connection = std::move(connection);
    co_return answer;
  }
}

UpstreamAuth::UpstreamAuth(std::shared_ptr<UpstreamPool> pool) : pool_(std::move(pool)) {}

std::string UpstreamAuth::remembered(const UpstreamRoute& route) const {
  const auto found = memory_.find({route.registry, route.repository});
  if (found == memory_.end()) return {};
  if (!found->second.basic.empty()) return found->second.basic;
  const auto token = tokens_.find(core_now(), found->second.token);
  return token ? "Bearer " + *token : std::string();
}

void UpstreamAuth::forget(const UpstreamRoute& route) {
  const auto found = memory_.find({route.registry, route.repository});
  if (found == memory_.end()) return;
  tokens_.forget(found->second.token);
  memory_.erase(found);
}

void UpstreamAuth::clear() {
  tokens_ = TokenCache();
  memory_.clear();
}

void UpstreamAuth::async_answer(const UpstreamRoute& route, const std::string& www_authenticate,
                                std::function<void(Result<std::string>)> done) {
  const auto challenges = parse_challenges(www_authenticate);
  if (!challenges) return done(MirrorError::no_credential);
  const auto credential = route.rules->credential(route.registry, route.repository);
  if (memory_.size() >= limits::upstream_tokens_max) memory_.clear();  // rebuilt by one 401 each
  auto& memory = memory_[{route.registry, route.repository}];
  memory = {};
  const auto* bearer = find_scheme(*challenges, "bearer");
  if (bearer == nullptr) {
    const bool usable =
        find_scheme(*challenges, "basic") != nullptr && credential && !credential->username.empty();
    if (!usable) return done(MirrorError::no_credential);
    memory.basic = basic_authorization(credential->username, credential->password);
    return done(memory.basic);
  }
  TokenKey key{std::string(bearer->parameter("realm")), std::string(bearer->parameter("service")),
               std::string(bearer->parameter("scope")), account_of(credential)};
  if (key.scope.empty()) key.scope = "repository:" + route.repository + ":pull";
  memory.token = key;
  if (const auto token = tokens_.find(core_now(), key)) return done("Bearer " + *token);
  auto& waiters = waiting_[key];
  waiters.push_back(std::move(done));
  if (waiters.size() > 1) return;
  asio::co_spawn(pool_->executor, buy(shared_from_this(), {route, key, credential}),
                 asio::detached);
}

asio::awaitable<void> UpstreamAuth::buy(std::shared_ptr<UpstreamAuth> self, Purchase purchase) {
  const TokenKey key = purchase.key;
  const auto response = co_await ask_token_server(self->pool_, std::move(purchase));
  Result<std::string> result = MirrorError::no_credential;
  if (response) {
    self->tokens_.put(core_now(), key, response->token, response->expires_in);
    result = "Bearer " + response->token;
  } else {
    result = response.error();
  }
  const auto waiters = self->waiting_.extract(key);
  if (waiters.empty()) co_return;
  for (const auto& done : waiters.mapped()) done(result);
}

asio::awaitable<Result<TokenResponse>> UpstreamAuth::ask_token_server(
    std::shared_ptr<UpstreamPool> pool, Purchase purchase) {
  auto url = Url::parse(purchase.key.realm);
  if (!url) co_return MirrorError::no_credential;
  const auto& route = purchase.route;
  if (!route.rules->policy.next_allowed(route.host, route.origin, url->origin))
    co_return MirrorError::refused_host;
  const auto& credential = purchase.credential;
  // A registry behind TLS must not make us send its credential in the clear.
  if (credential && purchase.route.origin.tls && !url->origin.tls)
    co_return MirrorError::no_credential;
  const bool post = credential && !credential->identity_token.empty();
  std::string form;
  if (post) {
    form = "grant_type=refresh_token&client_id=waggle&refresh_token=" +
           encode_component(credential->identity_token) + "&" + token_query(purchase.key);
  } else {
    url->target +=
        (url->target.find('?') == std::string::npos ? "?" : "&") + token_query(purchase.key);
  }
  UpstreamSend send;
  send.route = purchase.route;
  send.origin = url->origin;
  send.on_connection = [](const std::shared_ptr<UpstreamConnection>&) { return true; };
  send.text_for = [&](const UpstreamConnection& connection) {
    std::string text = request_text(post ? "POST" : "GET", *url, connection,
                                    purchase.route.rules->config.user_agent);
    text += "Accept: application/json\r\n";
    if (post) {
      text += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
              std::to_string(form.size()) + "\r\n";
    } else if (credential) {
      text += "Authorization: " + basic_authorization(credential->username, credential->password) +
              "\r\n";
    }
    return text + "\r\n" + form;
  };
  ++pool->stats.token_requests;
  auto answer = co_await send_upstream(pool, std::move(send));
  if (!answer) co_return answer.error();
  std::string body;
  Bytes piece(4096);
  while (true) {
    const auto read = co_await answer->connection->read_some(piece);
    if (!read) co_return read.error();
    if (*read == 0) break;
    body += as_text(ByteView(piece).first(*read));
    if (body.size() > limits::token_body_bytes_max) co_return MirrorError::too_large;
  }
  pool->put(purchase.route, url->origin, answer->connection);
  if (const auto error = error_of_status(answer->head.status)) co_return error;
  auto response = parse_token_response(body);
  if (!response) co_return MirrorError::no_credential;
  co_return response;
}

}  // namespace waggle::mirror
