// What every verb of `waggle` gets and gives: options in, exit code out (0 ok, 1 failed, 2 bad
// usage).
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace waggle::cli {

inline constexpr int exit_ok = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

struct Options {
  std::string api = "/run/waggle/waggle.sock";
  bool json = false;
};

/// Where `waggle doctor` looks beside the daemon.
struct DoctorOptions {
  std::string config = "/etc/waggle/waggle.yaml";  ///< read when the daemon does not answer
  std::string containerd_config = "/etc/containerd/config.toml";
  std::string containerd_root;  ///< empty: what containerd's configuration says
};

/// GET `path`; the parsed reply, or nullopt after telling the user on stderr what failed and what
/// to do.
[[nodiscard]] std::optional<nlohmann::ordered_json> fetch(const Options& options,
                                                          const std::string& path);
/// POST `path`; the parsed reply, or nullopt after the user was told.
[[nodiscard]] std::optional<nlohmann::ordered_json> post(const Options& options,
                                                         const std::string& path);

[[nodiscard]] int run_status(const Options& options);
[[nodiscard]] int run_members(const Options& options);
[[nodiscard]] int run_ls(const Options& options);
[[nodiscard]] int run_who_has(const Options& options, const std::string& digest);
[[nodiscard]] int run_drain(const Options& options);
[[nodiscard]] int run_reload(const Options& options, bool force);
/// Prints a finding per check; exit_failed when one of them failed.
[[nodiscard]] int run_doctor(const Options& options, const DoctorOptions& doctor);
/// Writes a new cluster key to `file` (0600, never overwriting), or to stdout when it is empty.
[[nodiscard]] int run_keygen(const std::string& file);

}  // namespace waggle::cli
