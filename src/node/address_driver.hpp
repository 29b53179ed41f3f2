// Which addresses this machine has, and which of them to bind and to advertise.
#pragma once

#include "base/endpoint.hpp"
#include "gossip/udp_socket_driver.hpp"
#include "node/join_hint.hpp"

#include <optional>
#include <string>
#include <vector>

namespace waggle::node {

/// The endpoints of one `bind` entry: "10.0.0.1:7947", "[::]:7947", "if:ens5:7947" (all its
/// addresses) or a CIDR "10.0.0.0/8:7947" (own addresses inside). An empty result means that
/// nothing on this machine matches.
[[nodiscard]] Result<std::vector<Endpoint>> resolve_bind(const std::string& entry);

/// The local address that the kernel would use to reach `target`, with `port`; nullopt without a
/// route.
[[nodiscard]] std::optional<Endpoint> local_address_towards(const Endpoint& target,
                                                            std::uint16_t port);

/// What to advertise when the configuration does not say: specific binds; else, for each family
/// that is served, the address towards the first hint of that family, or towards the default route,
/// or the first that there is; else loopback. The family of the first hint comes first. Never
/// empty, no link-local addresses.
[[nodiscard]] std::vector<Endpoint> default_advertise(const std::vector<Endpoint>& bound,
                                                      const std::vector<Endpoint>& hints);

/// Every endpoint by which this machine can be reached through `bound`: an address bound to, or all
/// addresses that "any" stands for.
[[nodiscard]] std::vector<Endpoint> own_endpoints(const std::vector<Endpoint>& bound);

/// The interfaces of `bound`: of an address the one that has it, of "any" all that are up and carry
/// multicast. One per interface and family.
[[nodiscard]] std::vector<gossip::MulticastInterface> multicast_interfaces(
    const std::vector<Endpoint>& bound);

/// The groups to be in, at most one per family, IPv4 first: those of the hints; without one, and
/// if `wanted`, 239.255.79.47 with the port of `bound` (ff05::4f2f if no IPv4 is served).
[[nodiscard]] std::vector<Endpoint> multicast_groups(const std::vector<JoinHint>& hints,
                                                     bool wanted,
                                                     const std::vector<Endpoint>& bound);

}  // namespace waggle::node
