// What a /blobs/ request line says.
#include "mirror/blob_url.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;

namespace {

const std::string hex = "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";

Result<BlobUrl> get(const std::string& url) { return parse_blobs_target("GET", "/blobs/" + url); }

}  // namespace

TEST_SUITE("mirror/blob_url") {
  TEST_CASE("the URL goes upstream as it stands, and is shown without its query") {
    const auto blob = get("https://Acct.blob.test/x//docker/sha256/ab/" + hex +
                          "/data?sv=2020&sig=a%2Fb%3D&se=2026-01-01T00%3A00Z");
    REQUIRE(blob.has_value());
    CHECK(blob->url == "https://Acct.blob.test/x//docker/sha256/ab/" + hex +
                           "/data?sv=2020&sig=a%2Fb%3D&se=2026-01-01T00%3A00Z");
    CHECK(blob->host == "acct.blob.test:443");
    CHECK(blob->shown == "https://acct.blob.test/x//docker/sha256/ab/" + hex + "/data");
    CHECK(blob->digest == *Digest::parse("sha256:" + hex));
    CHECK(get("http:/r.test:5000/v2/a/blobs/x?y=1")->url == "http://r.test:5000/v2/a/blobs/x?y=1");
    CHECK(get("https:/r.test/x")->host == "r.test:443");
  }

  TEST_CASE("digests in the forms registries and their storage use") {
    const auto digest = *Digest::parse("sha256:" + hex);
    for (const std::string& path :
         {"/v2/team/app/blobs/sha256:" + hex, "/v2/team/app/blobs/sha256%3A" + hex,
          "/blobs/sha256%3a" + hex, "/docker/registry/v2/blobs/sha256/ab/" + hex + "/data",
          "/sha256/ab/" + hex, "/sha256/" + hex, "/x/sha256/" + hex + "/data",
          "/v2/team/app/manifests/sha256:" + hex}) {
      CAPTURE(path);
      CHECK(digest_in_path(path) == digest);
    }
  }

  TEST_CASE("what is no digest of the content is taken for none") {
    std::string upper = hex;
    upper[0] = 'A';
    for (const std::string& path :
         {std::string("/"), std::string(), std::string("/data"), "/" + hex,
          "/v2/a/referrers/sha256:" + hex, "/sha256:" + hex + "/other", "/sha256:" + hex + "0",
          "/sha256:" + hex.substr(1), "/sha256:" + upper, "/sha256/cd/" + hex,
          "/sha256/ab/" + hex + "/data/data", "/md5/" + hex, "/sha512:" + hex + hex,
          "/sha256/abc/" + hex}) {
      CAPTURE(path);
      CHECK_FALSE(digest_in_path(path));
    }
    CHECK_FALSE(get("https://r.test/x?digest=sha256:" + hex)->digest);
  }

  TEST_CASE("other methods, other paths and what is no URL are told apart") {
    CHECK(parse_blobs_target("POST", "/blobs/https://r.test/x").error() ==
          MirrorError::method_unsupported);
    CHECK(parse_blobs_target("GET", "/v2/").error() == MirrorError::route_unknown);
    CHECK(parse_blobs_target("GET", "/blobs/").error() == MirrorError::route_unknown);
    for (const char* url : {"r.test/x", "ftp://r.test/x", "https://", "https:///x", "file:///etc",
                            "https://user:pass@r.test/x", "http://r.test:0/x", "//r.test/x"}) {
      CAPTURE(url);
      CHECK(get(url).error() == MirrorError::malformed);
    }
    CHECK(is_blobs_target("/blobs/x"));
    CHECK_FALSE(is_blobs_target("/blobsx"));
    CHECK_FALSE(is_blobs_target("/v2/blobs/x"));
  }
}
