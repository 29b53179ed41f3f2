// waggle doctor: what is wrong with this node, and what to do about it.
#include "cli/api_client_driver.hpp"
#include "cli/containerd_config.hpp"
#include "cli/doctor_driver.hpp"
#include "cli/table.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace waggle::cli {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> strings_in(const Json& document, const char* key) {
  std::vector<std::string> found;
  if (!document.contains(key) || !document[key].is_array()) return found;
  for (const auto& item : document[key]) {
    if (item.is_string()) found.push_back(item.get<std::string>());
  }
  return found;
}

/// GET as JSON, or nullopt after noting why as the daemon's finding.
std::optional<Json> ask(const Options& options, const std::string& path,
                        std::vector<Finding>& findings) {
  const auto reply = call_api(options.api, "GET", path);
  if (!reply) {
    findings.push_back({"fail", "daemon",
                        fmt::format("no answer at {}: {}", options.api, reply.error().message()),
                        "systemctl start waggled; journalctl -u waggled; or name its socket or ops "
                        "address with --api"});
    return std::nullopt;
  }
  auto document = Json::parse(reply->body, nullptr, false);
  if (reply->status != 200 || !document.is_object()) {
    findings.push_back({"fail", "daemon",
                        fmt::format("{} answers {} to {}", options.api, reply->status, path),
                        "use the unix socket or a loopback address of a waggled of this version"});
    return std::nullopt;
  }
  return document;
}

std::vector<Finding> see_node(const Options& options, const DoctorOptions& doctor) {
  std::vector<Finding> findings;
  const auto status = ask(options, "/api/v1/status", findings);
  if (!status) {
    check_configuration(doctor.config, findings);
    return findings;
  }
  const auto report = ask(options, "/api/v1/doctor", findings);
  if (!report) return findings;
  findings.push_back({"ok", "daemon",
                      fmt::format("waggled {}, up {}", status->value("version", ""),
                                  format_seconds(status->value("uptime_seconds", 0.0))),
                      ""});
  if (report->contains("findings")) {
    for (const auto& item : (*report)["findings"]) {
      findings.push_back({item.value("level", "fail"), item.value("check", ""),
                          item.value("what", ""), item.value("to_do", "")});
    }
  }
  check_listeners(strings_in(*report, "listeners"), findings);
  check_containerd(doctor.containerd_config, strings_in(*report, "mirrors"), findings);
  check_tainted(status->value("tainted", Json()), containerd_root(doctor), findings);
  return findings;
}

}  // namespace

int run_doctor(const Options& options, const DoctorOptions& doctor) {
  const auto findings = see_node(options, doctor);
  const auto count = [&](const char* level) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Finding& finding) { return finding.level == level; });
  };
  const bool ok = count("fail") == 0;
  if (options.json) {
    Json list = Json::array();
    for (const auto& finding : findings) {
      list.push_back({{"check", finding.check},
                      {"level", finding.level},
                      {"what", finding.what},
                      {"to_do", finding.to_do}});
    }
    fmt::print("{}\n", Json{{"ok", ok}, {"findings", list}}.dump(2));
    return ok ? exit_ok : exit_failed;
  }
  for (const auto& finding : findings) {
    fmt::print("{:<4}  {:<10}  {}\n", finding.level, finding.check, finding.what);
    if (finding.level != "ok") fmt::print("{:<18}-> {}\n", "", finding.to_do);
  }
  fmt::print("{} ok, {} to look at, {} failed\n", count("ok"), count("warn"), count("fail"));
  return ok ? exit_ok : exit_failed;
}

}  // namespace waggle::cli
