// Links: datagrams with loss and delay, sessions as ordered pipes through each node's uplink and
// downlink, partitions.
#pragma once

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/prng.hpp"
#include "base/time.hpp"
#include "sim/event_queue.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace waggle::sim {

using NodeIndex = std::uint32_t;

struct LinkConfig {
  Duration delay_min = std::chrono::microseconds(100);
  Duration delay_max = std::chrono::microseconds(400);
  double loss = 0;                       ///< of datagrams; sessions are reliable
  double duplicate = 0;                  ///< of datagrams
  double node_bytes_per_second = 125e6;  ///< uplink and downlink each
};

/// One end of a session as a node knows it.
struct SessionEnd {
  NodeIndex peer = 0;
  SessionId peer_session{};
  bool outgoing = false;
};

class Network {
 public:
  Network(EventQueue& events, const LinkConfig& link, std::size_t node_count, std::uint64_t seed);

  /// Delivers (or loses) a datagram.
  void send_datagram(NodeIndex from, NodeIndex to, std::function<void()> deliver);
  /// Runs `deliver` now or, while a partition lies between them, when it heals: a session loses
  /// nothing.
  void send_control(NodeIndex from, NodeIndex to, std::function<void()> deliver);
  [[nodiscard]] bool connected(NodeIndex a, NodeIndex b) const;
  [[nodiscard]] Duration delay();

  /// Bandwidth of one transfer: when its last byte arrives. Control frames pass by the queue.
  [[nodiscard]] TimePoint transfer_end(NodeIndex from, NodeIndex to, std::uint64_t bytes);

  /// Cuts `side` off from everybody else.
  void partition(const std::set<NodeIndex>& side) {
    heal();
    side_ = side;
    ++partitions_;
  }
  void heal();
  [[nodiscard]] bool is_partitioned() const { return !side_.empty(); }
  [[nodiscard]] std::uint64_t partition_count() const { return partitions_; }
  void set_loss(double loss) { link_.loss = loss; }
  /// A node's uplink runs at this share of the link rate.
  void slow_uplink(NodeIndex node, double share) { uplink_share_[node] = share; }

 private:
  EventQueue& events_;
  LinkConfig link_;
  Prng prng_;
  std::set<NodeIndex> side_;
  std::uint64_t partitions_ = 0;
  std::vector<std::function<void()>> held_;
  std::vector<TimePoint> uplink_free_;
  std::vector<TimePoint> downlink_free_;
  std::map<NodeIndex, double> uplink_share_;
};

}  // namespace waggle::sim
