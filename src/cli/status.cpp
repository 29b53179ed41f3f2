// waggle status: this node and the cluster in a few lines.
#include "cli/table.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

namespace waggle::cli {

namespace {

/// "2 (1-2: 4 members, 1-1: 1 member)"
std::string protocol_text(const nlohmann::json& protocol) {
  std::string mix;
  for (const auto& [version, members] : protocol["members"].items()) {
    const auto count = members.get<std::uint64_t>();
    mix += fmt::format("{}{}: {} member{}", mix.empty() ? "" : ", ", version, count,
                       count == 1 ? "" : "s");
  }
  return fmt::format("{} ({})", protocol["cluster"].get<std::uint64_t>(), mix);
}

std::string key_line(const nlohmann::ordered_json& key) {
  const auto accepted = key.value("accepted_by", std::uint64_t{0});
  const auto lacking = key.value("not_accepted_count", std::uint64_t{0});
  std::string line = fmt::format("{} {}, accepted by {} of {} members, {} seal with it",
                                 key.value("id", ""), key.value("role", ""), accepted,
                                 accepted + lacking, key.value("sealed_with_by", std::uint64_t{0}));
  if (key.value("role", "") != "unknown") {
    line += fmt::format(", {} sessions", key.value("sessions", std::uint64_t{0}));
  }
  if (lacking == 0) return line;
  std::string names;
  std::uint64_t named = 0;
  for (const auto& name : key["not_accepted_by"]) {
    names += (names.empty() ? "" : ", ") + name.get<std::string>();
    ++named;
  }
  if (named < lacking) names += fmt::format(" and {} more", lacking - named);
  return line + "; NOT by " + names;
}

}  // namespace

int run_status(const Options& options) {
  const auto status = fetch(options, "/api/v1/status");
  if (!status) return exit_failed;
  if (options.json) {
    fmt::print("{}\n", status->dump(2));
    return exit_ok;
  }
  const auto& members = (*status)["members"];
  const auto& cache = (*status)["cache"];
  const auto number = [](const auto& value) { return value.template get<std::uint64_t>(); };
  std::vector<std::vector<std::string>> rows = {
      {"node",
       fmt::format("{} ({})", status->value("name", ""), status->value("id", "").substr(0, 8))},
      {"cluster", status->value("cluster", "")},
      {"version", status->value("version", "")},
      {"state", status->value("draining", false) ? "draining"
                : status->value("ready", false)  ? "ready"
                                                 : "starting"},
      {"up", format_seconds(status->value("uptime_seconds", 0.0))},
      {"members",
       fmt::format("{} alive, {} suspect, {} faulty, {} left", number(members["alive"]),
                   number(members["suspect"]), number(members["faulty"]), number(members["left"])) +
           (number(members["incompatible"]) == 0
                ? std::string()
                : fmt::format(", {} incompatible", number(members["incompatible"])))},
      {"protocol", protocol_text((*status)["protocol"])},
      {"index",
       fmt::format("{} digests, {} facts, root {}", number((*status)["index"]["digests"]),
                   number((*status)["index"]["facts"]), (*status)["index"].value("root", ""))},
      {"state hash", status->value("state_hash", "")},
      {"cache", fmt::format("{} of {}, {} free on disk", format_bytes(number(cache["bytes"])),
                            format_bytes(number(cache["max_bytes"])),
                            format_bytes(number(cache["disk_free_bytes"])))},
      {"swarms", fmt::format("{} open, {} sessions", number((*status)["swarms"]),
                             number((*status)["sessions"]))},
  };
  for (const auto& key : status->value("keys", nlohmann::ordered_json::array())) {
    rows.push_back({"key", key_line(key)});
  }
  for (const auto& clone : status->value("clones", nlohmann::ordered_json::array())) {
    rows.push_back(
        {"CLONED", fmt::format("{} at {} and at {} {}: see waggle doctor", clone.value("name", ""),
                               clone.value("address", ""), clone.value("other_address", ""),
                               clone.value("other_name", ""))});
  }
  fmt::print("{}", format_table(rows));
  return exit_ok;
}

int run_drain(const Options& options) {
  return post(options, "/api/v1/drain") ? exit_ok : exit_failed;
}

int run_reload(const Options& options, bool force) {
  const auto reply = post(options, force ? "/api/v1/reload?force=true" : "/api/v1/reload");
  if (!reply) return exit_failed;
  if (options.json) {
    fmt::print("{}\n", reply->dump(2));
    return exit_ok;
  }
  for (const auto& warning : reply->value("warnings", nlohmann::ordered_json::array())) {
    fmt::print(stderr, "waggle: warning: {}\n", warning.get<std::string>());
  }
  return exit_ok;
}

}  // namespace waggle::cli
