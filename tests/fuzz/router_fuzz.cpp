// The request line of the OCI API, and what is read of manifests.
#include "mirror/oci.hpp"
#include "mirror/router.hpp"
#include "mirror/url.hpp"
#include "target.hpp"

#include <algorithm>

namespace waggle::fuzz {
namespace {

using namespace waggle::mirror;

void check(const Route& route) {
  using Kind = Route::Kind;
  expect((route.kind == Kind::ping) == route.repository.empty(), "only a ping has no repository");
  expect(route.repository.empty() || is_repository_name(route.repository), "a repository is one");
  expect(route.repository.find("..") == std::string::npos, "a repository leaves no folder");
  expect(route.kind != Kind::blob || route.digest, "a blob has a digest");
  expect(route.kind != Kind::referrers || route.digest, "referrers have a digest");
  expect(route.kind != Kind::manifest || route.digest.has_value() == route.tag.empty(),
         "a manifest has a digest or a tag");
  expect(route.tag.empty() || is_tag(route.tag), "a tag is one");
  expect(route.registry.empty() || HostPort::parse(route.registry).has_value(),
         "a registry is a host");
  const bool forwarded = route.kind == Kind::tags || route.kind == Kind::referrers;
  expect(forwarded != route.forward_target.empty(), "what is forwarded has a target");
  if (!forwarded) return;
  expect(route.forward_target.starts_with("/v2/" + route.repository + "/"),
         "a forward target is about its repository");
  expect(std::all_of(route.forward_target.begin(), route.forward_target.end(),
                     [](char c) { return c > ' ' && c < '\x7f'; }),
         "a forward target is printable");
}

/// One byte chooses the method, or a manifest instead of a request.
void run(ByteView bytes) {
  Input input(bytes);
  const unsigned choice = input.byte() % 4;
  const ByteView rest = input.rest();
  if (choice == 3) {
    expect(!manifest_media_type(rest).empty(), "every manifest has a media type");
    expect(!oci_error_json("CODE", as_text(rest), as_text(rest)).empty(), "an error has a body");
    return;
  }
  const auto route = route_oci(choice == 0 ? "GET" : choice == 1 ? "HEAD" : "POST", as_text(rest));
  if (choice == 2) expect(!route, "only GET and HEAD have routes");
  if (route) check(*route);
}

std::vector<Bytes> seeds() {
  const std::string digest =
      "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  std::vector<Bytes> out;
  for (const std::string& text :
       {std::string("\0/v2/", 5),
        std::string("\0/v2/library/busybox/manifests/latest?ns=docker.io", 51),
        std::string(1, '\0') + "/v2/a/b__c/d-e.f/blobs/" + digest + "?ns=registry.local%3A5000",
        "\1/v2/a/manifests/" + digest, std::string("\1/v2/a/tags/list?n=10&last=x&ns=quay.io"),
        std::string(1, '\0') + "/v2/a/referrers/" + digest + "?artifactType=a%2Fb",
        std::string(1, '\0') + "http://127.0.0.1:30000/v2/a/tags/list?ns=%5B%3A%3A1%5D",
        std::string("\3{\"mediaType\":\"application/vnd.oci.image.index.v1+json\"}"),
        std::string("\3{\"config\":{},\"layers\":[]}"), std::string("\3{\"fsLayers\":[]}")}) {
    out.push_back(bytes_of(text));
  }
  return out;
}

const Target target("router", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
