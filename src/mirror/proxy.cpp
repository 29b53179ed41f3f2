// NO_PROXY has no standard: this follows the common ground of curl and Go (suffixes with or without
// a leading dot, CIDRs, host:port, "*").
#include "mirror/proxy.hpp"

#include "base/endpoint.hpp"
#include "mirror/auth_challenge.hpp"
#include "mirror/cidr.hpp"
#include "mirror/text.hpp"

namespace waggle::mirror {
namespace {

Result<std::optional<Proxy>> parse_proxy(std::string_view text) {
  text = trim(text);
  if (text.empty()) return std::optional<Proxy>();
  const bool has_scheme = text.find("://") != std::string_view::npos;
  const auto url = Url::parse(has_scheme ? std::string(text) : "http://" + std::string(text));
  if (!url) return url.error();
  if (url->origin.tls) return MirrorError::malformed;
  Proxy proxy{url->origin, {}};
  if (!url->userinfo.empty()) {
    const auto colon = url->userinfo.find(':');
    proxy.authorization = basic_authorization(
        url->userinfo.substr(0, colon),
        colon == std::string::npos ? std::string() : url->userinfo.substr(colon + 1));
  }
  return std::optional<Proxy>(std::move(proxy));
}

bool matches(std::string_view entry, const Origin& origin) {
  if (entry == "*") return true;
  if (const auto block = Cidr::parse(entry)) {
    const auto address = Endpoint::parse_address(origin.host, origin.port);
    return address && block->contains(*address);
  }
  if (const auto colon = entry.rfind(':'); colon != std::string_view::npos) {
    if (entry.substr(colon + 1) != std::to_string(origin.port)) return false;
    entry = entry.substr(0, colon);
  }
  if (entry.starts_with("*.")) entry.remove_prefix(1);
  if (iequals(entry, origin.host)) return true;
  const std::string suffix = entry.starts_with('.') ? std::string(entry) : "." + std::string(entry);
  return origin.host.size() > suffix.size() &&
         iequals(std::string_view(origin.host).substr(origin.host.size() - suffix.size()), suffix);
}

}  // namespace

Result<ProxySettings> ProxySettings::parse(std::string_view https_proxy,
                                           std::string_view http_proxy, std::string_view no_proxy) {
  auto https = parse_proxy(https_proxy);
  auto http = parse_proxy(http_proxy);
  if (!https) return https.error();
  if (!http) return http.error();
  ProxySettings settings;
  settings.https_ = std::move(*https);
  settings.http_ = std::move(*http);
  settings.no_proxy_ = no_proxy;
  return settings;
}

bool ProxySettings::is_excluded(const Origin& origin) const {
  const auto address = Endpoint::parse_address(origin.host, origin.port);
  if (origin.host == "localhost" || (address && address->is_loopback())) return true;
  std::string_view rest = no_proxy_;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto entry = trim(rest.substr(0, comma));
    if (!entry.empty() && matches(entry, origin)) return true;
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
  }
  return false;
}

std::optional<Proxy> ProxySettings::find(const Origin& origin) const {
  const auto& proxy = origin.tls ? https_ : http_;
  if (!proxy || is_excluded(origin)) return std::nullopt;
  return proxy;
}

}  // namespace waggle::mirror
