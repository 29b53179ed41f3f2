// Slot numbers of nodes, with quarantine.
#include "gossip/node_slots.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace waggle::gossip {

std::optional<NodeSlot> NodeSlots::allocate(TimePoint now, const NodeId& id) {
  NodeSlot slot = 0;
  if (!quarantined_.empty() && quarantined_.front().until <= now) {
    slot = quarantined_.front().slot;
    quarantined_.pop_front();
  } else if (ids_.size() <= UINT16_MAX) {
    slot = static_cast<NodeSlot>(ids_.size());
    ids_.emplace_back();
    loads_.emplace_back();
    live_.resize(slot / 64U + 1);
  } else {
    return std::nullopt;
  }
  ids_[slot] = id;
  loads_[slot] = {};
  return slot;
}

void NodeSlots::release(TimePoint now, NodeSlot slot) {
  WAGGLE_ASSERT(slot < ids_.size() && !ids_[slot].is_zero());
  set_live(slot, false);
  ids_[slot] = NodeId{};
  std::erase_if(pairs_, [&](const Pair& p) { return p.former == slot || p.fresh == slot; });
  quarantined_.push_back({slot, now + quarantine});
}

void NodeSlots::set_live(NodeSlot slot, bool live) {
  const std::uint64_t bit = slot_bit(slot);
  live_[slot / 64U] = live ? live_[slot / 64U] | bit : live_[slot / 64U] & ~bit;
}

void NodeSlots::pair(NodeSlot former, NodeSlot fresh) {
  WAGGLE_ASSERT(former != fresh && ids_[former] == ids_[fresh]);
  pairs_.push_back({former, fresh});
  loads_[fresh] = loads_[former];
}

void NodeSlots::drop_doubles(std::span<std::uint64_t> words) const {
  for (const auto& [former, fresh] : pairs_) {
    if (has_slot(words, former) && has_slot(words, fresh)) words[former / 64U] ^= slot_bit(former);
  }
}

std::uint32_t NodeSlots::second_of(TimePoint now) {
  const auto second = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch());
  return (static_cast<std::uint32_t>(second.count()) + 1) & 0xffffffU;
}

void NodeSlots::set_load(TimePoint now, NodeSlot slot, std::uint8_t load) {
  loads_[slot].heard = second_of(now);
  loads_[slot].value = load;
  average_ = average_ - average_ / 16 + load * 16U;
}

}  // namespace waggle::gossip
