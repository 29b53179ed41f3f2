// One entry per (where, what).
#include "node/trouble_log.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::node {

std::optional<std::string> TroubleLog::note(TimePoint now, const Trouble& trouble) {
  const auto key = std::make_pair(trouble.where, trouble.what);
  std::uint64_t held_back = 0;
  if (const auto found = told_.find(key); found != told_.end()) {
    if (now - found->second.at < period) {
      ++found->second.held_back;
      return std::nullopt;
    }
    held_back = found->second.held_back;
  } else if (told_.size() >= limits::upstream_troubles_max) {
    told_.erase(std::min_element(told_.begin(), told_.end(), [](const auto& a, const auto& b) {
      return a.second.at < b.second.at;
    }));
  }
  told_[key] = {now, 0};
  std::string line = "upstream " + trouble.where + ": " + trouble.what;
  if (!trouble.about.empty()) line += " (" + trouble.about + ")";
  if (!trouble.remedy.empty()) line += "; " + trouble.remedy;
  if (held_back > 0) line += " [" + std::to_string(held_back) + " more since the last such line]";
  return line;
}

}  // namespace waggle::node
