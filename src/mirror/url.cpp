// Boost.URL does the grammar; this file adds defaults and refuses what a registry never sends.
#include "mirror/url.hpp"

#include "mirror/text.hpp"

#include <boost/url.hpp>

namespace waggle::mirror {
namespace {

namespace urls = boost::urls;

std::string text_of(boost::core::string_view view) { return {view.data(), view.size()}; }

std::string bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

/// In lower case, IPv6 without brackets; empty when it is no address and no plain name. Escapes
/// could hide any character, and hosts go into request heads as they are.
std::string plain_host(urls::host_type type, const std::string& host) {
  std::string lower = to_lower(host);
  if (type == urls::host_type::ipvfuture) return {};
  if (type != urls::host_type::name) return lower;
  for (const char c : lower) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    if (!plain) return {};
  }
  return lower;
}

Result<Url> from_view(const urls::url_view& view) {
  if (!view.has_authority()) return MirrorError::malformed;
  Url url;
  if (view.scheme_id() == urls::scheme::http) {
    url.origin.tls = false;
  } else if (view.scheme_id() != urls::scheme::https) {
    return MirrorError::malformed;
  }
  url.origin.host = plain_host(view.host_type(), view.host_address());
  if (url.origin.host.empty()) return MirrorError::malformed;
  url.origin.port = url.origin.tls ? 443 : 80;
  if (view.has_port() && !view.port().empty()) {
    url.origin.port = view.port_number();
    if (url.origin.port == 0) return MirrorError::malformed;
  }
  url.target = text_of(view.encoded_target());
  if (url.target.empty() || url.target.front() != '/') url.target.insert(0, "/");
  if (view.has_userinfo()) url.userinfo = view.userinfo();
  return url;
}

}  // namespace

Result<HostPort> HostPort::parse(std::string_view text) {
  const auto parsed = urls::parse_authority({text.data(), text.size()});
  if (!parsed || parsed->has_userinfo()) return MirrorError::malformed;
  HostPort result{plain_host(parsed->host_type(), parsed->host_address()), std::nullopt};
  if (result.host.empty()) return MirrorError::malformed;
  if (parsed->has_port()) {
    if (parsed->port_number() == 0) return MirrorError::malformed;
    result.port = parsed->port_number();
  }
  return result;
}

std::string Origin::authority() const { return bracketed(host) + ":" + std::to_string(port); }

std::string Origin::to_string() const { return (tls ? "https://" : "http://") + authority(); }

std::string Origin::host_header() const {
  return port == (tls ? 443 : 80) ? bracketed(host) : authority();
}

Result<Url> Url::parse(std::string_view text) {
  const auto parsed = urls::parse_uri({text.data(), text.size()});
  if (!parsed) return MirrorError::malformed;
  return from_view(*parsed);
}

Result<Url> Url::resolve(std::string_view location) const {
  const auto reference = urls::parse_uri_reference({location.data(), location.size()});
  const std::string base_text = to_string();
  const auto base = urls::parse_uri(base_text);
  if (!reference || !base) return MirrorError::malformed;
  urls::url target;
  if (!urls::resolve(*base, *reference, target)) return MirrorError::malformed;
  return from_view(target);
}

std::string Url::to_string() const {
  return (origin.tls ? "https://" : "http://") + origin.host_header() + target;
}

std::string encode_component(std::string_view text) {
  return urls::encode({text.data(), text.size()}, urls::unreserved_chars);
}

}  // namespace waggle::mirror
