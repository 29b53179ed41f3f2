// Where simulated nodes are: 10.x.y.z by their number.
#pragma once

#include "base/endpoint.hpp"
#include "sim/network.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace waggle::sim {

inline constexpr std::uint16_t gossip_port = 7947;

[[nodiscard]] inline Endpoint address_of(NodeIndex index) {
  return Endpoint::v4(10, static_cast<std::uint8_t>(index >> 16U),
                      static_cast<std::uint8_t>(index >> 8U), static_cast<std::uint8_t>(index),
                      gossip_port);
}

/// Which of `node_count` nodes is there.
[[nodiscard]] inline std::optional<NodeIndex> node_at(const Endpoint& endpoint,
                                                      std::size_t node_count) {
  const auto byte = [&](std::size_t i) {
    return std::to_integer<std::uint32_t>(endpoint.address[i]);
  };
  const NodeIndex index = (byte(13) << 16U) | (byte(14) << 8U) | byte(15);
  if (!endpoint.is_v4() || byte(12) != 10 || index >= node_count) return std::nullopt;
  return index;
}

/// The first three nodes, as a bootstrap list would hold them.
[[nodiscard]] inline std::vector<Endpoint> bootstrap_list(std::size_t node_count) {
  std::vector<Endpoint> hints;
  for (NodeIndex i = 0; i < std::min<std::size_t>(3, node_count); ++i) {
    hints.push_back(address_of(i));
  }
  return hints;
}

}  // namespace waggle::sim
