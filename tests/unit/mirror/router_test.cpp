// Routes of the OCI API and the grammar of names, tags and digests.
#include "mirror/router.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;

namespace {

const std::string sha256_text = "sha256:" + std::string(64, 'a');
const std::string sha512_text = "sha512:" + std::string(128, 'b');

boost::system::error_code error_of(std::string_view target) {
  const auto route = route_oci("GET", target);
  return route ? boost::system::error_code() : route.error();
}

}  // namespace

TEST_SUITE("mirror/router") {
  TEST_CASE("every endpoint of the pull API has its route") {
    CHECK(route_oci("GET", "/v2")->kind == Route::Kind::ping);
    CHECK(route_oci("HEAD", "/v2/?ns=docker.io")->registry == "docker.io");
    const auto manifest = route_oci("HEAD", "/v2/team/app/manifests/v1?ns=registry.test").value();
    CHECK(manifest.kind == Route::Kind::manifest);
    CHECK(manifest.repository == "team/app");
    CHECK(manifest.tag == "v1");
    CHECK_FALSE(manifest.digest.has_value());
    CHECK(manifest.registry == "registry.test");
    const auto by_digest = route_oci("GET", "/v2/a/b/c/manifests/" + sha256_text).value();
    CHECK(by_digest.repository == "a/b/c");
    CHECK(by_digest.digest->to_string() == sha256_text);
    CHECK(by_digest.registry.empty());
    const auto blob =
        route_oci("GET", "/v2/app/blobs/" + sha512_text + "?ns=127.0.0.1%3A5000").value();
    CHECK(blob.kind == Route::Kind::blob);
    CHECK(blob.digest->to_string() == sha512_text);
    CHECK(blob.registry == "127.0.0.1:5000");
  }

  TEST_CASE("tags and referrers go upstream as they came, without ns") {
    const auto tags = route_oci("GET", "/v2/app/tags/list?n=10&ns=r.test&last=a%2Fb").value();
    CHECK(tags.kind == Route::Kind::tags);
    CHECK(tags.forward_target == "/v2/app/tags/list?n=10&last=a%2Fb");
    CHECK(route_oci("GET", "/v2/app/tags/list?ns=r.test")->forward_target == "/v2/app/tags/list");
    const auto referrers =
        route_oci("GET", "/v2/app/referrers/" + sha256_text + "?artifactType=x").value();
    CHECK(referrers.kind == Route::Kind::referrers);
    CHECK(referrers.forward_target == "/v2/app/referrers/" + sha256_text + "?artifactType=x");
  }

  TEST_CASE("segments named like endpoints may stand in a name") {
    CHECK(route_oci("GET", "/v2/a/manifests/b/manifests/latest")->repository == "a/manifests/b");
    CHECK(route_oci("GET", "/v2/tags/list/tags/list")->repository == "tags/list");
  }

  TEST_CASE("the absolute form of a proxy client is understood") {
    CHECK(route_oci("GET", "http://127.0.0.1:30000/v2/app/manifests/v1?ns=r.test")->tag == "v1");
  }

  TEST_CASE("other methods are unsupported, other paths unknown") {
    for (const char* method : {"PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get"}) {
      CHECK(route_oci(method, "/v2/").error() == MirrorError::method_unsupported);
    }
    for (const char* target :
         {"/", "", "*", "/v1/x", "/v2x", "/v2/app", "/v2/app/blobs", "/v2/app/tags", "/v2/_catalog",
          "/v2/app/tags/other", "/v2/app/blobs/uploads/", "/v2/app/manifests/a/b",
          "/v2/app/blobs/%zz", "/v2/ app/tags/list"}) {
      CAPTURE(target);
      CHECK(error_of(target) == MirrorError::route_unknown);
    }
  }

  TEST_CASE("bad names, tags, digests and registries say which they are") {
    for (const char* name :
         {"App", "a//b", "/a", "a/", "a..b", "a___b", "-a", "a-", "a/.b", "a b", "a%00", ""}) {
      CAPTURE(name);
      CHECK_FALSE(is_repository_name(name));
    }
    CHECK(error_of("/v2/App/manifests/v1") == MirrorError::name_invalid);
    CHECK(error_of("/v2/manifests/v1") == MirrorError::name_invalid);
    CHECK(error_of("/v2/app%2F..%2Fx/manifests/v1") == MirrorError::name_invalid);
    CHECK(error_of("/v2/app/manifests/.v1") == MirrorError::tag_invalid);
    CHECK(error_of("/v2/app/manifests/") == MirrorError::tag_invalid);
    CHECK(error_of("/v2/app/blobs/v1") == MirrorError::digest_invalid);
    CHECK(error_of("/v2/app/blobs/sha256:abc") == MirrorError::digest_invalid);
    CHECK(error_of("/v2/app/blobs/sha256:" + std::string(64, 'A')) == MirrorError::digest_invalid);
    CHECK(error_of("/v2/app/manifests/md5:abc") == MirrorError::digest_invalid);
    CHECK(error_of("/v2/app/manifests/v1?ns=user@host") == MirrorError::name_invalid);
    CHECK(error_of("/v2/app/manifests/v1?ns=a/b") == MirrorError::name_invalid);
    CHECK(error_of("/v2/app/manifests/v1?ns=a%0d%0ab") == MirrorError::name_invalid);
  }

  TEST_CASE("the grammar's allowed forms and its lengths") {
    for (const char* name :
         {"a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "library/busybox", "a/b/c/d/e"}) {
      CAPTURE(name);
      CHECK(is_repository_name(name));
    }
    CHECK(is_repository_name(std::string(255, 'a')));
    CHECK_FALSE(is_repository_name(std::string(256, 'a')));
    CHECK(is_tag("_v1.0-RC_2"));
    CHECK(is_tag(std::string(128, 'a')));
    CHECK_FALSE(is_tag(std::string(129, 'a')));
    CHECK_FALSE(is_tag("a/b"));
    CHECK_FALSE(is_tag("-a"));
  }
}
