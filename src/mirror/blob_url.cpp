// Segments from the end of the path, as in router.cpp.
#include "mirror/blob_url.hpp"

#include "mirror/url.hpp"

#include <utility>

namespace waggle::mirror {
namespace {

constexpr std::string_view prefix = "/blobs/";
constexpr std::size_t sha256_hex_size = 64;

/// Takes the last segment off `path`, with "%3A" as ":".
std::string take_last(std::string_view& path) {
  const auto slash = path.rfind('/');
  std::string last(slash == std::string_view::npos ? path : path.substr(slash + 1));
  path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  for (const std::string_view colon : {"%3A", "%3a"}) {
    if (const auto at = last.find(colon); at != std::string::npos) last.replace(at, 3, ":");
  }
  return last;
}

std::optional<Digest> sha256_digest(const std::string& hex) {
  if (hex.size() != sha256_hex_size) return std::nullopt;
  const auto digest = Digest::parse("sha256:" + hex);
  return digest ? std::optional<Digest>(*digest) : std::nullopt;
}

/// "https:/host/x" and "https://host/x" give "https://host/x".
std::string with_both_slashes(std::string_view text) {
  for (const std::string_view scheme : {"http:/", "https:/"}) {
    if (!text.starts_with(scheme) || text.substr(scheme.size()).starts_with('/')) continue;
    return std::string(scheme) + "/" + std::string(text.substr(scheme.size()));
  }
  return std::string(text);
}

}  // namespace

bool is_blobs_target(std::string_view target) { return target.starts_with(prefix); }

std::optional<Digest> digest_in_path(std::string_view path) {
  std::string last = take_last(path);
  if (last == "data") last = take_last(path);
  constexpr std::string_view algorithm = "sha256:";
  const std::string before = take_last(path);
  if (last.starts_with(algorithm)) {
    return before == "referrers" ? std::nullopt : sha256_digest(last.substr(algorithm.size()));
  }
  if (before == "sha256") return sha256_digest(last);
  const bool is_shard = before.size() == 2 && last.starts_with(before);
  return is_shard && take_last(path) == "sha256" ? sha256_digest(last) : std::nullopt;
}

Result<BlobUrl> parse_blobs_target(std::string_view method, std::string_view target) {
  if (method != "GET" && method != "HEAD") return MirrorError::method_unsupported;
  if (!is_blobs_target(target)) return MirrorError::route_unknown;
  target.remove_prefix(prefix.size());
  if (target.empty()) return MirrorError::route_unknown;
  BlobUrl blob;
  blob.url = with_both_slashes(target);
  const auto url = Url::parse(blob.url);
  if (!url) return MirrorError::malformed;
  if (!url->userinfo.empty()) return MirrorError::malformed;
  const std::string path = url->target.substr(0, url->target.find('?'));
  blob.host = url->origin.authority();
  blob.shown = (url->origin.tls ? "https://" : "http://") + url->origin.host_header() + path;
  blob.digest = digest_in_path(path);
  return blob;
}

}  // namespace waggle::mirror
