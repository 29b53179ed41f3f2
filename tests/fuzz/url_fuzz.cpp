// URLs of clients and registries: what a redirect names, what `ns=` and configuration keys hold.
#include "base/endpoint.hpp"
#include "mirror/cidr.hpp"
#include "mirror/host_policy.hpp"
#include "mirror/text.hpp"
#include "mirror/url.hpp"
#include "target.hpp"

#include <algorithm>

namespace waggle::fuzz {
namespace {

using namespace waggle::mirror;

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

void check(const Url& url) {
  // Both go into a request's head as they are.
  expect(printable(url.origin.host) && !url.origin.host.empty(), "a host is printable");
  expect(url.origin.host.find_first_of("/?#@[]") == std::string::npos,
         "a host ends where the authority ends");
  expect(printable(url.target) && url.target.starts_with('/'), "a target is printable");
  expect(url.origin.port != 0, "a port is not 0");
  const auto again = Url::parse(url.to_string());
  expect(again.has_value(), "a URL that is written is one");
  expect(again->origin == url.origin && again->target == url.target,
         "a URL that is written is read as it was");
  const HostPolicy policy({"*"}, {"localhost:5000", "10.0.0.?:*"}, {});
  (void)policy.host_allowed(url.origin.host, url.origin);
}

/// A base URL, then a Location seen there; both also as whatever else may stand in their place.
void run(ByteView bytes) {
  Input input(bytes);
  const std::string base(as_text(input.string()));
  const std::string location(as_text(input.rest()));
  if (const auto url = Url::parse(base)) {
    check(*url);
    if (const auto target = url->resolve(location)) check(*target);
  }
  if (const auto host = HostPort::parse(location)) {
    expect(printable(host->host) && !host->host.empty(), "a host is printable");
    expect(!host->port || *host->port != 0, "a port is not 0");
  }
  if (const auto cidr = Cidr::parse(location)) (void)cidr->contains(Endpoint::v4(10, 0, 0, 1, 1));
  if (const auto endpoint = Endpoint::parse(location)) {
    expect(Endpoint::parse(endpoint->to_string()).value() == *endpoint,
           "an endpoint that is written is read as it was");
    (void)is_refused_address(*endpoint);
  }
  expect(printable(encode_component(location)), "an encoded component is printable");
  (void)glob_matches(base.substr(0, 64), location.substr(0, 256));
}

std::vector<Bytes> seeds() {
  const std::pair<const char*, const char*> pairs[] = {
      {"https://registry-1.docker.io/v2/library/busybox/manifests/latest?a=b", "/token?x=%2F"},
      {"http://user:p%40ss@[::1]:5000/v2/", "https://cdn.example/a/../b#c"},
      {"http://10.0.0.1:5000/blobs/", "//other.example:8443/x"},
      {"https://r.example", "10.0.0.0/8"},
      {"http://a*?", "[fe80::1]:7947"},
      {"http://r/", "registry.local:5000"},
  };
  std::vector<Bytes> out;
  for (const auto& [base, location] : pairs) {
    Bytes seed;
    append_string(seed, as_bytes(base));
    append(seed, as_bytes(location));
    out.push_back(seed);
  }
  return out;
}

const Target target("url", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz
