// What the announcements tell about content: the facts and names that the gossip facade and its
// parts share.
#pragma once

#include "base/digest.hpp"

#include <cstdint>
#include <string>

namespace waggle::gossip {

/// One complete blob that some node holds.
struct Content {
  Digest digest;
  std::uint64_t size = 0;
};

/// How announcements reach the members (`cluster.broadcast`). Every node accepts all of them.
enum class BroadcastMode : std::uint8_t {
  automatic,  ///< unicast below 24 members, relay above 40, between them as it was
  relay,      ///< two hops: own row, which passes them on (relay_plan.hpp)
  unicast,    ///< to every member
  multicast,  ///< one datagram for all, where the network carries it
};

/// A named pointer kept by the cluster: tag -> manifest and the like. key64 = SipHash of the name.
struct NameRecord {
  std::uint64_t key64 = 0;
  Digest digest;
  std::uint64_t size = 0;
  std::string media_type;
};

}  // namespace waggle::gossip
