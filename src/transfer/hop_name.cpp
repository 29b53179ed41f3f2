// Ids sort by their bytes, so that all of one name stand together.
#include "transfer/hop_name.hpp"

#include <algorithm>

namespace waggle::transfer {

std::optional<NodeId> node_named(std::span<const NodeId> nodes, HopName name) {
  NodeId first{};
  store_le(std::span(first.bytes), name);
  const auto it = std::lower_bound(nodes.begin(), nodes.end(), first);
  const auto is_named = [&](auto at) { return at != nodes.end() && hop_name(*at) == name; };
  if (!is_named(it) || is_named(std::next(it))) return std::nullopt;
  return *it;
}

}  // namespace waggle::transfer
