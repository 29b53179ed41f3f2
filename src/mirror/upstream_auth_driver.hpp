// Credentials for upstream: reads a 401's challenge, buys bearer tokens, remembers both. Private to
// upstream_driver.
#pragma once

#include "mirror/auth_challenge.hpp"
#include "mirror/token_cache.hpp"
#include "mirror/upstream_pool_driver.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace waggle::mirror {

/// A credential's name in keys, which does not tell it; empty for none.
[[nodiscard]] std::string account_of(const std::optional<Credential>& credential);

class UpstreamAuth : public std::enable_shared_from_this<UpstreamAuth> {
 public:
  explicit UpstreamAuth(std::shared_ptr<UpstreamPool> pool);

  /// An Authorization value that worked for this route before and still holds; empty when there is
  /// none.
  [[nodiscard]] std::string remembered(const UpstreamRoute& route) const;
  /// Drops what `remembered` said: the registry refused it.
  void forget(const UpstreamRoute& route);

  /// The Authorization value that answers a 401's WWW-Authenticate, or no_credential. Requests for
  /// one token share one trip to the token server. The callback runs once, inside the call or
  /// later.
  void async_answer(const UpstreamRoute& route, const std::string& www_authenticate,
                    std::function<void(Result<std::string>)> done);
  void clear();

 private:
  struct Purchase {
    UpstreamRoute route;
    TokenKey key;
    std::optional<Credential> credential;
  };
  static boost::asio::awaitable<void> buy(std::shared_ptr<UpstreamAuth> self, Purchase purchase);
  static boost::asio::awaitable<Result<TokenResponse>> ask_token_server(
      std::shared_ptr<UpstreamPool> pool, Purchase purchase);

  /// What a route's last 401 asked for.
  struct Memory {
    std::string basic;  ///< a ready Authorization value, else `token` names the token
    TokenKey token;
  };
  using RouteKey = std::pair<std::string, std::string>;  ///< registry, repository

  std::shared_ptr<UpstreamPool> pool_;
  TokenCache tokens_;
  std::map<RouteKey, Memory> memory_;
  std::map<TokenKey, std::vector<std::function<void(Result<std::string>)>>> waiting_;
};

/// One request and its whole answer on a pooled or new connection; retried once when a reused
/// connection was dead.
/// @param text_for  makes the request's text for the connection (a proxied one wants the absolute
/// target)
/// @param on_connection  told which connection is used, so that the caller can cancel it
struct UpstreamSend {
  UpstreamRoute route;
  Origin origin;
  bool head_method = false;
  std::function<std::string(const UpstreamConnection&)> text_for;
  std::function<bool(std::shared_ptr<UpstreamConnection>)>
      on_connection;  ///< false: canceled meanwhile
};
struct UpstreamAnswer {
  ResponseHead head;
  std::shared_ptr<UpstreamConnection> connection;
};
boost::asio::awaitable<Result<UpstreamAnswer>> send_upstream(std::shared_ptr<UpstreamPool> pool,
                                                             UpstreamSend send);

/// Request line and the headers every request has, without the final empty line.
[[nodiscard]] std::string request_text(std::string_view method, const Url& url,
                                       const UpstreamConnection& connection,
                                       std::string_view user_agent);

}  // namespace waggle::mirror
