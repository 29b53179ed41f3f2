// Parsing of sizes and durations.
#include "node/config_value.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace waggle::node {
namespace {

struct Quantity {
  double number = 0;
  std::string_view unit;
};

std::optional<Quantity> split_quantity(std::string_view text) {
  Quantity quantity;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), quantity.number,
                                            std::chars_format::fixed);
  if (error != std::errc{} || quantity.number < 0) return std::nullopt;
  quantity.unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!quantity.unit.empty() && quantity.unit.front() == ' ') quantity.unit.remove_prefix(1);
  return quantity;
}

}  // namespace

std::uint64_t SizeOrPercent::resolve(std::uint64_t whole) const {
  if (!is_percent) return bytes;
  return static_cast<std::uint64_t>(static_cast<double>(whole) * percent / 100.0);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 11> units = {{{"", 1},
                                                                          {"B", 1},
                                                                          {"KB", 1e3},
                                                                          {"MB", 1e6},
                                                                          {"GB", 1e9},
                                                                          {"TB", 1e12},
                                                                          {"KiB", 1024.0},
                                                                          {"MiB", 1048576.0},
                                                                          {"GiB", 1073741824.0},
                                                                          {"TiB", 1099511627776.0},
                                                                          {"kB", 1e3}}};
  const auto quantity = split_quantity(text);
  if (!quantity) return std::nullopt;
  for (const auto& [name, factor] : units) {
    if (quantity->unit != name) continue;
    const double bytes = quantity->number * factor;
    if (bytes >= 9.0e18 || bytes != std::floor(bytes)) return std::nullopt;
    return static_cast<std::uint64_t>(bytes);
  }
  return std::nullopt;
}

std::optional<SizeOrPercent> parse_size_or_percent(std::string_view text) {
  if (!text.empty() && text.back() == '%') {
    const auto quantity = split_quantity(text.substr(0, text.size() - 1));
    if (!quantity || !quantity->unit.empty() || quantity->number > 100) return std::nullopt;
    return SizeOrPercent{.bytes = 0, .percent = quantity->number, .is_percent = true};
  }
  const auto bytes = parse_size(text);
  if (!bytes) return std::nullopt;
  return SizeOrPercent{.bytes = *bytes, .percent = 0, .is_percent = false};
}

std::optional<Duration> parse_duration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 7> units = {
      {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}};
  const auto quantity = split_quantity(text);
  if (!quantity) return std::nullopt;
  if (quantity->unit.empty() && quantity->number == 0) return Duration{0};
  for (const auto& [name, factor] : units) {
    if (quantity->unit != name) continue;
    const double seconds = quantity->number * factor;
    if (seconds > 9.0e8) return std::nullopt;
    return from_seconds(seconds);
  }
  return std::nullopt;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace waggle::node
