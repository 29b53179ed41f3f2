// What the OCI distribution and image specs say about answers: error documents, codes and media
// types.
#pragma once

#include "base/bytes.hpp"
#include "mirror/error.hpp"

#include <string>
#include <string_view>

namespace waggle::mirror {

/// {"errors":[{"code":...,"message":...,"detail":...}]}; `detail` is left out when empty.
[[nodiscard]] std::string oci_error_json(std::string_view code, std::string_view message,
                                         std::string_view detail = {});

struct OciError {
  unsigned status = 404;
  std::string_view code;  ///< static storage
};
/// What kind of thing the client asked for, for the right *_UNKNOWN code.
enum class OciSubject : std::uint8_t { blob, manifest, name };

/// Status and code of an error on /v2. Whatever keeps content from being had is a 404, never a 429
/// or 5xx: containerd retries those here, and takes a 404 as "ask upstream".
[[nodiscard]] OciError oci_error_of(boost::system::error_code error, OciSubject subject);

/// Media type of a manifest: its `mediaType` member, else by shape (`manifests`: image index;
/// `config` and `layers`: image manifest; `fsLayers`: docker schema 1), else
/// application/octet-stream.
/// @source OCI image-spec v1.1 manifest.md, image-index.md; cost: one JSON parse, `manifest` <=
/// manifest_bytes_max
[[nodiscard]] std::string manifest_media_type(ByteView manifest);

}  // namespace waggle::mirror
