// Files, one HTTP request per listener, and waggled itself as the judge of its configuration.
#include "cli/doctor_driver.hpp"

#include "base/endpoint.hpp"
#include "base/random_source.hpp"
#include "cli/api_client_driver.hpp"
#include "cli/containerd_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace waggle::cli {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The directories in `path`, sorted; none when it cannot be read.
std::vector<fs::path> directories_in(const fs::path& path) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_directory(error)) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// True when `url` is one of our mirrors, by address or as localhost.
bool is_ours(const std::string& url, const std::vector<std::string>& mirrors) {
  return std::any_of(mirrors.begin(), mirrors.end(), [&](const std::string& mirror) {
    const auto port = mirror.substr(mirror.rfind(':'));
    return url == "http://" + mirror || url == "http://localhost" + port ||
           url == "http://127.0.0.1" + port;
  });
}

/// Judges one hosts.toml; true when it names us.
bool check_hosts_file(const fs::path& file, const std::vector<std::string>& mirrors,
                      std::vector<Finding>& out) {
  const auto hosts = parse_hosts_toml(read_text(file));
  const auto ours = std::find_if(hosts.begin(), hosts.end(),
                                 [&](const HostEntry& host) { return is_ours(host.url, mirrors); });
  if (ours == hosts.end()) return false;
  const auto& abilities = ours->capabilities;
  const bool pulls =
      abilities.empty() || std::find(abilities.begin(), abilities.end(), "pull") != abilities.end();
  if (!pulls) {
    out.push_back({"warn", "containerd", file.string() + " names waggle without \"pull\"",
                   "set capabilities = [\"pull\", \"resolve\"] for it"});
  } else if (ours != hosts.begin()) {
    out.push_back({"warn", "containerd",
                   file.string() + " asks " + hosts.front().url + " before waggle",
                   "put the section of " + ours->url + " first"});
  }
  return true;
}

std::string hex_nonce() {
  SystemRandomSource random;
  std::array<std::byte, 16> bytes{};
  random.fill(bytes);
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

/// Where a listener on every address is asked.
std::string askable(const std::string& listener) {
  const auto endpoint = Endpoint::parse(listener);
  if (!endpoint || !endpoint->is_unspecified()) return listener;
  const auto port = std::to_string(endpoint->port);
  return "127.0.0.1:" + port;
}

}  // namespace

std::string containerd_root(const DoctorOptions& options) {
  if (!options.containerd_root.empty()) return options.containerd_root;
  return parse_containerd_config(read_text(options.containerd_config)).root;
}

std::vector<std::string> find_ingests(const std::string& root, const std::string& digest) {
  const std::string hex = digest.substr(digest.find(':') + 1);
  std::vector<std::string> found;
  if (hex.empty()) return found;
  for (const auto& ingest :
       directories_in(fs::path(root) / "io.containerd.content.v1.content" / "ingest")) {
    if (read_text(ingest / "ref").find(hex) != std::string::npos) found.push_back(ingest.string());
  }
  return found;
}

void check_containerd(const std::string& config_file, const std::vector<std::string>& mirrors,
                      std::vector<Finding>& out) {
  std::error_code error;
  const auto config = parse_containerd_config(read_text(config_file));
  if (!fs::exists(config_file, error) && !fs::exists(config.root, error)) {
    out.push_back({"ok", "containerd", "not installed here", ""});
    return;
  }
  if (config.config_paths.empty()) {
    out.push_back(
        {"warn", "containerd",
         config_file + " sets no config_path: pulls by Kubernetes do not use waggle",
         "set config_path = \"/etc/containerd/certs.d\" in the registry section of the CRI "
         "plugin and restart containerd (docs/operations.md)"});
    return;
  }
  std::string named;
  for (const auto& path : config.config_paths) {
    for (const auto& directory : directories_in(path)) {
      if (check_hosts_file(directory / "hosts.toml", mirrors, out))
        named += (named.empty() ? "" : ", ") + directory.filename().string();
    }
  }
  const std::string mirror = mirrors.empty() ? "127.0.0.1:30000" : mirrors.front();
  if (named.empty()) {
    out.push_back({"warn", "containerd",
                   "no hosts.toml below " + config.config_paths.front() + " names http://" + mirror,
                   "write " + config.config_paths.front() +
                       "/_default/hosts.toml as docs/operations.md shows"});
  } else {
    out.push_back({"ok", "containerd", "asks waggle first for: " + named, ""});
  }
}

void check_tainted(const nlohmann::ordered_json& tainted, const std::string& root,
                   std::vector<Finding>& out) {
  const std::size_t before = out.size();
  if (tainted.is_array()) {
    for (const auto& entry : tainted) {
      if (!entry.is_string()) continue;
      const auto digest = entry.get<std::string>();
      std::string to_do = "pull again: nothing of it is given out before its proof";
      for (const auto& ingest : find_ingests(root, digest))
        to_do += "; containerd keeps wrong bytes and would resume after them: rm -r " + ingest;
      out.push_back({"warn", "tainted", digest + ": wrong bytes were given out", to_do});
    }
  }
  if (out.size() == before)
    out.push_back({"ok", "tainted", "no digest had wrong bytes within 24 h", ""});
}

void check_listeners(const std::vector<std::string>& listeners, std::vector<Finding>& out) {
  std::string proven;
  for (const auto& listener : listeners) {
    const std::string nonce = hex_nonce();
    const std::string place = askable(listener);
    const auto reply = call_api("http://" + place, "GET", "/livez?nonce=" + nonce);
    if (reply && reply->status == 200 && reply->body == "waggle " + nonce + "\n") {
      proven += (proven.empty() ? "" : ", ") + place;
      continue;
    }
    const std::string why = reply ? "somebody else answers" : reply.error().message();
    out.push_back({"fail", "ports", place + ": " + why,
                   "a Kubernetes Service may have taken the port (NodePort, 30000-32767): move "
                   "mirror.bind or ops.bind"});
  }
  if (!proven.empty()) out.push_back({"ok", "ports", "ours: " + proven, ""});
}

void check_configuration(const std::string& config_file, std::vector<Finding>& out) {
  std::error_code error;
  const fs::path beside = fs::read_symlink("/proc/self/exe", error).parent_path() / "waggled";
  const std::string program = fs::exists(beside, error) ? beside.string() : "waggled";
  std::string quoted = "'";
  for (const char c : config_file) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  const std::string command = "'" + program + "' --config " + quoted + "' --check 2>&1";
  // The user's own argument, quoted, in the user's own shell.
  FILE* pipe = ::popen(command.c_str(), "r");  // NOLINT(cert-env33-c)
  if (pipe == nullptr) return;
  std::string said;
  std::array<char, 512> piece{};
  while (std::fgets(piece.data(), piece.size(), pipe) != nullptr) said += piece.data();
  const int status = ::pclose(pipe);
  while (said.ends_with('\n')) said.pop_back();
  if (status == 0) {
    out.push_back({"ok", "config", said.substr(said.rfind('\n') + 1), ""});
  } else {
    out.push_back({"fail", "config", said, "mend the file; see docs/operations.md"});
  }
}

}  // namespace waggle::cli
