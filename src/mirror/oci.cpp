// nlohmann_json reads and writes the documents; parse errors stay values.
#include "mirror/oci.hpp"

#include "mirror/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace waggle::mirror {
namespace {

using nlohmann::json;

/// "type/subtype" of token characters: it goes into a header.
bool is_media_type(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == 0 || slash == std::string_view::npos || slash + 1 == text.size()) return false;
  if (text.size() > 255) return false;  // RFC 6838 section 4.2: 127 for each half
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '/' || is_token_char(c); });
}

std::string_view unknown_code(OciSubject subject) {
  switch (subject) {
    case OciSubject::blob:
      return "BLOB_UNKNOWN";
    case OciSubject::manifest:
      return "MANIFEST_UNKNOWN";
    case OciSubject::name:
      break;
  }
  return "NAME_UNKNOWN";
}

}  // namespace

std::string oci_error_json(std::string_view code, std::string_view message,
                           std::string_view detail) {
  json error = {{"code", code}, {"message", message}};
  if (!detail.empty()) error["detail"] = detail;
  const json document = {{"errors", json::array({std::move(error)})}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

OciError oci_error_of(boost::system::error_code error, OciSubject subject) {
  if (error == MirrorError::name_invalid) return {400, "NAME_INVALID"};
  if (error == MirrorError::tag_invalid) return {400, "TAG_INVALID"};
  if (error == MirrorError::digest_invalid) return {400, "DIGEST_INVALID"};
  if (error == MirrorError::method_unsupported) return {405, "UNSUPPORTED"};
  return {404, unknown_code(subject)};
}

std::string manifest_media_type(ByteView manifest) {
  const auto text = as_text(manifest);
  const auto document = json::parse(text.begin(), text.end(), nullptr, false);
  if (!document.is_object()) return "application/octet-stream";
  if (const auto type = document.find("mediaType"); type != document.end() && type->is_string()) {
    const auto& name = type->get_ref<const std::string&>();
    if (is_media_type(name)) return name;
  }
  if (document.contains("manifests")) return "application/vnd.oci.image.index.v1+json";
  if (document.contains("config") && document.contains("layers")) {
    return "application/vnd.oci.image.manifest.v1+json";
  }
  if (document.contains("fsLayers")) {
    return document.contains("signatures")
               ? "application/vnd.docker.distribution.manifest.v1+prettyjws"
               : "application/vnd.docker.distribution.manifest.v1+json";
  }
  return "application/octet-stream";
}

}  // namespace waggle::mirror
