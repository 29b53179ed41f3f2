// From a request line to what is asked of the OCI API. Names, tags and digests are checked here,
// once.
#pragma once

#include "base/digest.hpp"
#include "mirror/error.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace waggle::mirror {

struct Route {
  enum class Kind : std::uint8_t { ping, manifest, blob, tags, referrers };
  Kind kind = Kind::ping;
  std::string repository;
  std::optional<Digest> digest;  ///< manifest by digest, blob, referrers
  std::string tag;               ///< manifest by tag
  std::string registry;          ///< `ns`, empty when absent
  /// For tags and referrers: path and query as they go upstream, without `ns`.
  std::string forward_target;
};

/// @return  method_unsupported unless GET or HEAD, route_unknown, name_invalid (also for an `ns`
/// that is no
///          host[:port]), tag_invalid, digest_invalid
/// @source  OCI distribution-spec v1.1, "Endpoints"; `ns` is containerd's docs/hosts.md
[[nodiscard]] Result<Route> route_oci(std::string_view method, std::string_view target);

/// The distribution spec's <name>: components of [a-z0-9]+ joined by one of . _ __ or dashes,
/// separated by slashes.
[[nodiscard]] bool is_repository_name(std::string_view name);
/// The distribution spec's <reference> as a tag: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
[[nodiscard]] bool is_tag(std::string_view tag);

}  // namespace waggle::mirror
