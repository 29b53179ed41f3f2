// One bucket and one counter per site.
#include "node/log_limiter.hpp"

#include <algorithm>
#include <utility>

namespace waggle::node {
namespace {

TokenBucket lines_bucket() {
  return {1 / to_seconds(limits::log_line_interval), limits::log_lines_burst};
}

}  // namespace

LogLimiter::LogLimiter()
    : sites_([]<std::size_t... I>(std::index_sequence<I...>) {
        return std::array<Site, sizeof...(I)>{((void)I, Site{lines_bucket()})...};
      }(std::make_index_sequence<static_cast<std::size_t>(LogSite::count)>())) {}

std::optional<std::uint64_t> LogLimiter::admit(TimePoint now, LogSite site) {
  Site& entry = sites_.at(static_cast<std::size_t>(site));
  if (!entry.lines.take(now)) {
    ++entry.suppressed;
    return std::nullopt;
  }
  return std::exchange(entry.suppressed, 0);
}

std::string suppressed_note(std::uint64_t count) {
  if (count == 0) return {};
  return " (and " + std::to_string(count) + " more like it, not logged)";
}

std::string loggable(std::string_view text) {
  const bool cut = text.size() > limits::log_text_bytes_max;
  std::string out(text.substr(0, limits::log_text_bytes_max));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  if (cut) out += "...";
  return out;
}

}  // namespace waggle::node
