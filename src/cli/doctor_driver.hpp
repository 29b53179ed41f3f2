// What only a command on the node can see: whether the daemon answers, whether its ports are its
// own, what containerd is configured to do, and what containerd keeps of wrong bytes.
#pragma once

#include "cli/verb.hpp"

#include <string>
#include <vector>

namespace waggle::cli {

/// One line of the doctor's. `level`: ok, warn or fail.
struct Finding {
  std::string level, check, what, to_do;
};

/// Containerd's root directory: the option, or what its configuration says.
[[nodiscard]] std::string containerd_root(const DoctorOptions& options);

/// The unfinished ingests below containerd's `root` whose reference names `digest`: their
/// directories, sorted.
[[nodiscard]] std::vector<std::string> find_ingests(const std::string& root,
                                                    const std::string& digest);

/// Whether containerd asks one of `mirrors` (host:port).
/// @param config_file  containerd's config.toml
void check_containerd(const std::string& config_file, const std::vector<std::string>& mirrors,
                      std::vector<Finding>& out);

/// Wrong bytes that were given out within the last 24 h, and what containerd still holds of them.
/// @param tainted  of /api/v1/status: digests, or objects with a `digest`; null when absent
void check_tainted(const nlohmann::ordered_json& tainted, const std::string& root,
                   std::vector<Finding>& out);

/// Whether /livez of each listener (host:port) echoes a nonce.
void check_listeners(const std::vector<std::string>& listeners, std::vector<Finding>& out);

/// What `waggled --check` says of the configuration, for a daemon that does not answer.
void check_configuration(const std::string& config_file, std::vector<Finding>& out);

}  // namespace waggle::cli
