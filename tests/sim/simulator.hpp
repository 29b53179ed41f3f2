// The deterministic simulator: real distributors on a virtual network, clock and disk, all from one
// seed.
//   sim::Simulator sim({.node_count = 16, .seed = seed, .link = {.loss = 0.05}});
//   sim.run_for(10s); sim.faults().partition({0, 1}); sim.run_until(sim::converged, 120s);
#pragma once

#include "base/prng.hpp"
#include "sim/checkers/checkers.hpp"
#include "sim/event_queue.hpp"
#include "sim/network.hpp"
#include "sim/node.hpp"
#include "sim/origin.hpp"
#include "sim/trace.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace waggle::sim {

struct SimConfig {
  std::size_t node_count = 5;
  std::uint64_t seed = 1;
  LinkConfig link{};
  OriginConfig origin{};
  bool keep_trace = false;
  bool start_all = true;
  /// Chunks from upstream are hashed by several threads: their results overtake each other.
  bool uneven_hashing = false;
  std::uint64_t cache_quota_bytes = std::uint64_t{1} << 40U;
  std::uint32_t in_flight_per_host = 64;  ///< upstream requests for claimed extents
  /// After every so many events the checkers look, and one node's structures are recounted from
  /// scratch. More seldom above observers_max nodes, so that a look stays as cheap per event.
  std::uint64_t check_every = 64;
};

class Simulator;

/// What can go wrong, on demand.
class Faults {
 public:
  explicit Faults(Simulator& simulator) : sim_(simulator) {}
  /// kill -9: memory goes, the disk stays, peers see their sessions reset.
  void crash(NodeIndex node);
  /// The machine dies: sessions hang instead of being reset.
  void power_off(NodeIndex node);
  void restart(NodeIndex node);
  void leave(NodeIndex node);
  /// As crash, from within an event of that node.
  void crash_soon(NodeIndex node);
  /// Of a node that is down: its cache is gone. @pre the node is down
  void lose_cache(NodeIndex node);
  /// Another machine at the same address: nothing on its disk, another identity.
  /// @pre the node is down
  void reinstall(NodeIndex node);
  /// No new registrar work for this node.
  void drain(NodeIndex node);
  void pause(NodeIndex node, Duration duration);
  void disk_full(NodeIndex node, bool full);
  void slow_disk(NodeIndex node, std::uint32_t times);
  /// The process dies in its next commit.
  void crash_in_commit(NodeIndex node, CommitCrash when);
  /// The node's monotonic clock jumps ahead; clocks of others do not.
  void clock_jump(NodeIndex node, Duration ahead);
  /// The node's wall clock is wrong from its next start on.
  void wall_error(NodeIndex node, Duration error);
  /// Its key files; the first one seals. Read at once, or at its next start.
  void set_keys(NodeIndex node, const std::vector<std::uint32_t>& keys);
  /// @param one_way  the others still reach `side`
  void partition(const std::set<NodeIndex>& side, bool one_way = false);
  void heal();
  void set_loss(double loss);
  void set_duplicates(double share);
  void set_extra_delay(Duration longest);
  void slow_uplink(NodeIndex node, double share);
  /// An outsider listens and sends: of so many datagrams in one a mangled copy, or a replay.
  void set_noise(double share);
  // Of the origin.
  void origin_down(bool down);
  void origin_status(unsigned status, std::optional<Duration> retry_after = std::nullopt);
  void origin_ranges(bool supported);
  void origin_cut(std::uint32_t chunks);
  void origin_rate(double share);
  void origin_length_error(std::int64_t bytes);
  void origin_variant(Variant variant);
  void origin_stall_next(std::size_t requests);
  void stall(NodeIndex node);
  void unstall();

 private:
  void note(const char* what, std::uint64_t a = 0, std::uint64_t b = 0);
  Simulator& sim_;
};

class Simulator {
 public:
  explicit Simulator(const SimConfig& config);
  ~Simulator();

  void run_for(Duration duration);
  /// Runs until `condition` holds; false when `budget` of virtual time passed first.
  bool run_until(const std::function<bool(Simulator&)>& condition, Duration budget);

  [[nodiscard]] TimePoint now() const { return events_.now(); }
  /// What was done to this cluster so far and how to see it again; printed when an invariant
  /// breaks.
  [[nodiscard]] const std::string& story() const { return story_; }
  void tell(const std::string& line);
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  /// nullptr while the node is down.
  [[nodiscard]] Node* node(NodeIndex index) { return nodes_[index].get(); }
  [[nodiscard]] Disk& disk(NodeIndex index) { return disks_[index]; }
  [[nodiscard]] Faults& faults() { return faults_; }
  [[nodiscard]] Origin& origin() { return origin_; }
  [[nodiscard]] Network& network() { return network_; }
  [[nodiscard]] EventQueue& events() { return events_; }
  [[nodiscard]] Trace& trace() { return trace_; }
  [[nodiscard]] CheckMemory& memory() { return memory_; }
  /// When the last crash, restart, pause or change of partition happened (a pause: ends).
  [[nodiscard]] TimePoint last_fault() const { return last_fault_; }
  /// How long nothing has been wrong: no fault, no start of a node, no lasting trouble of network,
  /// nodes or origin.
  [[nodiscard]] Duration calm_for() const;
  [[nodiscard]] bool is_cache_small() const;
  /// Ahead of virtual time.
  [[nodiscard]] Duration clock_offset(NodeIndex index) const { return clock_offsets_[index]; }
  [[nodiscard]] Duration wall_error(NodeIndex index) const { return wall_errors_[index]; }
  /// A node received this: an outsider on the wire may use it.
  void overhear(NodeIndex receiver, Endpoint from, ByteView datagram);
  /// Lets everything come to rest for 75 s and looks for what was left behind. Only when nothing is
  /// wrong any more.
  void wind_down();
  [[nodiscard]] const SimConfig& config() const { return config_; }
  [[nodiscard]] const NodeId& id_of(NodeIndex index) const { return identities_[index].node_id(); }
  [[nodiscard]] std::optional<NodeIndex> index_of(const NodeId& id) const;

  /// Whose views the dear checks look at: everybody, or observers_max nodes spread evenly.
  static constexpr std::size_t observers_max = 64;
  [[nodiscard]] const std::vector<NodeIndex>& observers() const { return observers_; }

  /// The nodes that keep the blob's claims, in rank order, when all of them are up.
  [[nodiscard]] std::vector<NodeIndex> registrars(const Digest& digest) const;
  /// The same for the permits of the origin, as node 0 sees it. @pre it is up
  [[nodiscard]] std::vector<NodeIndex> host_registrars() const;

  /// A client of `node` reads the whole blob, at once or at `at`.
  void pull(NodeIndex node, const Blob& blob, std::optional<TimePoint> at = std::nullopt,
            const ReadPlan& plan = {});
  [[nodiscard]] const std::string& origin_name() const { return origin_name_; }

  // For nodes and faults.
  void start_node(NodeIndex index);
  void open_session(NodeIndex dialler, NodeIndex acceptor);
  void close_session(NodeIndex node, SessionId session);
  void stop_node(NodeIndex index, bool reset_sessions);
  /// Counts lives of a node: an action for an earlier life is dropped.
  [[nodiscard]] std::uint64_t life_of(NodeIndex index) const { return lives_[index]; }
  /// Runs `action` at node `index` after `delay`, unless it died meanwhile; a paused node gets it
  /// when it resumes.
  void at_node(NodeIndex index, Duration delay, std::function<void(Node&)> action);
  void at_node_time(NodeIndex index, TimePoint at, std::function<void(Node&)> action);
  /// As at_node, for the life of the node that the caller knows: what was sent to another is lost.
  void at_life(NodeIndex index, std::uint64_t life, Duration delay,
               std::function<void(Node&)> action);

 private:
  friend class Faults;
  struct Captured {
    NodeIndex receiver = 0;
    Endpoint from;
    Bytes datagram;
  };
  void step();
  void note_state();
  [[nodiscard]] bool shares_key(NodeIndex dialler, NodeIndex acceptor) const;
  void check();
  void check_all();
  void run_at(NodeIndex index, std::uint64_t life, const std::function<void(Node&)>& action);

  SimConfig config_;
  EventQueue events_;
  Network network_;
  Origin origin_;
  Trace trace_;
  Faults faults_;
  std::string origin_name_ = "http://registry.test:5000";
  std::vector<Identity> identities_;
  std::unordered_map<NodeId, NodeIndex> indexes_;
  std::vector<NodeIndex> observers_;
  std::vector<Disk> disks_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::uint64_t> lives_;
  std::vector<TimePoint> paused_until_;
  std::vector<Duration> clock_offsets_, wall_errors_;
  std::uint64_t check_every_;
  double noise_ = 0;
  Prng noise_prng_;
  std::vector<Captured> captured_;
  std::size_t captured_next_ = 0;
  CheckMemory memory_;
  TimePoint last_fault_ = TimePoint{} - std::chrono::hours(1);
  TimePoint last_start_{};
  std::uint64_t next_session_ = 1;
  std::string story_;
};

/// Every live node sees exactly the live nodes as members and all index roots are equal.
[[nodiscard]] bool converged(Simulator& simulator);
/// Every pull of every live node is finished (proven) or failed.
[[nodiscard]] bool pulls_done(Simulator& simulator);
/// 1..count, for scenarios that run several seeds. In the environment WAGGLE_SIM_SEED names the one
/// seed to run, WAGGLE_SIM_SEEDS another count.
[[nodiscard]] std::vector<std::uint64_t> seeds(std::size_t count);

}  // namespace waggle::sim
