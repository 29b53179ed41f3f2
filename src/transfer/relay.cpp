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

// The hop that splits sends so many copies of the stripe; with more the others behind it wait.
constexpr std::size_t fan = 4;
constexpr std::size_t chain_hops_max = 3;  // a longer list is split
// Where the ring of a larger swarm is entered: each entry is a session.
constexpr std::size_t entries_max = 192;

}  // namespace

std::vector<RelayBranch> split_chain(const std::vector<HopName>& hops) {
  const std::size_t chains = hops.size() > chain_hops_max ? fan : 1;
  std::vector<RelayBranch> branches(chains);
  auto begin = hops.begin();
  for (std::size_t i = 0; i < chains; ++i) {
    const auto end = hops.begin() + static_cast<std::ptrdiff_t>(hops.size() * (i + 1) / chains);
    branches[i].rest.assign(begin, end);
    begin = end;
  }
  return branches;
}

void RelayRings::set_others(std::vector<NodeId> others) {
  if (others == others_) return;
  others_ = std::move(others);
  ++version_;
  for (std::size_t ring = 0; ring < count; ++ring) {
    std::vector<Place> places;
    for (const NodeId& node : others_) places.push_back(place_of(tag_, node, ring));
    std::sort(places.begin(), places.end());
    const Place own = place_of(tag_, self_, ring);
    const auto next = std::upper_bound(places.begin(), places.end(), own);
    own_places_[ring] = static_cast<std::size_t>(next - places.begin());
    std::rotate(places.begin(), next, places.end());
    chains_[ring].clear();
    for (const auto& [place, node] : places) chains_[ring].push_back(node);
  }
}

std::vector<HopName> RelayRings::stripe_order(std::uint64_t number) const {
  const auto& chain = chains_[number % count];
  if (chain.empty()) return {};
  const std::size_t places = chain.size() + 1;  // in the ring, this node's own among them
  const std::size_t entries = places <= entries_max ? places : entries_max / count;
  const std::size_t place = number / count % entries * places / entries;
  const std::size_t own = own_places_[number % count];
  // The chain begins behind this node's place.
  const std::size_t first = place == own ? 0 : (place + places - own - 1) % places;
  std::vector<HopName> order;
  for (std::size_t i = 0; i < std::min(chain.size(), limits::relay_hops_max); ++i)
    order.push_back(hop_name(chain[(first + i) % chain.size()]));
  return order;
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
