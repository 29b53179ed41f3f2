// Bearer tokens until they expire, by what they were issued for.
#pragma once

#include "base/time.hpp"

#include <map>
#include <optional>
#include <string>
#include <tuple>

namespace waggle::mirror {

struct TokenKey {
  std::string realm;
  std::string service;
  std::string scope;
  std::string account;  ///< whose credential bought it; empty: anonymous
  auto operator<=>(const TokenKey&) const = default;
};

/// Bounded by limits::upstream_tokens_max: the token that expires first goes first.
class TokenCache {
 public:
  /// nullopt when there is none, or it expires within `margin`.
  [[nodiscard]] std::optional<std::string> find(TimePoint now, const TokenKey& key) const;
  void put(TimePoint now, const TokenKey& key, std::string token, Duration expires_in);
  /// A registry refused it.
  void forget(const TokenKey& key) { tokens_.erase(key); }
  [[nodiscard]] std::size_t size() const { return tokens_.size(); }

  /// A token is not used in its last seconds: it would expire on the way.
  static constexpr Duration margin = std::chrono::seconds(5);

 private:
  struct Token {
    std::string text;
    TimePoint expiry;
  };
  std::map<TokenKey, Token> tokens_;
};

}  // namespace waggle::mirror
