// The daemon's command line: configuration, log, run.
#include "node/config.hpp"
#include "node/error.hpp"
#include "node/log_driver.hpp"
#include "node/node_driver.hpp"
#include "node/state_files_driver.hpp"

#include <fmt/format.h>
#include <sodium.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <exception>

#include <sys/resource.h>

extern "C" char** environ;  // NOLINT: POSIX declares it nowhere

namespace {

using namespace waggle::node;

constexpr std::size_t config_bytes_max = std::size_t{1} << 20U;

std::map<std::string, std::string> environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

ConfigResult load_config(const std::string& path) {
  const auto text = read_file(path, config_bytes_max);
  if (!text) {
    ConfigResult failed;
    failed.errors.push_back({path, "--config", "cannot read it: " + text.error().message()});
    return failed;
  }
  return parse_config(*text, path, environment());
}

int print_errors(const ConfigResult& config) {
  for (const auto& error : config.errors) fmt::print(stderr, "waggled: {}\n", error.to_string());
  return 2;
}

/// As many descriptors as the system grants: sessions, clients and files together need more than
/// the usual 1,024, and a process without one can't even refuse a connection.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

int run(const std::string& path, bool check) {
  ConfigResult config = load_config(path);
  if (!config.errors.empty()) return print_errors(config);
  if (check) {
    for (const auto& warning : config.warnings)
      fmt::print(stderr, "waggled: warning: {}\n", warning.to_string());
    (void)load_keys(config.config.cluster.key_files, config.place_of("cluster.key_files"));
    fmt::print("{}: ok\n", path);
    return 0;
  }
  set_up_log(config.config.log.level, config.config.log.format);
  for (const auto& warning : config.warnings) spdlog::warn("{}", warning.to_string());
  raise_descriptor_limit();
  NodeDriver node(std::move(config), [path] { return load_config(path); });
  return node.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("waggled: makes a cluster download each byte once", "waggled");
  std::string path = "/etc/waggle/waggle.yaml";
  bool check = false;
  app.set_version_flag("--version", WAGGLE_VERSION);
  app.add_option("--config", path, "configuration file (YAML)")->capture_default_str();
  app.add_flag("--check", check, "validate the configuration and exit (0 valid, 2 not)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (sodium_init() < 0) {
    fmt::print(stderr, "waggled: libsodium does not start on this machine\n");
    return 1;
  }
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(path, check);
  } catch (const StartError& error) {
    fmt::print(stderr, "waggled: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "waggled: {}\n", error.what());
    return 1;
  }
}
