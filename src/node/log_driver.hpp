// Where log lines go: stderr, as text or as one JSON object per line.
#pragma once

#include <string>

namespace waggle::node {

/// @param level   a level of log.level  @param format  "text" or "json"
void set_up_log(const std::string& level, const std::string& format);
void set_log_level(const std::string& level);

}  // namespace waggle::node
