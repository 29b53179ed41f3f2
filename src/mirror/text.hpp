// The few text helpers HTTP parsing needs, ASCII only: locales have no say in protocols.
#pragma once

#include <string>
#include <string_view>

namespace waggle::mirror {

[[nodiscard]] constexpr char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] bool iequals(std::string_view a, std::string_view b);
/// Without spaces and tabs at both ends (HTTP's OWS).
[[nodiscard]] std::string_view trim(std::string_view text);
/// RFC 9110 section 5.6.2: may stand in a token.
[[nodiscard]] bool is_token_char(char c);
/// Decimal digits only, within 64 bits; false otherwise.
[[nodiscard]] bool parse_decimal(std::string_view text, unsigned long long& value);
/// `*` matches any text, `?` one character, the rest itself, case-insensitive. Cost O(text *
/// pattern).
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view text);

}  // namespace waggle::mirror
