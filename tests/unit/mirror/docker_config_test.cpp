// Credentials from docker's config.json.
#include "mirror/docker_config.hpp"

#include <doctest/doctest.h>

using namespace waggle::mirror;

TEST_SUITE("mirror/docker_config") {
  TEST_CASE("auth, plain members and identity tokens are read") {
    const auto config = DockerConfig::parse(R"({"auths":{
      "https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},
      "r.test:5000":{"username":"u","password":"p"},
      "unpadded.test":{"auth":"dXNlcjpwYTpzcw"},
      "acr.test":{"auth":"dTo=","identitytoken":"refresh"},
      "helper.test":{}, "bad.test":{"auth":"!"}, "nocolon.test":{"auth":"dXNlcg=="}}})");
    CHECK(config->size() == 4);
    CHECK(config->find("docker.io", "library/x") == Credential{"user", "pa:ss", ""});
    CHECK(config->find("registry-1.docker.io", "x").has_value());
    CHECK(config->find("R.test:5000", "x") == Credential{"u", "p", ""});
    CHECK(config->find("unpadded.test", "x")->password == "pa:ss");
    CHECK(config->find("acr.test", "x")->identity_token == "refresh");
    CHECK_FALSE(config->find("r.test", "x").has_value());
    CHECK_FALSE(config->find("bad.test", "x").has_value());
  }

  TEST_CASE("the longest matching path wins") {
    const auto config = DockerConfig::parse(R"({"auths":{
      "r.test":{"username":"all","password":"p"},
      "r.test/team":{"username":"team","password":"p"},
      "https://r.test/team/app/":{"username":"app","password":"p"}}})");
    CHECK(config->find("r.test", "other")->username == "all");
    CHECK(config->find("r.test", "teams/x")->username == "all");
    CHECK(config->find("r.test", "team/x")->username == "team");
    CHECK(config->find("r.test", "team/app")->username == "app");
    CHECK(config->find("r.test", "team/app/x")->username == "app");
  }

  TEST_CASE("an empty table is fine, another form is malformed") {
    CHECK(DockerConfig::parse("{}")->size() == 0);
    for (const char* text : {"", "[]", R"({"auths":[]})", "{\"auths\":"}) {
      CHECK(DockerConfig::parse(text).error() == MirrorError::malformed);
    }
  }
}
