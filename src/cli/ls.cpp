// waggle ls: the blobs of this node, complete and partial.
#include "cli/table.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

namespace waggle::cli {

int run_ls(const Options& options) {
  const auto reply = fetch(options, "/api/v1/blobs");
  if (!reply) return exit_failed;
  if (options.json) {
    fmt::print("{}\n", reply->dump(2));
    return exit_ok;
  }
  std::vector<std::vector<std::string>> rows = {{"DIGEST", "SIZE", "STATE", "HOLDERS"}};
  for (const auto& blob : (*reply)["blobs"]) {
    const auto size = blob["size"].is_null() ? 0 : blob["size"].get<std::uint64_t>();
    const auto have = blob.value("have_bytes", std::uint64_t{0});
    rows.push_back({blob.value("digest", ""), format_bytes(size),
                    blob.value("complete", false)
                        ? "complete"
                        : fmt::format("{} %", size == 0 ? 0 : have * 100 / size),
                    std::to_string(blob["holders"].size())});
  }
  fmt::print("{}", format_table(rows));
  return exit_ok;
}

}  // namespace waggle::cli
