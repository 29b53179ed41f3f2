// Plain text tables and numbers for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace waggle::cli {

/// Columns padded to their widest cell, two spaces apart; the first row is the heading.
[[nodiscard]] std::string format_table(const std::vector<std::vector<std::string>>& rows);
/// "0 B", "640 KiB", "1.5 GiB".
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
/// "4s", "3m12s", "5h04m", "2d03h".
[[nodiscard]] std::string format_seconds(double seconds);

}  // namespace waggle::cli
