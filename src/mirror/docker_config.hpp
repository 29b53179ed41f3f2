// Credentials from a docker config.json: the `auths` table, as docker, podman and kubelet's secrets
// write it.
#pragma once

#include "mirror/error.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::mirror {

struct Credential {
  std::string username;
  std::string password;
  std::string identity_token;  ///< an OAuth2 refresh token; username and password are then unused
  bool operator==(const Credential&) const = default;
};

class DockerConfig {
 public:
  /// MirrorError::malformed when `json` is no object, or `auths` none; single entries that cannot
  /// be read are left out. Credential helpers are programs of a user's session and are not run.
  [[nodiscard]] static Result<DockerConfig> parse(std::string_view json);

  /// The credential for a repository: the entry with the longest matching path wins. `registry` is
  /// host[:port]; docker.io, index.docker.io and registry-1.docker.io are one.
  [[nodiscard]] std::optional<Credential> find(std::string_view registry,
                                               std::string_view repository) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string registry;
    std::string path;  ///< "" or "team/app"
    Credential credential;
  };
  std::vector<Entry> entries_;
};

/// Lower case; docker.io for its aliases.
[[nodiscard]] std::string canonical_registry(std::string_view registry);

}  // namespace waggle::mirror
