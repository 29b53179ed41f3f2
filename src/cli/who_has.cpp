// waggle who-has: the holders of a digest, from this node's memory.
#include "cli/table.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

namespace waggle::cli {

int run_who_has(const Options& options, const std::string& digest) {
  const auto blob = fetch(options, "/api/v1/blobs/" + digest);
  if (!blob) return exit_failed;
  if (options.json) {
    fmt::print("{}\n", blob->dump(2));
    return exit_ok;
  }
  for (const auto& holder : (*blob)["holders"]) fmt::print("{}\n", holder.get<std::string>());
  if (!blob->value("complete", false)) {
    fmt::print(stderr, "this node has {} of it\n",
               format_bytes(blob->value("have_bytes", std::uint64_t{0})));
  }
  return exit_ok;
}

}  // namespace waggle::cli
