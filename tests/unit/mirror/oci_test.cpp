// Error documents, their codes, and the media type of a manifest.
#include "mirror/oci.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace waggle;
using namespace waggle::mirror;

namespace {

std::string media_type(std::string_view json) { return manifest_media_type(as_bytes(json)); }

}  // namespace

TEST_SUITE("mirror/oci") {
  TEST_CASE("an error document has the distribution spec's form") {
    CHECK(oci_error_json("BLOB_UNKNOWN", "not here") ==
          R"({"errors":[{"code":"BLOB_UNKNOWN","message":"not here"}]})");
    CHECK(oci_error_json("DENIED", "a \"b\"", "why") ==
          R"({"errors":[{"code":"DENIED","detail":"why","message":"a \"b\""}]})");
    CHECK(oci_error_json("X", "\xff").find("errors") != std::string::npos);
  }

  TEST_CASE("what keeps content from being had is a 404, bad requests are 400 and 405") {
    for (const auto error :
         {MirrorError::not_found, MirrorError::not_ready, MirrorError::unavailable,
          MirrorError::no_credential, MirrorError::timeout, MirrorError::too_large,
          MirrorError::canceled, MirrorError::refused_host, MirrorError::refused_address,
          MirrorError::tls_failed, MirrorError::short_body, MirrorError::route_unknown}) {
      CHECK(oci_error_of(error, OciSubject::blob).status == 404);
      CHECK(oci_error_of(error, OciSubject::manifest).code == "MANIFEST_UNKNOWN");
    }
    CHECK(oci_error_of(MirrorError::not_found, OciSubject::blob).code == "BLOB_UNKNOWN");
    CHECK(oci_error_of(MirrorError::not_found, OciSubject::name).code == "NAME_UNKNOWN");
    CHECK(oci_error_of(MirrorError::digest_invalid, OciSubject::blob).code == "DIGEST_INVALID");
    CHECK(oci_error_of(MirrorError::name_invalid, OciSubject::blob).status == 400);
    CHECK(oci_error_of(MirrorError::tag_invalid, OciSubject::manifest).code == "TAG_INVALID");
    CHECK(oci_error_of(MirrorError::method_unsupported, OciSubject::blob).status == 405);
  }

  TEST_CASE("a manifest's own mediaType wins") {
    CHECK(
        media_type(
            R"({"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json"})") ==
        "application/vnd.docker.distribution.manifest.list.v2+json");
  }

  TEST_CASE("without one its shape tells") {
    CHECK(media_type(R"({"schemaVersion":2,"config":{},"layers":[]})") ==
          "application/vnd.oci.image.manifest.v1+json");
    CHECK(media_type(R"({"schemaVersion":2,"manifests":[]})") ==
          "application/vnd.oci.image.index.v1+json");
    CHECK(media_type(R"({"schemaVersion":1,"fsLayers":[],"signatures":[]})") ==
          "application/vnd.docker.distribution.manifest.v1+prettyjws");
    CHECK(media_type(R"({"schemaVersion":1,"fsLayers":[]})") ==
          "application/vnd.docker.distribution.manifest.v1+json");
  }

  TEST_CASE("nothing but a media type gets into the header") {
    CHECK(media_type(R"({"mediaType":"a/b\r\nX-Evil: 1","manifests":[]})") ==
          "application/vnd.oci.image.index.v1+json");
    for (const char* json : {"", "[]", "{", "null", R"({"mediaType":5})", R"({"mediaType":"/"})",
                             R"({"mediaType":"x"})"}) {
      CAPTURE(json);
      CHECK(media_type(json) == "application/octet-stream");
    }
  }
}
