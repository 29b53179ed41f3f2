// Absolute http and https URLs as the upstream client needs them, parsed with Boost.URL.
#pragma once

#include "mirror/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waggle::mirror {

/// "docker.io", "registry.local:5000", "[::1]:5000": what `ns=` and configuration keys hold.
struct HostPort {
  std::string host;  ///< lower case, IPv6 without brackets
  std::optional<std::uint16_t> port;
  bool operator==(const HostPort&) const = default;

  /// MirrorError::malformed on anything but host[:port].
  [[nodiscard]] static Result<HostPort> parse(std::string_view text);
};

/// Scheme, host and port: the unit of connection reuse, credentials and trust.
struct Origin {
  bool tls = true;
  std::string host;  ///< lower case, IPv6 without brackets
  std::uint16_t port = 443;
  auto operator<=>(const Origin&) const = default;

  /// Always with its port: "https://registry-1.docker.io:443".
  [[nodiscard]] std::string to_string() const;
  /// Host header: without the scheme's default port.
  [[nodiscard]] std::string host_header() const;
  /// "host:port", IPv6 in brackets.
  [[nodiscard]] std::string authority() const;
};

struct Url {
  Origin origin;
  std::string target = "/";  ///< path and query as sent on the request line, still encoded
  std::string userinfo;      ///< "user:password", decoded; empty when absent
  bool operator==(const Url&) const = default;

  /// Absolute http(s) URLs only; a fragment is dropped. MirrorError::malformed otherwise.
  [[nodiscard]] static Result<Url> parse(std::string_view text);
  /// The target of a Location header seen at this URL, absolute or relative.
  /// @source RFC 3986 section 5.2
  [[nodiscard]] Result<Url> resolve(std::string_view location) const;
  [[nodiscard]] std::string to_string() const;  ///< without userinfo
};

/// Percent-encodes everything but RFC 3986 unreserved characters.
[[nodiscard]] std::string encode_component(std::string_view text);

}  // namespace waggle::mirror
