// Tokens expire, are told apart by what they are for, and are bounded.
#include "mirror/token_cache.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;
using namespace std::chrono_literals;

TEST_SUITE("mirror/token_cache") {
  TEST_CASE("a token is used until shortly before it expires") {
    TokenCache cache;
    const TimePoint start{};
    const TokenKey key{"https://auth.test", "r.test", "repository:a:pull", ""};
    cache.put(start, key, "abc", 60s);
    CHECK(cache.find(start + 54s, key) == "abc");
    CHECK_FALSE(cache.find(start + 55s, key).has_value());
  }

  TEST_CASE("realm, service, scope and account each make another token") {
    TokenCache cache;
    const TimePoint start{};
    cache.put(start, {"r", "s", "c", "a"}, "abc", 60s);
    CHECK(cache.find(start, {"r", "s", "c", "a"}) == "abc");
    for (const TokenKey& key : {TokenKey{"x", "s", "c", "a"}, TokenKey{"r", "x", "c", "a"},
                                TokenKey{"r", "s", "x", "a"}, TokenKey{"r", "s", "c", ""}}) {
      CHECK_FALSE(cache.find(start, key).has_value());
    }
    cache.forget({"r", "s", "c", "a"});
    CHECK(cache.size() == 0);
  }

  TEST_CASE("one token beyond the limit pushes out the one that expires first") {
    TokenCache cache;
    const TimePoint start{};
    for (std::size_t i = 0; i <= limits::upstream_tokens_max; ++i) {
      cache.put(start, {"r", "s", std::to_string(i), ""}, "t", 60s + std::chrono::seconds(i));
    }
    CHECK(cache.size() == limits::upstream_tokens_max);
    CHECK_FALSE(cache.find(start, {"r", "s", "0", ""}).has_value());
    CHECK(cache.find(start, {"r", "s", "1", ""}).has_value());
  }

  TEST_CASE("expired tokens make room") {
    TokenCache cache;
    cache.put(TimePoint{}, {"r", "s", "old", ""}, "t", 1s);
    cache.put(TimePoint{} + 2s, {"r", "s", "new", ""}, "t", 60s);
    CHECK(cache.size() == 1);
  }
}
