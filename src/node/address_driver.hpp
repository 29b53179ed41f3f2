// Which addresses this machine has, and which of them to bind and to advertise.
#pragma once

#include "base/endpoint.hpp"

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

/// What to advertise when the configuration does not say: specific binds; else the address towards
/// the first hint; else the one towards the default route; else loopback. Never empty.
[[nodiscard]] std::vector<Endpoint> default_advertise(const std::vector<Endpoint>& bound,
                                                      const std::vector<Endpoint>& hints);

}  // namespace waggle::node
