// One entry of cluster.join: how a node finds its first member.
#pragma once

#include "base/endpoint.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace waggle::node {

struct JoinHint {
  enum class Kind {
    address,    ///< "10.0.0.1:7947", "[2001:db8::1]:7947"
    name,       ///< "dns:peers.example:7947", or without "dns:": all its A and AAAA records
    multicast,  ///< "multicast:239.255.79.47:7947", "multicast:[ff05::7947]:7947"
    service,    ///< "k8s:NAMESPACE/SERVICE": not in this build
  };
  Kind kind = Kind::address;
  std::string text;   ///< as written
  std::string host;   ///< of a name
  Endpoint endpoint;  ///< of an address or a group; its port is a name's too
};

/// The hint, or what is wrong with it.
[[nodiscard]] std::variant<JoinHint, std::string> parse_join_hint(std::string_view text);

/// 224.0.0.0/4 and ff00::/8.
[[nodiscard]] bool is_multicast(const Endpoint& endpoint);
/// 169.254.0.0/16 and fe80::/10: without an interface they lead nowhere.
[[nodiscard]] bool is_link_local(const Endpoint& endpoint);

}  // namespace waggle::node
