// How little a flood may write into the log.
#include "node/log_limiter.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::node;
using namespace std::chrono_literals;

TEST_SUITE("node/log_limiter") {
  TEST_CASE("a burst of lines, then one per interval that tells how many were left out") {
    LogLimiter limiter;
    TimePoint now{};
    const auto burst = static_cast<std::size_t>(limits::log_lines_burst);
    for (std::size_t i = 0; i < burst; ++i) {
      CHECK(limiter.admit(now, LogSite::handshake) == std::optional<std::uint64_t>(0));
    }
    for (int i = 0; i < 1'000'000; ++i) {
      CHECK_FALSE(limiter.admit(now, LogSite::handshake).has_value());
    }
    CHECK(limiter.admit(now, LogSite::cut_response).has_value());  // another site is not hurt
    now += limits::log_line_interval;
    CHECK(limiter.admit(now, LogSite::handshake) == std::optional<std::uint64_t>(1'000'000));
    CHECK_FALSE(limiter.admit(now, LogSite::handshake).has_value());
    now += limits::log_line_interval;
    CHECK(limiter.admit(now, LogSite::handshake) == std::optional<std::uint64_t>(1));
  }

  TEST_CASE("what was left out is told in words, or not at all") {
    CHECK(suppressed_note(0).empty());
    CHECK(suppressed_note(12) == " (and 12 more like it, not logged)");
  }

  TEST_CASE("foreign text is cut and cannot forge a line") {
    CHECK(loggable("/v2/") == "/v2/");
    CHECK(loggable("a\nb\x1b[2J") == "a?b?[2J");
    CHECK(loggable(std::string(limits::log_text_bytes_max, 'x')).size() ==
          limits::log_text_bytes_max);
    CHECK(loggable(std::string(limits::log_text_bytes_max + 1, 'x')) ==
          std::string(limits::log_text_bytes_max, 'x') + "...");
  }
}
