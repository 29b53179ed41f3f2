// Thousands of real Gossip objects on a virtual network: what simulator.hpp is for distributors, at
// the size of a large cluster. docs/simulator.md says which questions each of them answers.
//   sim::GossipWorld world({.node_count = 1000, .seed = 1, .link = {.loss = 0.01}});
//   world.warm_start(); world.crash(7); world.run_until(sim::agree, 60s);
#pragma once

#include "base/identity.hpp"
#include "base/prng.hpp"
#include "base/random_source.hpp"
#include "gossip/gossip.hpp"
#include "sim/network.hpp"
#include "sim/world_events.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace waggle::sim {

struct WorldConfig {
  std::size_t node_count = 100;
  std::uint64_t seed = 1;
  LinkConfig link{};
};

/// What one node put on the virtual wire since reset_traffic(). Datagrams count with 28 bytes of
/// IPv4 and UDP headers, bulk frames with the headers of their TCP segments.
struct Traffic {
  std::uint64_t packets = 0, bytes = 0;
  std::uint64_t bulk_frames = 0, bulk_bytes = 0;
  std::uint64_t packets_received = 0;
  std::uint64_t packets_in_worst_second = 0, bytes_in_worst_second = 0;
};

/// Told what happens, as it happens. Must not give inputs to nodes from within a call.
class WorldListener {
 public:
  virtual ~WorldListener() = default;
  virtual void started(NodeIndex /*node*/) {}
  virtual void stopped(NodeIndex /*node*/) {}
  /// `observer` now has `subject` in this state.
  virtual void member_changed(NodeIndex /*observer*/, NodeIndex /*subject*/,
                              const gossip::Member& /*record*/) {}
  virtual void announced(NodeIndex /*node*/, const gossip::Content& /*content*/) {}
  virtual void withdrawn(NodeIndex /*node*/, const Digest& /*digest*/) {}
  /// A datagram or a bulk frame was handled: the node may know more than before.
  virtual void input_handled(NodeIndex /*node*/) {}
  /// Once a virtual second.
  virtual void second_over() {}
};

/// Gossip cores, UDP with delay, loss and repeats, reliable bulk frames through each node's uplink,
/// nodes that die, stand still or see their clock jump. A seed and the same calls give the same
/// trace. Memory and time are those of the cores: an event costs about 0.1 us beside them.
class GossipWorld {
 public:
  explicit GossipWorld(const WorldConfig& config);
  GossipWorld(const GossipWorld&) = delete;
  GossipWorld& operator=(const GossipWorld&) = delete;

  /// Nobody is up before start() or warm_start(). A node that starts knows the addresses of nodes
  /// 0, 1 and 2 alone, as a bootstrap list would name them.
  void start(NodeIndex node);
  /// Everybody is up and knows everybody, without the join that took them there: in ceil(log2 N)
  /// rounds node i meets node i + 2^round and the two repair each other's tables, by their own
  /// messages, delivered at once and without a loss, while no timer is served. Takes about a minute
  /// of virtual time; the nodes then begin to probe at different moments of one second, as after a
  /// pause. @pre nobody is up
  void warm_start();
  /// The machine dies; nothing says so to anybody.
  void crash(NodeIndex node);
  void leave(NodeIndex node);
  /// The process stands still; datagrams wait in its receive buffer of 4 MiB.
  void pause(NodeIndex node, Duration duration);
  /// The node's clock is ahead by so much more from now on.
  void clock_jump(NodeIndex node, Duration ahead);
  /// Nodes of different sides hear nothing from each other.
  void partition(std::vector<bool> side);
  void heal();
  void set_loss(double loss) { config_.link.loss = loss; }

  void announce(NodeIndex node, const gossip::Content& content);
  void withdraw(NodeIndex node, const Digest& digest);

  void run_for(Duration duration);
  /// Looks at `condition` every `look_every` of virtual time; false when `budget` passed first.
  bool run_until(const std::function<bool(GossipWorld&)>& condition, Duration budget,
                 Duration look_every = std::chrono::milliseconds(100));

  /// Must outlive the world or be removed.
  void add_listener(WorldListener* listener) { listeners_.push_back(listener); }
  void remove_listener(WorldListener* listener) { std::erase(listeners_, listener); }

  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  [[nodiscard]] bool is_up(NodeIndex node) const { return nodes_[node].gossip != nullptr; }
  [[nodiscard]] bool is_paused(NodeIndex node) const { return nodes_[node].paused_until > now_; }
  [[nodiscard]] std::size_t up_count() const { return up_count_; }
  /// @pre is_up(node)
  [[nodiscard]] gossip::Gossip& at(NodeIndex node) { return *nodes_[node].gossip; }
  [[nodiscard]] const NodeId& id_of(NodeIndex node) const {
    return nodes_[node].identity.node_id();
  }
  [[nodiscard]] std::optional<NodeIndex> index_of(const NodeId& id) const;
  [[nodiscard]] bool connected(NodeIndex a, NodeIndex b) const;
  [[nodiscard]] const Traffic& traffic(NodeIndex node) const { return nodes_[node].traffic; }
  void reset_traffic();
  [[nodiscard]] std::uint64_t event_count() const { return event_count_; }
  [[nodiscard]] std::size_t pending_events() const { return events_.size(); }
  /// Over (time, node, kind, size) of every event: equal for two runs of a seed.
  [[nodiscard]] std::uint64_t trace_hash() const { return trace_hash_; }
  /// The world's own choices: which node, when. Part of the seed.
  [[nodiscard]] Prng& choices() { return choices_; }

 private:
  struct WorldNode {
    Identity identity;
    SeededRandomSource random;
    std::unique_ptr<gossip::Gossip> gossip;  ///< empty while down
    std::uint64_t incarnation = 0;           ///< persisted
    std::uint32_t life = 0;
    std::optional<TimePoint> armed;  ///< the timer event that counts
    TimePoint paused_until{};
    Duration clock_offset{};
    std::size_t waiting_bytes = 0;  ///< in its receive buffer while it stands still
    TimePoint uplink_free{};
    Traffic traffic;
    std::uint64_t second_packets = 0, second_bytes = 0;
  };
  struct Instant {
    NodeIndex from = 0, to = 0;
    Bytes bytes;
    bool is_bulk = false;
  };

  void create(NodeIndex index);
  void step();
  void end_second();
  void handle(const WorldEvents::Event& event);
  void defer(const WorldEvents::Event& event);
  void pump(NodeIndex index);
  void arm(NodeIndex index);
  void send(NodeIndex from, gossip::Transmit&& transmit);
  void send_bulk(NodeIndex from, gossip::BulkSend&& bulk);
  void deliver(NodeIndex from, NodeIndex to, ByteView bytes, bool is_bulk);
  void deliver_instants();
  void meet(NodeIndex a, NodeIndex b);
  [[nodiscard]] bool all_know_all() const;
  [[nodiscard]] Duration delay();
  [[nodiscard]] TimePoint local_now(const WorldNode& node) const {
    return now_ + node.clock_offset;
  }
  void mix(std::uint64_t value) { trace_hash_ = mix_seed(trace_hash_ ^ value); }

  WorldConfig config_;
  KeyRing keys_;
  Prng links_, choices_;
  std::vector<WorldNode> nodes_;
  std::unordered_map<NodeId, NodeIndex> indexes_;
  std::vector<bool> side_;  ///< empty: no partition
  WorldEvents events_;
  bool is_instant_ = false;
  std::deque<Instant> instants_;
  std::vector<WorldListener*> listeners_;
  TimePoint now_{};
  TimePoint second_end_{};
  std::size_t up_count_ = 0;
  std::uint64_t event_count_ = 0;
  std::uint64_t trace_hash_ = 0xcbf29ce484222325U;
};

/// Every node that is up sees exactly the nodes that are up, and all index roots are equal.
[[nodiscard]] bool agree(GossipWorld& world);
/// The first half of it.
[[nodiscard]] bool agree_on_members(GossipWorld& world);
/// The first node whose live members are not those that are up, or whose root is not the first
/// node's, in words; empty when there is none. For reports.
[[nodiscard]] std::string disagreement(GossipWorld& world);

}  // namespace waggle::sim
