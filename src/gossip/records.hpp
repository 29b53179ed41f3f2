// What the announcements tell about content: the facts and names that the gossip facade and its
// parts share.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace waggle::gossip {

/// One complete blob that some node holds.
struct Content {
  Digest digest;
  std::uint64_t size = 0;
};

/// The own log as others were told it: what the next process of this node goes on from.
struct ToldLog {
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;
  std::vector<Id64> ids;  ///< held, ascending
};
/// Others are told more of it now: to be kept in data_dir. A crash may lose the last of these; then
/// whoever knows more pulls the set once.
struct LogTold {
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;   ///< after this
  bool whole = false;      ///< `held` is all there is; else it comes on top
  std::vector<Id64> held;  ///< ascending, as dropped; no id stands in both
  std::vector<Id64> dropped;
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
