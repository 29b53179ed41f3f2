// WWW-Authenticate: what a registry asks for before it answers.
#pragma once

#include "mirror/error.hpp"

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::mirror {

struct AuthChallenge {
  std::string scheme;                             ///< lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;  ///< names in lower case, values unquoted
  std::string token68;                            ///< of schemes that have that form
  bool operator==(const AuthChallenge&) const = default;
  /// Empty when absent.
  [[nodiscard]] std::string_view parameter(std::string_view name) const;
};

/// All challenges of one header value (several header fields: join them with ", ").
/// MirrorError::malformed when the text ends inside a quoted string or is no list of challenges.
/// @source RFC 9110 sections 11.2, 11.6.1 and 5.6.4
[[nodiscard]] Result<std::vector<AuthChallenge>> parse_challenges(std::string_view header);

/// A token server's answer.
struct TokenResponse {
  std::string token;
  std::chrono::seconds expires_in{60};  ///< the distribution spec's default
};
/// @source distribution's docs/spec/auth/token.md and oauth.md (`token` or `access_token`)
[[nodiscard]] Result<TokenResponse> parse_token_response(std::string_view json);

/// "Basic <base64 of user:password>".
[[nodiscard]] std::string basic_authorization(std::string_view username, std::string_view password);

}  // namespace waggle::mirror
