// A map small enough to be searched for its earliest expiry.
#include "mirror/token_cache.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::mirror {

std::optional<std::string> TokenCache::find(TimePoint now, const TokenKey& key) const {
  const auto found = tokens_.find(key);
  if (found == tokens_.end() || found->second.expiry - margin <= now) return std::nullopt;
  return found->second.text;
}

void TokenCache::put(TimePoint now, const TokenKey& key, std::string token, Duration expires_in) {
  std::erase_if(tokens_, [&](const auto& entry) { return entry.second.expiry <= now; });
  if (tokens_.size() >= limits::upstream_tokens_max && !tokens_.contains(key)) {
    tokens_.erase(std::min_element(
        tokens_.begin(), tokens_.end(),
        [](const auto& a, const auto& b) { return a.second.expiry < b.second.expiry; }));
  }
  tokens_[key] = {std::move(token), now + expires_in};
}

}  // namespace waggle::mirror
