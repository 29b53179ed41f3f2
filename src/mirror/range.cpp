// Byte range arithmetic. Numbers beyond 64 bits saturate: they lie behind the end of every blob
// anyway.
#include "mirror/range.hpp"

#include "mirror/text.hpp"

#include <algorithm>
#include <limits>

namespace waggle::mirror {
namespace {

constexpr std::string_view unit = "bytes";

std::optional<std::uint64_t> parse_position(std::string_view digits) {
  if (digits.empty()) return std::nullopt;
  constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    value = value > (max - digit) / 10 ? max : value * 10 + digit;
  }
  return value;
}

std::optional<RangeSpec> parse_one(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = text.substr(0, dash);
  const auto second = text.substr(dash + 1);
  RangeSpec spec;
  if (first.empty()) {
    const auto length = parse_position(second);
    if (!length) return std::nullopt;
    spec.kind = RangeSpec::Kind::suffix;
    spec.length = *length;
    return spec;
  }
  const auto begin = parse_position(first);
  if (!begin) return std::nullopt;
  spec.first = *begin;
  if (second.empty()) return spec;
  const auto end = parse_position(second);
  if (!end || *end < *begin) return std::nullopt;
  spec.kind = RangeSpec::Kind::closed;
  spec.last = *end;
  return spec;
}

/// The text behind "bytes" and `separator`; nullopt for another unit.
std::optional<std::string_view> behind_unit(std::string_view header, char separator) {
  header = trim(header);
  if (header.size() <= unit.size() || !iequals(header.substr(0, unit.size()), unit) ||
      header[unit.size()] != separator) {
    return std::nullopt;
  }
  return header.substr(unit.size() + 1);
}

}  // namespace

std::string RangeSpec::to_string() const {
  switch (kind) {
    case Kind::closed:
      return "bytes=" + std::to_string(first) + "-" + std::to_string(last);
    case Kind::open:
      return "bytes=" + std::to_string(first) + "-";
    case Kind::suffix:
      break;
  }
  return "bytes=-" + std::to_string(length);
}

std::optional<RangeSpec> parse_range(std::string_view header) {
  auto set = behind_unit(header, '=');
  if (!set) return std::nullopt;
  std::optional<RangeSpec> only;
  while (true) {
    const auto comma = set->find(',');
    const auto part = trim(set->substr(0, comma));
    if (!part.empty()) {  // RFC 9110 section 5.6.1: empty list elements are ignored
      if (only) return std::nullopt;
      only = parse_one(part);
      if (!only) return std::nullopt;
    }
    if (comma == std::string_view::npos) return only;
    set->remove_prefix(comma + 1);
  }
}

std::optional<ByteRange> resolve_range(const RangeSpec& spec, std::uint64_t size) {
  if (size == 0) return std::nullopt;
  if (spec.kind == RangeSpec::Kind::suffix) {
    if (spec.length == 0) return std::nullopt;
    return ByteRange{size - std::min(spec.length, size), size - 1};
  }
  if (spec.first >= size) return std::nullopt;
  const auto last = spec.kind == RangeSpec::Kind::open ? size - 1 : std::min(spec.last, size - 1);
  return ByteRange{spec.first, last};
}

std::string content_range_text(const ByteRange& range, std::uint64_t size) {
  return "bytes " + std::to_string(range.first) + "-" + std::to_string(range.last) + "/" +
         std::to_string(size);
}

std::string unsatisfied_range_text(std::uint64_t size) { return "bytes */" + std::to_string(size); }

std::optional<ContentRange> parse_content_range(std::string_view header) {
  const auto text = behind_unit(header, ' ');
  if (!text) return std::nullopt;
  const auto slash = text->find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto positions = trim(text->substr(0, slash));
  const auto total = trim(text->substr(slash + 1));
  ContentRange result;
  if (total != "*") {
    result.total = parse_position(total);
    if (!result.total) return std::nullopt;
  }
  if (positions == "*") {
    if (!result.total) return std::nullopt;
    return result;
  }
  const auto dash = positions.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_position(positions.substr(0, dash));
  const auto last = parse_position(positions.substr(dash + 1));
  if (!first || !last || *last < *first || (result.total && *last >= *result.total)) {
    return std::nullopt;
  }
  result.range = ByteRange{*first, *last};
  return result;
}

}  // namespace waggle::mirror
