// Which requests go through an HTTP proxy, from settings in the form of HTTPS_PROXY, HTTP_PROXY and
// NO_PROXY.
#pragma once

#include "mirror/url.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace waggle::mirror {

struct Proxy {
  Origin origin;              ///< where to connect
  std::string authorization;  ///< Proxy-Authorization value, empty when the URL had no user
  bool operator==(const Proxy&) const = default;
};

class ProxySettings {
 public:
  ProxySettings() = default;
  /// MirrorError::malformed when a proxy is no http URL or host:port. TLS to the proxy itself is
  /// not spoken.
  [[nodiscard]] static Result<ProxySettings> parse(std::string_view https_proxy,
                                                   std::string_view http_proxy,
                                                   std::string_view no_proxy);
  /// The proxy for `origin`; nullopt: connect directly. Loopback hosts never take a proxy.
  [[nodiscard]] std::optional<Proxy> find(const Origin& origin) const;

 private:
  [[nodiscard]] bool is_excluded(const Origin& origin) const;

  std::optional<Proxy> https_;
  std::optional<Proxy> http_;
  std::string no_proxy_;
};

}  // namespace waggle::mirror
