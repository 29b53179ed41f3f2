// Short names of nodes, for messages that name many of those that want one blob.
#pragma once

#include "base/bytes.hpp"
#include "base/ids.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace waggle::transfer {

/// The first 4 bytes of a node's id, little-endian.
using HopName = std::uint32_t;
[[nodiscard]] inline HopName hop_name(const NodeId& node) {
  return load_le<std::uint32_t>(ByteView(node.bytes));
}

/// Nothing when nobody has this name, or two have. Cost: O(log n).
/// @param nodes  sorted
[[nodiscard]] std::optional<NodeId> node_named(std::span<const NodeId> nodes, HopName name);

}  // namespace waggle::transfer
