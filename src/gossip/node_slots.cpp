// Slot numbers of nodes, with quarantine.
#include "gossip/node_slots.hpp"

#include "base/assert.hpp"

namespace waggle::gossip {

std::optional<NodeSlot> NodeSlots::allocate(TimePoint now, const NodeId& id) {
  NodeSlot slot = 0;
  if (!quarantined_.empty() && quarantined_.front().until <= now) {
    slot = quarantined_.front().slot;
    quarantined_.pop_front();
  } else if (ids_.size() <= UINT16_MAX) {
    slot = static_cast<NodeSlot>(ids_.size());
    ids_.emplace_back();
    live_.resize(slot / 64U + 1);
  } else {
    return std::nullopt;
  }
  ids_[slot] = id;
  return slot;
}

void NodeSlots::release(TimePoint now, NodeSlot slot) {
  WAGGLE_ASSERT(slot < ids_.size() && !ids_[slot].is_zero());
  set_live(slot, false);
  ids_[slot] = NodeId{};
  quarantined_.push_back({slot, now + quarantine});
}

void NodeSlots::set_live(NodeSlot slot, bool live) {
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64U);
  live_[slot / 64U] = live ? live_[slot / 64U] | bit : live_[slot / 64U] & ~bit;
}

}  // namespace waggle::gossip
