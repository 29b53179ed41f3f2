// WWW-Authenticate, token answers and Basic credentials; the examples are those of RFC 9110, 7617
// and the token spec.
#include "mirror/auth_challenge.hpp"

#include <doctest/doctest.h>

using namespace waggle::mirror;

TEST_SUITE("mirror/auth_challenge") {
  TEST_CASE("a registry's bearer challenge") {
    const auto challenges = parse_challenges(
        R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push")");
    REQUIRE(challenges->size() == 1);
    const auto& bearer = challenges->front();
    CHECK(bearer.scheme == "bearer");
    CHECK(bearer.parameter("realm") == "https://auth.docker.io/token");
    CHECK(bearer.parameter("service") == "registry.docker.io");
    CHECK(bearer.parameter("scope") == "repository:samalba/my-app:pull,push");
    CHECK(bearer.parameter("error").empty());
  }

  TEST_CASE("RFC 9110's list of two challenges") {
    const auto challenges = parse_challenges(
        R"(Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"")");
    REQUIRE(challenges->size() == 2);
    CHECK((*challenges)[0].parameters == std::map<std::string, std::string>{{"realm", "simple"}});
    CHECK((*challenges)[1].scheme == "newauth");
    CHECK((*challenges)[1].parameter("type") == "1");
    CHECK((*challenges)[1].parameter("title") == "Login to \"apps\"");
  }

  TEST_CASE("schemes without parameters, token68, spaces and empty elements") {
    const auto challenges =
        parse_challenges(R"(, Negotiate, NTLM abc==,  BASIC  Realm = "x" ,, Bearer realm=y)");
    REQUIRE(challenges->size() == 4);
    CHECK((*challenges)[0] == AuthChallenge{"negotiate", {}, {}});
    CHECK((*challenges)[1] == AuthChallenge{"ntlm", {}, "abc=="});
    CHECK((*challenges)[2] == AuthChallenge{"basic", {{"realm", "x"}}, {}});
    CHECK((*challenges)[3] == AuthChallenge{"bearer", {{"realm", "y"}}, {}});
  }

  TEST_CASE("text that is no challenge is malformed") {
    for (const char* text : {"", " , ", "\"x\"", R"(Bearer realm="x)", R"(Bearer realm="x\)", "=x",
                             "Bearer a b", "Bearer realm=\"x\" \"y\""}) {
      CAPTURE(text);
      CHECK(parse_challenges(text).has_error());
    }
  }

  TEST_CASE("token answers in both dialects") {
    const auto docker = parse_token_response(
        R"({"token":"abc","expires_in":300,"issued_at":"2020-01-01T00:00:00Z"})");
    CHECK(docker->token == "abc");
    CHECK(docker->expires_in == std::chrono::seconds(300));
    const auto oauth = parse_token_response(R"({"access_token":"def"})");
    CHECK(oauth->token == "def");
    CHECK(oauth->expires_in == std::chrono::seconds(60));
    CHECK(
        parse_token_response(R"({"token":"","access_token":"x","expires_in":1e300})")->expires_in ==
        std::chrono::hours(24));
    for (const char* text :
         {"", "{}", "[]", R"({"token":5})", R"({"token":"a\r\nb"})", R"({"token":"a b"})"}) {
      CAPTURE(text);
      CHECK(parse_token_response(text).error() == MirrorError::malformed);
    }
  }

  TEST_CASE("RFC 7617's example of Basic") {
    CHECK(basic_authorization("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  }
}
