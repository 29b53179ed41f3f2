// `/blobs/<absolute url>`: overlaybd's way to name a blob by where it lies upstream. What the URL
// says about its content is read here; the client is described in docs/overlaybd.md.
#pragma once

#include "base/digest.hpp"
#include "mirror/error.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace waggle::mirror {

struct BlobUrl {
  std::string url;    ///< as it goes upstream, signature included: never logged, stored or shared
  std::string host;   ///< host:port, for messages
  std::string shown;  ///< scheme, host and path: what may stand in a log
  std::optional<Digest> digest;  ///< of the content, when the path names it
};

/// True for paths that are this listener's: "/blobs/...".
[[nodiscard]] bool is_blobs_target(std::string_view target);

/// Reads a request line. The URL is taken as it stands; "https:/host" is understood as
/// "https://host", since some HTTP libraries merge slashes.
/// @return method_unsupported unless GET or HEAD, route_unknown without a URL, malformed for what
///         is no absolute http(s) URL or carries a user name
[[nodiscard]] Result<BlobUrl> parse_blobs_target(std::string_view method, std::string_view target);

/// The sha256 digest that a URL's path says its content has: the last segment `sha256:HEX` (not
/// below `referrers`), or `sha256/HEX` or `sha256/AA/HEX` at the end, each perhaps followed by
/// `data`, as registries lay out their storage. `:` may be percent-encoded. A sha512 digest counts
/// as none, since pieces of such a blob can't be proven.
[[nodiscard]] std::optional<Digest> digest_in_path(std::string_view path);

}  // namespace waggle::mirror
