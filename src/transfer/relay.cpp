// Rings: SipHash keyed by the swarm's tag gives every node its place in each.
#include "transfer/relay.hpp"

#include "base/siphash.hpp"

#include <algorithm>
#include <utility>

namespace waggle::transfer {
namespace {

using Place = std::pair<std::uint64_t, NodeId>;

Place place_of(const SwarmTag& tag, const NodeId& node, std::size_t ring) {
  IdKey key;
  static_assert(sizeof(key.bytes) == sizeof(tag.bytes));
  key.bytes = tag.bytes;
  Bytes message(node.bytes.begin(), node.bytes.end());
  message.push_back(static_cast<std::byte>(ring));
  return {siphash(key, message), node};
}

}  // namespace

void RelayRings::set_others(std::vector<NodeId> others) {
  if (others == others_) return;
  others_ = std::move(others);
  for (std::size_t ring = 0; ring < count; ++ring) {
    std::vector<Place> places;
    for (const NodeId& node : others_) places.push_back(place_of(tag_, node, ring));
    std::sort(places.begin(), places.end());
    const Place own = place_of(tag_, self_, ring);
    std::rotate(places.begin(), std::upper_bound(places.begin(), places.end(), own), places.end());
    chains_[ring].clear();
    for (const auto& [place, node] : places) chains_[ring].push_back(node);
  }
}

std::vector<NodeId> RelayRings::successors() const {
  std::vector<NodeId> first;
  for (const auto& chain : chains_) {
    if (chain.empty() || std::find(first.begin(), first.end(), chain.front()) != first.end()) {
      continue;
    }
    first.push_back(chain.front());
  }
  return first;
}

}  // namespace waggle::transfer
