// Which hosts and addresses the upstream client may talk to. Local processes can name any host in
// `ns=` or a URL, so without these rules the daemon could be made to ask a cloud's metadata service
// for them.
#pragma once

#include "base/endpoint.hpp"
#include "mirror/url.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace waggle::mirror {

/// True for addresses no registry lives at: unspecified, loopback, link-local, multicast, reserved,
/// and the metadata services of the big clouds; also when such an IPv4 address hides in a NAT64,
/// 6to4 or IPv4-compatible one.
[[nodiscard]] bool is_refused_address(const Endpoint& address);

class HostPolicy {
 public:
  HostPolicy() = default;
  /// @param allow        globs of hosts that may be named
  /// @param allow_local  `host[:port]` globs that is_refused_address() does not apply to; host is a
  /// name or an address
  /// @param configured   origins of the configuration: always allowed
  HostPolicy(std::vector<std::string> allow, const std::vector<std::string>& allow_local,
             std::vector<Origin> configured);

  /// May a client name this registry? `mapped` is the origin its requests go to.
  [[nodiscard]] bool host_allowed(std::string_view registry_host, const Origin& mapped) const;
  /// May a request for `registry_host`, begun at `first`, go on to `next`, which a redirect or a
  /// token realm names? Hosts in `allow`, listed in `allow_local` or configured may be named so,
  /// and the registry's own subdomains (auth.docker.io for docker.io).
  [[nodiscard]] bool next_allowed(std::string_view registry_host, const Origin& first,
                                  const Origin& next) const;
  /// May a connection for `origin` go to `address`? Asked after DNS and for every redirect.
  [[nodiscard]] bool address_allowed(const Origin& origin, const Endpoint& address) const;

 private:
  struct LocalGlob {
    std::string host;
    std::string port;  ///< empty: any
  };
  [[nodiscard]] bool is_configured(const Origin& origin) const;
  [[nodiscard]] bool is_in_allow(std::string_view host) const;
  [[nodiscard]] bool is_in_allow_local(const Origin& origin, std::string_view host) const;

  std::vector<std::string> allow_{"*"};
  std::vector<LocalGlob> allow_local_;
  std::vector<Origin> configured_;
};

}  // namespace waggle::mirror
