// The path is read from its end, since repository names have any number of segments.
#include "mirror/router.hpp"

#include "base/limits.hpp"
#include "mirror/url.hpp"

#include <boost/url.hpp>

#include <algorithm>

namespace waggle::mirror {
namespace {

namespace urls = boost::urls;

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

/// One path component of a repository name.
bool is_component(std::string_view text) {
  if (text.empty() || !is_alnum(text.front()) || !is_alnum(text.back())) return false;
  for (std::size_t i = 0; i < text.size();) {
    if (is_alnum(text[i])) {
      ++i;
      continue;
    }
    auto end = i;
    while (end < text.size() && text[end] == text[i]) ++end;
    const auto run = end - i;
    const bool allowed =
        (text[i] == '.' && run == 1) || (text[i] == '_' && run <= 2) || text[i] == '-';
    if (!allowed || !is_alnum(text[end]))
      return false;  // text.back() is alphanumeric, so end < size
    i = end;
  }
  return true;
}

/// Takes the last segment off `path`: "a/b/c" gives "c" and leaves "a/b".
std::string_view take_last(std::string_view& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string_view::npos) return std::exchange(path, {});
  const auto last = path.substr(slash + 1);
  path = path.substr(0, slash);
  return last;
}

Result<Digest> digest_of(std::string_view text) {
  const auto digest = Digest::parse(text);
  if (!digest) return MirrorError::digest_invalid;
  return *digest;
}

Result<Route> route_path(std::string_view path) {
  Route route;
  if (path == "/v2" || path == "/v2/") return route;
  constexpr std::string_view prefix = "/v2/";
  if (!path.starts_with(prefix)) return MirrorError::route_unknown;
  path.remove_prefix(prefix.size());
  const auto reference = take_last(path);
  const auto kind = take_last(path);
  if (kind == "manifests") {
    route.kind = Route::Kind::manifest;
  } else if (kind == "blobs") {
    route.kind = Route::Kind::blob;
  } else if (kind == "referrers") {
    route.kind = Route::Kind::referrers;
  } else if (kind == "tags" && reference == "list") {
    route.kind = Route::Kind::tags;
  } else {
    return MirrorError::route_unknown;
  }
  if (!is_repository_name(path)) return MirrorError::name_invalid;
  route.repository = path;
  if (route.kind == Route::Kind::tags) return route;
  if (route.kind == Route::Kind::manifest && reference.find(':') == std::string_view::npos) {
    if (!is_tag(reference)) return MirrorError::tag_invalid;
    route.tag = reference;
    return route;
  }
  const auto digest = digest_of(reference);
  if (!digest) return digest.error();
  route.digest = *digest;
  return route;
}

/// "/v2/name/tags/list" and "n=5&ns=x" give "/v2/name/tags/list?n=5".
std::string forward_target(std::string_view path, urls::params_encoded_view params) {
  std::string target(path);
  char separator = '?';
  for (const auto& param : params) {
    if (param.key == "ns") continue;
    target += separator;
    target.append(param.key.data(), param.key.size());
    if (param.has_value) target.append("=").append(param.value.data(), param.value.size());
    separator = '&';
  }
  return target;
}

}  // namespace

bool is_repository_name(std::string_view name) {
  if (name.empty() || name.size() > limits::repository_bytes_max) return false;
  while (true) {
    const auto slash = name.find('/');
    if (!is_component(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

bool is_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > limits::tag_bytes_max || tag.front() == '.' ||
      tag.front() == '-') {
    return false;
  }
  return std::all_of(tag.begin(), tag.end(), [](char c) {
    return is_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-';
  });
}

Result<Route> route_oci(std::string_view method, std::string_view target) {
  if (method != "GET" && method != "HEAD") return MirrorError::method_unsupported;
  // A proxy client may send the absolute form (RFC 9112 section 3.2.2).
  const boost::core::string_view text(target.data(), target.size());
  auto parsed = target.starts_with('/') ? urls::parse_origin_form(text) : urls::parse_uri(text);
  if (!parsed) return MirrorError::route_unknown;
  const std::string path = parsed->path();
  auto route = route_path(path);
  if (!route) return route;
  const auto params = parsed->encoded_params();
  if (const auto ns = params.find("ns"); ns != params.end()) {
    const std::string registry = (*ns).value.decode();
    if (!registry.empty() && !HostPort::parse(registry)) return MirrorError::name_invalid;
    route->registry = registry;
  }
  if (route->kind == Route::Kind::tags || route->kind == Route::Kind::referrers) {
    route->forward_target = forward_target(path, params);
  }
  return route;
}

}  // namespace waggle::mirror
