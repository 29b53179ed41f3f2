// waggle members: who is in the cluster.
#include "cli/table.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

namespace waggle::cli {

int run_members(const Options& options) {
  const auto reply = fetch(options, "/api/v1/members");
  if (!reply) return exit_failed;
  if (options.json) {
    fmt::print("{}\n", reply->dump(2));
    return exit_ok;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "ID", "STATE", "ADDRESS", "ZONE", "VERSION", "KEYS"}};
  for (const auto& member : (*reply)["members"]) {
    std::string addresses;
    for (const auto& address : member["addresses"]) {
      addresses += (addresses.empty() ? "" : ",") + address.get<std::string>();
    }
    std::string state = member.value("state", "");
    if (member.value("draining", false)) state += ",draining";
    if (!member.value("compatible", true)) state += ",incompatible";
    if (member.value("self", false)) state += " (this node)";
    std::string keys;
    for (const auto& key : member.value("keys", nlohmann::ordered_json::array())) {
      keys += (keys.empty() ? "" : ",") + key.get<std::string>();
    }
    rows.push_back({member.value("name", ""), member.value("id", "").substr(0, 8), state, addresses,
                    member.value("zone", ""), member.value("version", ""), keys});
  }
  fmt::print("{}", format_table(rows));
  return exit_ok;
}

}  // namespace waggle::cli
