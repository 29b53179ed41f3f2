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
#include <unordered_map>
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
  NodeId peer_id;         ///< another machine may take over the address
  std::uint32_t key = 0;  ///< the cluster key of the handshake: the session ends with it
};

class Network {
 public:
  Network(EventQueue& events, const LinkConfig& link, std::size_t node_count, std::uint64_t seed);

  /// Delivers (or loses, repeats, delays) a datagram.
  void send_datagram(NodeIndex from, NodeIndex to, std::function<void()> deliver);
  /// Runs `deliver` now or, while a partition lies between them, when it heals: a session loses
  /// nothing.
  void send_control(NodeIndex from, NodeIndex to, std::function<void()> deliver);
  /// Both directions: what a session needs.
  [[nodiscard]] bool connected(NodeIndex a, NodeIndex b) const {
    return reaches(a, b) && reaches(b, a);
  }
  /// What a datagram needs.
  [[nodiscard]] bool reaches(NodeIndex from, NodeIndex to) const;
  [[nodiscard]] Duration delay();
  /// When a control frame sent now arrives: frames of one pipe keep their order.
  [[nodiscard]] TimePoint control_arrival(NodeIndex from, NodeIndex to);

  /// Bandwidth of one transfer: when its last byte arrives. Control frames pass by the queue.
  [[nodiscard]] TimePoint transfer_end(NodeIndex from, NodeIndex to, std::uint64_t bytes);

  /// Cuts `side` off from everybody else. `one_way`: what others send to it still arrives.
  void partition(const std::set<NodeIndex>& side, bool one_way = false) {
    heal();
    side_ = side;
    one_way_ = one_way;
    ++partitions_;
  }
  void heal();
  [[nodiscard]] bool is_partitioned() const { return !side_.empty(); }
  [[nodiscard]] std::uint64_t partition_count() const { return partitions_; }
  void set_loss(double loss) { link_.loss = loss; }
  void set_duplicates(double share) { link_.duplicate = share; }
  /// Everything takes up to this much longer, each datagram another time: they overtake each other.
  void set_extra_delay(Duration longest) { extra_delay_ = longest; }
  [[nodiscard]] bool is_disturbed() const {
    return is_partitioned() || link_.loss > 0.1 || extra_delay_ > Duration{0} ||
           !uplink_share_.empty();
  }
  /// A node's uplink runs at this share of the link rate.
  void slow_uplink(NodeIndex node, double share) { uplink_share_[node] = share; }
  void full_uplink(NodeIndex node) { uplink_share_.erase(node); }

 private:
  EventQueue& events_;
  LinkConfig link_;
  Prng prng_;
  std::set<NodeIndex> side_;
  bool one_way_ = false;
  std::uint64_t partitions_ = 0;
  Duration extra_delay_{0};
  std::unordered_map<std::uint64_t, TimePoint> pipe_last_;  ///< by (from << 32) | to
  std::vector<std::function<void()>> held_;
  std::vector<TimePoint> uplink_free_;
  std::vector<TimePoint> downlink_free_;
  std::map<NodeIndex, double> uplink_share_;
};

}  // namespace waggle::sim
