// The forms of a hint. Names as in RFC 1123, with '_' as in the wild.
#include "node/join_hint.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace waggle::node {
namespace {

constexpr std::string_view dns_prefix = "dns:";
constexpr std::string_view multicast_prefix = "multicast:";
constexpr std::string_view service_prefix = "k8s:";
constexpr std::size_t name_bytes_max = 253;
constexpr std::size_t label_bytes_max = 63;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= label_bytes_max && label.front() != '-' &&
         label.back() != '-' && std::all_of(label.begin(), label.end(), is_name_character);
}

/// A host name; one whose last label is a number is a mistyped IPv4 address.
bool is_host_name(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.size() > name_bytes_max) return false;
  std::string_view last;
  for (std::size_t from = 0; from <= name.size();) {
    const auto dot = std::min(name.find('.', from), name.size());
    last = name.substr(from, dot - from);
    if (!is_label(last)) return false;
    from = dot + 1;
  }
  return !std::all_of(last.begin(), last.end(), is_digit);
}

std::optional<std::uint16_t> parse_port(std::string_view digits) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size() || port == 0)
    return std::nullopt;
  return port;
}

std::variant<JoinHint, std::string> parse_service(JoinHint hint, std::string_view rest) {
  const auto slash = rest.find('/');
  hint.kind = JoinHint::Kind::service;
  if (slash == std::string_view::npos || !is_label(rest.substr(0, slash)) ||
      !is_label(rest.substr(slash + 1))) {
    return "is not k8s:namespace/service";
  }
  return hint;
}

std::variant<JoinHint, std::string> parse_group(JoinHint hint, std::string_view rest) {
  const auto group = Endpoint::parse(rest);
  if (!group || group->port == 0) {
    return "is not multicast:group:port, such as multicast:239.255.79.47:7947";
  }
  if (!is_multicast(*group))
    return "is not a multicast group (224.0.0.0 to 239.255.255.255, or ff00::/8)";
  hint.kind = JoinHint::Kind::multicast;
  hint.endpoint = *group;
  return hint;
}

}  // namespace

bool is_multicast(const Endpoint& endpoint) {
  if (endpoint.is_v4()) return (endpoint.address[12] & std::byte{0xf0}) == std::byte{0xe0};
  return endpoint.address[0] == std::byte{0xff};
}

bool is_link_local(const Endpoint& endpoint) {
  if (endpoint.is_v4())
    return endpoint.address[12] == std::byte{169} && endpoint.address[13] == std::byte{254};
  return endpoint.address[0] == std::byte{0xfe} &&
         (endpoint.address[1] & std::byte{0xc0}) == std::byte{0x80};
}

std::variant<JoinHint, std::string> parse_join_hint(std::string_view text) {
  JoinHint hint;
  hint.text = std::string(text);
  if (text.starts_with(service_prefix))
    return parse_service(std::move(hint), text.substr(service_prefix.size()));
  if (text.starts_with(multicast_prefix))
    return parse_group(std::move(hint), text.substr(multicast_prefix.size()));
  const bool is_dns = text.starts_with(dns_prefix);
  const std::string_view rest = is_dns ? text.substr(dns_prefix.size()) : text;
  const auto colon = rest.rfind(':');
  const auto port =
      colon == std::string_view::npos ? std::nullopt : parse_port(rest.substr(colon + 1));
  if (!port)
    return "is not host:port, dns:name:port, k8s:namespace/service or multicast:group:port";
  if (const auto endpoint = Endpoint::parse(rest)) {
    if (endpoint->is_unspecified()) return "names no host";
    if (is_multicast(*endpoint)) return "is a group: write multicast:" + std::string(rest);
    if (is_link_local(*endpoint)) return "is a link-local address: it leads nowhere by itself";
    hint.endpoint = *endpoint;
    return hint;
  }
  const std::string_view host = rest.substr(0, colon);
  if (host.find(':') != std::string_view::npos && !host.starts_with('['))
    return "needs brackets around an IPv6 address, such as [2001:db8::1]:7947";
  if (!is_host_name(host)) return "has neither an address nor a host name before the port";
  hint.kind = JoinHint::Kind::name;
  hint.host = std::string(host);
  hint.endpoint.port = *port;
  return hint;
}

}  // namespace waggle::node
