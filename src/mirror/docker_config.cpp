// Keys of `auths` are hosts, URLs ("https://index.docker.io/v1/") or hosts with a path.
#include "mirror/docker_config.hpp"

#include "base/bytes.hpp"
#include "mirror/text.hpp"

#include <nlohmann/json.hpp>

namespace waggle::mirror {
namespace {

using nlohmann::json;

std::string string_member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<Credential> read_credential(const json& entry) {
  if (!entry.is_object()) return std::nullopt;
  Credential credential;
  credential.identity_token = string_member(entry, "identitytoken");
  credential.username = string_member(entry, "username");
  credential.password = string_member(entry, "password");
  std::string encoded = string_member(entry, "auth");
  if (!encoded.empty()) {
    while (encoded.size() % 4 != 0) encoded += '=';  // some writers leave the padding out
    const auto decoded = from_base64(encoded);
    if (!decoded) return std::nullopt;
    std::string_view pair = as_text(*decoded);
    while (!pair.empty() && pair.back() == '\0') pair.remove_suffix(1);  // docker pads with NULs
    const auto colon = pair.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    credential.username = pair.substr(0, colon);
    credential.password = pair.substr(colon + 1);
  }
  if (credential.username.empty() && credential.identity_token.empty()) return std::nullopt;
  return credential;
}

bool path_matches(std::string_view prefix, std::string_view repository) {
  if (prefix.empty()) return true;
  return repository.starts_with(prefix) &&
         (repository.size() == prefix.size() || repository[prefix.size()] == '/');
}

}  // namespace

std::string canonical_registry(std::string_view registry) {
  std::string lower = to_lower(registry);
  if (lower == "index.docker.io" || lower == "registry-1.docker.io") return "docker.io";
  return lower;
}

Result<DockerConfig> DockerConfig::parse(std::string_view text) {
  const auto document = json::parse(text.begin(), text.end(), nullptr, false);
  if (!document.is_object()) return MirrorError::malformed;
  DockerConfig config;
  const auto auths = document.find("auths");
  if (auths == document.end()) return config;
  if (!auths->is_object()) return MirrorError::malformed;
  for (const auto& [key, value] : auths->items()) {
    auto credential = read_credential(value);
    if (!credential) continue;
    std::string_view name = key;
    for (const std::string_view scheme : {"https://", "http://"}) {
      if (name.starts_with(scheme)) name.remove_prefix(scheme.size());
    }
    const auto slash = name.find('/');
    std::string_view path =
        slash == std::string_view::npos ? std::string_view() : name.substr(slash + 1);
    while (!path.empty() && path.back() == '/') path.remove_suffix(1);
    if (path == "v1" || path == "v2") path = {};
    config.entries_.push_back(
        {canonical_registry(name.substr(0, slash)), std::string(path), std::move(*credential)});
  }
  return config;
}

std::optional<Credential> DockerConfig::find(std::string_view registry,
                                             std::string_view repository) const {
  const std::string wanted = canonical_registry(registry);
  const Entry* best = nullptr;
  for (const auto& entry : entries_) {
    if (entry.registry != wanted || !path_matches(entry.path, repository)) continue;
    if (best == nullptr || entry.path.size() > best->path.size()) best = &entry;
  }
  if (best == nullptr) return std::nullopt;
  return best->credential;
}

}  // namespace waggle::mirror
