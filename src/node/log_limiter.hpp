// Keeps the log small when others decide how often something happens. Used by the node driver;
// knows no logger.
#pragma once

#include "base/limits.hpp"
#include "base/time.hpp"
#include "base/token_bucket.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waggle::node {

/// What somebody else can make this node log, as often as they like. Lines below info are not
/// limited: who asks for debug gets it.
enum class LogSite : std::uint8_t {
  handshake,         ///< a connection that became no session
  session,           ///< a session that ended for a reason worth knowing
  unreadable_block,  ///< a peer asked for a block that cannot be read
  cut_response,      ///< a client's answer ended early
  failed_download,
  tainted_digest,
  incarnation,  ///< the own incarnation or what was told could not be persisted
  count,
};

/// Each site may write limits::log_lines_burst lines at once and one per limits::log_line_interval
/// afterwards; what is left out is counted and told with the next line.
class LogLimiter {
 public:
  LogLimiter();
  /// How many lines were left out since the last one, when this one may be written.
  [[nodiscard]] std::optional<std::uint64_t> admit(TimePoint now, LogSite site);

 private:
  struct Site {
    TokenBucket lines;
    std::uint64_t suppressed = 0;
  };
  std::array<Site, static_cast<std::size_t>(LogSite::count)> sites_;
};

/// "" for 0, else " (and 12 more like it, not logged)".
[[nodiscard]] std::string suppressed_note(std::uint64_t count);

/// At most limits::log_text_bytes_max of a text that somebody else wrote, control characters as
/// '?': it can neither fill the log nor forge a line.
[[nodiscard]] std::string loggable(std::string_view text);

}  // namespace waggle::node
