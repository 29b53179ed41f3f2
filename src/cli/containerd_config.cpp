// Line by line: a section header, or a key and its value.
#include "cli/containerd_config.hpp"

#include <utility>

namespace waggle::cli {
namespace {

constexpr std::string_view blanks = " \t\r";

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// The quoted strings of a value: one, or those of a list.
std::vector<std::string> strings_of(std::string_view value) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < value.size();) {
    const auto open = value.find_first_of("\"'#", at);
    if (open == std::string_view::npos || value[open] == '#') break;
    const auto close = value.find(value[open], open + 1);
    if (close == std::string_view::npos) break;
    found.emplace_back(value.substr(open + 1, close - open - 1));
    at = close + 1;
  }
  return found;
}

struct Line {
  std::string_view section;  ///< without brackets, "" before the first
  std::string_view key;      ///< "" for the header itself
  std::string_view value;
};

template <typename Visit>
void for_each_line(std::string_view toml, Visit visit) {
  std::string_view section;
  while (!toml.empty()) {
    const auto end = std::min(toml.find('\n'), toml.size());
    const auto line = trim(toml.substr(0, end));
    toml.remove_prefix(std::min(end + 1, toml.size()));
    if (line.empty() || line.front() == '#') continue;
    if (line.front() == '[') {
      section = line.substr(1, line.rfind(']') - 1);
      visit(Line{section, {}, {}});
    } else if (const auto equals = line.find('='); equals != std::string_view::npos) {
      visit(Line{section, trim(line.substr(0, equals)), trim(line.substr(equals + 1))});
    }
  }
}

bool is_registry_section(std::string_view section) {
  const bool is_cri = section.find("io.containerd.grpc.v1.cri") != std::string_view::npos ||
                      section.find("io.containerd.cri.v1.images") != std::string_view::npos;
  return is_cri && section.ends_with(".registry");
}

}  // namespace

ContainerdConfig parse_containerd_config(std::string_view toml) {
  ContainerdConfig config;
  for_each_line(toml, [&](const Line& line) {
    const auto values = strings_of(line.value);
    if (values.empty()) return;
    if (line.section.empty() && line.key == "root") config.root = values.front();
    if (!is_registry_section(line.section) || line.key != "config_path") return;
    std::string_view rest = values.front();
    while (!rest.empty()) {
      const auto colon = std::min(rest.find(':'), rest.size());
      if (colon > 0) config.config_paths.emplace_back(rest.substr(0, colon));
      rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
  });
  return config;
}

std::vector<HostEntry> parse_hosts_toml(std::string_view toml) {
  std::vector<HostEntry> hosts;
  for_each_line(toml, [&](const Line& line) {
    if (!line.section.starts_with("host.")) return;
    auto names = strings_of(line.section.substr(5));
    if (names.empty()) return;
    std::string url = std::move(names.front());
    while (url.ends_with('/')) url.pop_back();
    if (hosts.empty() || hosts.back().url != url) hosts.push_back({url, {}});
    if (line.key == "capabilities") hosts.back().capabilities = strings_of(line.value);
  });
  return hosts;
}

}  // namespace waggle::cli
