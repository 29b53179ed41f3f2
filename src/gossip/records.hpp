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

/// A named pointer kept by the cluster: tag -> manifest and the like. key64 = SipHash of the name.
struct NameRecord {
  std::uint64_t key64 = 0;
  Digest digest;
  std::uint64_t size = 0;
  std::string media_type;
};

}  // namespace waggle::gossip
