// The little that `waggle doctor` reads of containerd's files: config.toml's root and config_path,
// hosts.toml's order of hosts. Not a TOML parser: it understands the forms containerd documents.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace waggle::cli {

struct ContainerdConfig {
  std::string root = "/var/lib/containerd";
  std::vector<std::string> config_paths;  ///< of the CRI plugin's registry section
};
/// @source containerd docs/cri/registry.md: one or more directories, separated by colons
[[nodiscard]] ContainerdConfig parse_containerd_config(std::string_view toml);

struct HostEntry {
  std::string url;                        ///< without a slash at the end
  std::vector<std::string> capabilities;  ///< empty: not given, which means all
};
/// The hosts in the file's order, which is containerd's order of asking. @source containerd
/// docs/hosts.md
[[nodiscard]] std::vector<HostEntry> parse_hosts_toml(std::string_view toml);

}  // namespace waggle::cli
