// The table of keys and the walk over a YAML document. yaml-cpp's exceptions end here.
#include "node/config.hpp"

#include "node/join_hint.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <set>

namespace waggle::node {
namespace {

/// Sets one key from its YAML value; returns what is wrong with it.
using Setter = std::function<std::optional<std::string>(Config&, const YAML::Node&)>;

struct KeySpec {
  Setter set;
  bool in_this_build = true;
  bool is_list = false;
};

std::optional<std::string> scalar(const YAML::Node& value, std::string& out) {
  if (value.IsNull()) {
    out.clear();
    return std::nullopt;
  }
  if (!value.IsScalar()) return "expected one value, got a list or map";
  out = value.Scalar();
  return std::nullopt;
}

template <typename Member>
Setter text(Member member) {
  return
      [member](Config& config, const YAML::Node& value) { return scalar(value, member(config)); };
}

template <typename Member>
Setter choice(Member member, std::vector<std::string> allowed) {
  return [member, allowed = std::move(allowed)](Config& config, const YAML::Node& value) {
    std::string given;
    if (auto wrong = scalar(value, given)) return wrong;
    if (std::find(allowed.begin(), allowed.end(), given) == allowed.end()) {
      std::string all;
      for (const auto& one : allowed) all += (all.empty() ? "" : " | ") + one;
      return std::optional<std::string>("'" + given + "' is not one of " + all);
    }
    member(config) = given;
    return std::optional<std::string>();
  };
}

template <typename Member, typename Parse>
Setter parsed(Member member, Parse parse, const char* expected) {
  return [member, parse, expected](Config& config, const YAML::Node& value) {
    std::string given;
    if (auto wrong = scalar(value, given)) return wrong;
    const auto result = parse(given);
    if (!result) return std::optional<std::string>("'" + given + "' is not " + expected);
    member(config) = *result;
    return std::optional<std::string>();
  };
}

std::optional<std::uint64_t> parse_count(std::string_view digits) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

std::optional<bool> parse_bool(std::string_view word) {
  if (word == "true") return true;
  if (word == "false") return false;
  return std::nullopt;
}

template <typename Member>
Setter size(Member member) {
  return parsed(member, parse_size, "a size such as 64MiB or 2GB");
}
template <typename Member>
Setter count(Member member) {
  return parsed(member, parse_count, "a whole number");
}
template <typename Member>
Setter duration(Member member) {
  return parsed(member, parse_duration, "a duration such as 250ms, 10s or 7d");
}
template <typename Member>
Setter flag(Member member) {
  return parsed(member, parse_bool, "true or false");
}

/// A list; a scalar stands for a list of one (environment values are split at commas before).
template <typename Member>
Setter list(Member member) {
  return [member](Config& config, const YAML::Node& value) -> std::optional<std::string> {
    std::vector<std::string> items;
    if (value.IsScalar()) {
      items.push_back(value.Scalar());
    } else if (value.IsSequence()) {
      for (const auto& item : value) {
        if (!item.IsScalar()) return "expected a list of plain values";
        items.push_back(item.Scalar());
      }
    } else if (!value.IsNull()) {
      return "expected a list";
    }
    member(config) = std::move(items);
    return std::nullopt;
  };
}

template <typename Member>
Setter text_map(Member member) {
  return [member](Config& config, const YAML::Node& value) -> std::optional<std::string> {
    if (value.IsNull()) return std::nullopt;
    if (!value.IsMap()) return "expected a map of plain values";
    for (const auto& entry : value) {
      if (!entry.second.IsScalar()) return "expected a map of plain values";
      member(config)[entry.first.Scalar()] = entry.second.Scalar();
    }
    return std::nullopt;
  };
}

std::optional<std::string> set_registry(RegistryConfig& registry, const YAML::Node& value) {
  if (!value.IsMap())
    return "expected { endpoint:, username:, password_file:, ca_file:, insecure: }";
  for (const auto& entry : value) {
    const std::string& name = entry.first.Scalar();
    std::string given;
    if (auto wrong = scalar(entry.second, given)) return name + ": " + *wrong;
    if (name == "endpoint") {
      if (!given.starts_with("http://") && !given.starts_with("https://")) {
        return "endpoint: '" + given + "' does not start with http:// or https://";
      }
      registry.endpoint = given;
    } else if (name == "username") {
      registry.username = given;
    } else if (name == "password_file") {
      registry.password_file = given;
    } else if (name == "ca_file") {
      registry.ca_file = given;
    } else if (name == "insecure") {
      const auto yes = parse_bool(given);
      if (!yes) return "insecure: '" + given + "' is not true or false";
      registry.insecure = *yes;
    } else {
      return "unknown key '" + name +
             "' (known: endpoint, username, password_file, ca_file, insecure)";
    }
  }
  return std::nullopt;
}

std::optional<std::string> set_registries(Config& config, const YAML::Node& value) {
  if (value.IsNull()) return std::nullopt;
  if (!value.IsMap()) return "expected a map of registry names";
  for (const auto& entry : value) {
    const std::string& name = entry.first.Scalar();
    if (auto wrong = set_registry(config.upstream.registries[name], entry.second)) {
      return "'" + name + "': " + *wrong;
    }
  }
  return std::nullopt;
}

std::optional<std::string> set_prefetch(Config& config, const YAML::Node& value) {
  if (!value.IsMap()) return "expected { chunk:, workers: }";
  for (const auto& entry : value) {
    const std::string& name = entry.first.Scalar();
    std::string given;
    if (auto wrong = scalar(entry.second, given)) return name + ": " + *wrong;
    const auto number = name == "chunk" ? parse_size(given) : parse_count(given);
    if (name != "chunk" && name != "workers")
      return "unknown key '" + name + "' (known: chunk, workers)";
    if (!number || *number == 0) return name + ": '" + given + "' is not a positive number";
    (name == "chunk" ? config.mirror.prefetch_chunk : config.mirror.prefetch_workers) = *number;
  }
  return std::nullopt;
}

std::optional<std::string> set_containerd(Config& config, const YAML::Node& value) {
  if (!value.IsMap()) return "expected { content_store: }";
  for (const auto& entry : value) {
    if (entry.first.Scalar() != "content_store") {
      return "unknown key '" + entry.first.Scalar() + "' (known: content_store)";
    }
    if (auto wrong = scalar(entry.second, config.cache.containerd_content_store)) return wrong;
  }
  return std::nullopt;
}

#define WAGGLE_KEY(path) [](Config& config) -> auto& { return config.path; }

/// The keys of the contract. `later`: accepted with a warning, its feature is not in this build.
class KeyTable {
 public:
  KeyTable() {
    add_node_and_cluster();
    add_transfer_and_upstream();
    add_mirror();
    add_services();
  }
  std::map<std::string, KeySpec> keys;

 private:
  void now(const char* path, Setter set) { keys[path] = {std::move(set), true, false}; }
  void later(const char* path, Setter set) { keys[path] = {std::move(set), false, false}; }
  void now_list(const char* path, Setter set) { keys[path] = {std::move(set), true, true}; }
  void later_list(const char* path, Setter set) { keys[path] = {std::move(set), false, true}; }
  void add_node_and_cluster();
  void add_transfer_and_upstream();
  void add_mirror();
  void add_services();
};

void KeyTable::add_node_and_cluster() {
  now("node.name", text(WAGGLE_KEY(node.name)));
  now("node.data_dir", text(WAGGLE_KEY(node.data_dir)));
  now("node.zone", text(WAGGLE_KEY(node.zone)));
  later("node.labels", text_map(WAGGLE_KEY(node.labels)));

  now("cluster.name", text(WAGGLE_KEY(cluster.name)));
  now_list("cluster.key_files", list(WAGGLE_KEY(cluster.key_files)));
  now_list("cluster.bind", list(WAGGLE_KEY(cluster.bind)));
  now_list("cluster.advertise", list(WAGGLE_KEY(cluster.advertise)));
  now_list("cluster.join", list(WAGGLE_KEY(cluster.join)));
  now("cluster.broadcast",
      choice(WAGGLE_KEY(cluster.broadcast), {"auto", "relay", "unicast", "multicast"}));
  now("cluster.packet_bytes", size(WAGGLE_KEY(cluster.packet_bytes)));
  later_list("cluster.accept", list(WAGGLE_KEY(cluster.accept)));
}

void KeyTable::add_transfer_and_upstream() {
  later("transfer.max_upload", size(WAGGLE_KEY(transfer.max_upload)));
  later("transfer.max_download", size(WAGGLE_KEY(transfer.max_download)));
  now("transfer.threads", count(WAGGLE_KEY(transfer.threads)));
  later("transfer.dscp", count(WAGGLE_KEY(transfer.dscp)));
  now("transfer.relay", flag(WAGGLE_KEY(transfer.relay)));
  later("transfer.early_bytes", choice(WAGGLE_KEY(transfer.early_bytes), {"members", "own"}));

  now_list("upstream.allow", list(WAGGLE_KEY(upstream.allow)));
  now_list("upstream.allow_local", list(WAGGLE_KEY(upstream.allow_local)));
  now("upstream.in_flight_per_host", count(WAGGLE_KEY(upstream.in_flight_per_host)));
  now("upstream.connect_timeout", duration(WAGGLE_KEY(upstream.connect_timeout)));
  now("upstream.idle_timeout", duration(WAGGLE_KEY(upstream.idle_timeout)));
  now("upstream.docker_config", text(WAGGLE_KEY(upstream.docker_config)));
  now("upstream.registries", set_registries);
}

void KeyTable::add_mirror() {
  now_list("mirror.bind", list(WAGGLE_KEY(mirror.bind)));
  now_list("mirror.allow", list(WAGGLE_KEY(mirror.allow)));
  now("mirror.on_miss", choice(WAGGLE_KEY(mirror.on_miss), {"fetch", "not_found"}));
  later("mirror.access", choice(WAGGLE_KEY(mirror.access), {"open", "challenge"}));
  now("mirror.default_registry", text(WAGGLE_KEY(mirror.default_registry)));
  now("mirror.tags", choice(WAGGLE_KEY(mirror.tags), {"upstream", "peers", "off"}));
  now("mirror.first_byte", duration(WAGGLE_KEY(mirror.first_byte)));
  later("mirror.prefetch", set_prefetch);
  now("mirror.lazy_reads", choice(WAGGLE_KEY(mirror.lazy_reads), {"peers", "upstream"}));
  later("mirror.share_unproven", flag(WAGGLE_KEY(mirror.share_unproven)));
}

void KeyTable::add_services() {
  later_list("huggingface.bind", list(WAGGLE_KEY(huggingface.bind)));
  later("huggingface.access", choice(WAGGLE_KEY(huggingface.access), {"open", "challenge"}));
  later("huggingface.endpoint", text(WAGGLE_KEY(huggingface.endpoint)));
  later("huggingface.token_file", text(WAGGLE_KEY(huggingface.token_file)));

  later_list("objects.bind", list(WAGGLE_KEY(objects.bind)));
  later("objects.access", choice(WAGGLE_KEY(objects.access), {"open", "challenge"}));
  later("objects.access_keys_file", text(WAGGLE_KEY(objects.access_keys_file)));
  later("objects.tls_cert", text(WAGGLE_KEY(objects.tls_cert)));
  later("objects.tls_key", text(WAGGLE_KEY(objects.tls_key)));
  later("objects.replicas", count(WAGGLE_KEY(objects.replicas)));

  now_list("ops.bind", list(WAGGLE_KEY(ops.bind)));
  now("ops.expose", choice(WAGGLE_KEY(ops.expose), {"health", "all"}));
  now("ops.socket", text(WAGGLE_KEY(ops.socket)));

  const char* share = "a size such as 50GB, or a share such as 20%";
  now("cache.max_bytes", parsed(WAGGLE_KEY(cache.max_bytes), parse_size_or_percent, share));
  now("cache.min_free", parsed(WAGGLE_KEY(cache.min_free), parse_size_or_percent, share));
  later("cache.containerd", set_containerd);
  later("cache.scrub", duration(WAGGLE_KEY(cache.scrub)));

  later("kubernetes.events", choice(WAGGLE_KEY(kubernetes.events), {"auto", "on", "off"}));
  later("kubernetes.namespace", text(WAGGLE_KEY(kubernetes.namespace_name)));
  later("kubernetes.pod", text(WAGGLE_KEY(kubernetes.pod)));
  later("kubernetes.node", text(WAGGLE_KEY(kubernetes.node)));

  now("log.level", choice(WAGGLE_KEY(log.level),
                          {"trace", "debug", "info", "warn", "error", "critical", "off"}));
  later("log.modules", text_map(WAGGLE_KEY(log.modules)));
  now("log.format", choice(WAGGLE_KEY(log.format), {"text", "json"}));
}

#undef WAGGLE_KEY

const std::map<std::string, KeySpec>& keys() {
  static const KeyTable table;
  return table.keys;
}

class Parser {
 public:
  explicit Parser(std::string file_name) : file_name_(std::move(file_name)) {}

  void document(std::string_view yaml) {
    try {
      const YAML::Node root = YAML::Load(std::string(yaml));
      if (root.IsNull()) return;
      if (!root.IsMap()) {
        result_.errors.push_back({place(root), "(document)", "expected a map of sections"});
        return;
      }
      for (const auto& section : root) this->section(section.first, section.second);
    } catch (const YAML::Exception& error) {
      result_.errors.push_back({file_name_ + ":" + std::to_string(error.mark.line + 1),
                                "(document)", "not valid YAML: " + error.msg});
    }
  }

  void environment(const std::map<std::string, std::string>& variables) {
    std::map<std::string, std::string> path_of;
    for (const auto& [path, spec] : keys()) path_of[variable_name(path)] = path;
    for (const auto& [name, value] : variables) {
      if (!name.starts_with("WAGGLE_") || name == "WAGGLE_API") continue;
      const auto found = path_of.find(name);
      const std::string where = "env " + name;
      if (found == path_of.end()) {
        unknown(where, name, names_of(path_of));
        continue;
      }
      apply_variable(where, found->second, value);
    }
  }

  ConfigResult take() { return std::move(result_); }

 private:
  static std::string variable_name(const std::string& path) {
    std::string name = "WAGGLE_" + path;
    for (char& c : name)
      c = c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return name;
  }

  static std::vector<std::string> names_of(const std::map<std::string, std::string>& map) {
    std::vector<std::string> names;
    for (const auto& [name, value] : map) names.push_back(name);
    return names;
  }

  std::string place(const YAML::Node& node) const {
    return file_name_ + ":" + std::to_string(node.Mark().line + 1);
  }

  void unknown(const std::string& where, const std::string& key,
               const std::vector<std::string>& known) {
    const auto near = closest(key, known);
    result_.errors.push_back(
        {where, key, near ? "unknown key; did you mean '" + *near + "'?" : "unknown key"});
  }

  void section(const YAML::Node& name_node, const YAML::Node& body) {
    const std::string& name = name_node.Scalar();
    std::set<std::string> sections;
    std::vector<std::string> paths;
    for (const auto& [path, spec] : keys()) {
      sections.insert(path.substr(0, path.find('.')));
      if (path.starts_with(name + ".")) paths.push_back(path);
    }
    if (!sections.contains(name))
      return unknown(place(name_node), name, {sections.begin(), sections.end()});
    if (body.IsNull()) return;
    if (!body.IsMap()) {
      result_.errors.push_back({place(body), name, "expected a map of keys"});
      return;
    }
    for (const auto& entry : body) {
      const std::string path = name + "." + entry.first.Scalar();
      if (!keys().contains(path)) {
        unknown(place(entry.first), path, paths);
        continue;
      }
      apply(place(entry.first), path, entry.second);
    }
  }

  void apply_variable(const std::string& where, const std::string& path, const std::string& value) {
    try {
      YAML::Node node = YAML::Load(value);
      if (keys().at(path).is_list && !node.IsSequence()) {
        YAML::Node split(YAML::NodeType::Sequence);
        for (std::size_t from = 0; from <= value.size() && !value.empty();) {
          const auto comma = std::min(value.find(',', from), value.size());
          split.push_back(value.substr(from, comma - from));
          from = comma + 1;
        }
        node = split;
      } else if (node.IsNull() || node.IsScalar()) {
        node = YAML::Node(value);
      }
      apply(where, path, node);
    } catch (const YAML::Exception& error) {
      result_.errors.push_back({where, path, "not a valid value: " + error.msg});
    }
  }

  void apply(const std::string& where, const std::string& path, const YAML::Node& value) {
    const KeySpec& spec = keys().at(path);
    result_.places[path] = where;
    if (auto wrong = spec.set(result_.config, value)) {
      result_.errors.push_back({where, path, *wrong});
    } else if (!spec.in_this_build) {
      result_.warnings.push_back({where, path, "accepted, but its feature is not in this build"});
    }
  }

  std::string file_name_;
  ConfigResult result_;
};

/// Each hint by itself; and one group per family, since a node is in one cluster.
void validate_join(ConfigResult& result) {
  const char* const key = "cluster.join";
  const std::string place = result.place_of(key);
  std::set<bool> group_families;
  for (const auto& text : result.config.cluster.join) {
    const auto parsed = parse_join_hint(text);
    if (const auto* wrong = std::get_if<std::string>(&parsed)) {
      result.errors.push_back({place, key, "'" + text + "' " + *wrong});
      continue;
    }
    const auto& hint = std::get<JoinHint>(parsed);
    if (hint.kind == JoinHint::Kind::service) {
      result.warnings.push_back(
          {place, key, "'" + text + "' is accepted, but its feature is not in this build"});
    }
    if (hint.kind == JoinHint::Kind::multicast &&
        !group_families.insert(hint.endpoint.is_v4()).second) {
      result.errors.push_back({place, key, "'" + text + "' is a second group of its family"});
    }
  }
}

/// What no single setter can see: needed values and forms that several keys share.
void validate(ConfigResult& result) {
  const auto fail = [&](const char* key, std::string message) {
    result.errors.push_back({result.place_of(key), key, std::move(message)});
  };
  const Config& config = result.config;
  if (config.cluster.key_files.empty() || config.cluster.key_files.size() > 2) {
    fail("cluster.key_files", "needs 1 or 2 files (make one with `waggle keygen`)");
  }
  if (config.cluster.name.empty() || config.cluster.name.size() > 64) {
    fail("cluster.name", "needs 1 to 64 characters");
  }
  if (config.cluster.bind.empty())
    fail("cluster.bind", "needs at least one address, such as [::]:7947");
  if (config.cluster.packet_bytes < 576 ||
      config.cluster.packet_bytes > limits::datagram_bytes_max) {
    fail("cluster.packet_bytes",
         "must lie between 576 and " + std::to_string(limits::datagram_bytes_max));
  }
  if (config.node.data_dir.empty()) fail("node.data_dir", "must not be empty");
  if (config.node.name.size() > limits::node_name_bytes_max)
    fail("node.name", "is longer than 64 bytes");
  if (config.node.zone.size() > limits::zone_bytes_max)
    fail("node.zone", "is longer than 32 bytes");
  validate_join(result);
  if (config.mirror.first_byte <= Duration{0}) fail("mirror.first_byte", "must be longer than 0");
  if (config.transfer.threads > 256) fail("transfer.threads", "must be at most 256");
  const auto in_flight = config.upstream.in_flight_per_host;
  if (in_flight == 0 || in_flight > limits::host_entries_max)
    fail("upstream.in_flight_per_host", "must be 1 to 4096");
}

}  // namespace

std::string ConfigResult::place_of(const std::string& key) const {
  const auto found = places.find(key);
  return found == places.end() ? "default" : found->second;
}

ConfigResult parse_config(std::string_view yaml, const std::string& file_name,
                          const std::map<std::string, std::string>& environment) {
  Parser parser(file_name);
  parser.document(yaml);
  parser.environment(environment);
  ConfigResult result = parser.take();
  if (result.errors.empty()) validate(result);
  return result;
}

}  // namespace waggle::node
