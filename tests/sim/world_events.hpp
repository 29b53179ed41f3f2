// The events of a large virtual network: small entries in a heap, datagrams in slots beside it. For
// gossip_world.hpp, where a thousand nodes make a million of them in a few virtual seconds.
#pragma once

#include "base/bytes.hpp"
#include "base/time.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace waggle::sim {

enum class WorldEventKind : std::uint8_t { timer, datagram, bulk };

/// What travels: a datagram or a bulk frame.
struct WorldPayload {
  std::uint32_t from = 0;
  Bytes bytes;
  bool waited = false;  ///< in the receive buffer of a node that stood still
};

/// In order of (time, number); nothing else decides what happens next.
class WorldEvents {
 public:
  static constexpr std::uint32_t no_payload = UINT32_MAX;

  struct Event {
    TimePoint at;
    std::uint64_t number = 0;
    std::uint32_t node = 0;
    std::uint32_t life = 0;  ///< of the node; a timer or bulk frame for another life is dropped
    std::uint32_t payload = no_payload;
    WorldEventKind kind = WorldEventKind::timer;
  };

  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }
  [[nodiscard]] TimePoint next_time() const { return heap_.front().at; }

  void add(TimePoint at, WorldEventKind kind, std::uint32_t node, std::uint32_t life,
           std::uint32_t payload = no_payload) {
    heap_.push_back({at, next_++, node, life, payload, kind});
    std::push_heap(heap_.begin(), heap_.end(), is_later);
  }
  /// @pre !empty()
  Event pop() {
    std::pop_heap(heap_.begin(), heap_.end(), is_later);
    const Event event = heap_.back();
    heap_.pop_back();
    return event;
  }

  [[nodiscard]] std::uint32_t keep(std::uint32_t from, Bytes bytes) {
    std::uint32_t slot = static_cast<std::uint32_t>(payloads_.size());
    if (free_.empty()) {
      payloads_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    payloads_[slot] = {from, std::move(bytes), false};
    return slot;
  }
  [[nodiscard]] WorldPayload& payload(std::uint32_t slot) { return payloads_[slot]; }
  [[nodiscard]] WorldPayload take(std::uint32_t slot) {
    free_.push_back(slot);
    return std::move(payloads_[slot]);
  }

 private:
  static bool is_later(const Event& a, const Event& b) {
    return a.at != b.at ? a.at > b.at : a.number > b.number;
  }

  std::vector<Event> heap_;
  std::vector<WorldPayload> payloads_;
  std::vector<std::uint32_t> free_;
  std::uint64_t next_ = 0;
};

}  // namespace waggle::sim
