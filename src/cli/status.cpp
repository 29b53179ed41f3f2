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
  fmt::print(
      "{}",
      format_table({
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
                       number(members["suspect"]), number(members["faulty"]),
                       number(members["left"])) +
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
      }));
  return exit_ok;
}

int run_drain(const Options& options) {
  return post(options, "/api/v1/drain") ? exit_ok : exit_failed;
}

int run_reload(const Options& options) {
  return post(options, "/api/v1/reload") ? exit_ok : exit_failed;
}

}  // namespace waggle::cli
