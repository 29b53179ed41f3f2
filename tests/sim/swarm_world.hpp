// A large virtual swarm: real Exchanges (swarms, relays, claims) of hundreds of nodes on links with
// rates, queues and delay, one upstream behind a link of its own. Everything around them is ideal:
// who is there and who holds what is known after a set time, disks and hashes take a set time,
// bytes are true. From one seed. docs/decisions/D-180-swarm-world.md says what is left out and why.
//   sim::SwarmWorld world({.node_count = 128, .seed = 1});
//   for (i = 0; i < 128; ++i) world.pull(i, blob);
//   world.run_until_done(60s);
#pragma once

#include "base/ids.hpp"
#include "base/prng.hpp"
#include "base/time.hpp"
#include "sim/content.hpp"
#include "sim/event_queue.hpp"
#include "sim/swarm_links.hpp"
#include "transfer/exchange.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace waggle::sim {

using NodeIndex = std::uint32_t;

struct SwarmWorldConfig {
  std::size_t node_count = 8;
  std::uint64_t seed = 1;
  PortRates node;
  double origin_rate = 125e6;  ///< bytes per second
  SwarmLinkConfig link;
  bool relays = true;
  Duration first_byte = std::chrono::milliseconds(20);  ///< of the origin
  Duration news = std::chrono::milliseconds(75);        ///< from a commit until all know the holder
  Duration deaths = std::chrono::seconds(10);           ///< from a crash until all know
  Duration resets = std::chrono::milliseconds(1);       ///< until peers see its sessions end
};

/// One client's read of one blob.
struct SwarmRead {
  Blob blob;
  SwarmId swarm{};
  ReaderId reader{};
  std::uint64_t position = 0;
  TimePoint started{};
  TimePoint moved{};
  Duration worst_gap{};  ///< without a further byte, the wait for the first one included
  std::optional<TimePoint> first_chunk;
  std::optional<TimePoint> finished;  ///< proven
  std::optional<transfer::SwarmError> error;
  [[nodiscard]] bool is_over() const { return finished || error; }
};

class SwarmNode;

class SwarmWorld {
 public:
  explicit SwarmWorld(const SwarmWorldConfig& config);
  ~SwarmWorld();

  /// A client of `node` reads the whole blob, now or at `at`.
  void pull(NodeIndex node, const Blob& blob, std::optional<TimePoint> at = std::nullopt);
  /// `node` holds it, and everybody knows.
  void hold(NodeIndex node, const Blob& blob);
  /// kill -9: sessions are reset, members learn of it later. Now or at `at`.
  void crash(NodeIndex node, std::optional<TimePoint> at = std::nullopt);
  void set_rates(NodeIndex node, const PortRates& rates) { links_.set_rates(node, rates); }

  void run_until(TimePoint end);
  /// Until every read of a live node is over; false when `budget` passed first.
  bool run_until_done(Duration budget);

  [[nodiscard]] TimePoint now() const { return events_.now(); }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  [[nodiscard]] bool is_up(NodeIndex node) const { return nodes_[node] != nullptr; }
  /// @pre is_up(node)
  [[nodiscard]] const std::vector<SwarmRead>& reads(NodeIndex node) const;
  [[nodiscard]] transfer::ExchangeStats stats(NodeIndex node) const;
  void check_invariants() const;

  struct Traffic {
    std::uint64_t controls = 0, control_bytes = 0;  ///< sent on sessions
    std::uint64_t blocks = 0, relayed_blocks = 0;   ///< sent
    std::uint64_t inputs = 0;                       ///< of its core, all kinds
    std::size_t sessions_max = 0;
  };
  [[nodiscard]] const Traffic& traffic(NodeIndex node) const;
  [[nodiscard]] std::uint64_t origin_bytes() const { return links_.sent_bytes(origin_port()); }
  [[nodiscard]] std::uint64_t origin_requests() const { return origin_requests_; }
  /// When the last byte so far left it.
  [[nodiscard]] TimePoint origin_end() const { return links_.last_sent(origin_port()); }
  [[nodiscard]] std::uint64_t sent_bytes(NodeIndex node) const { return links_.sent_bytes(node); }
  [[nodiscard]] std::uint64_t event_count() const { return events_.executed(); }

 private:
  friend class SwarmNode;
  [[nodiscard]] Port origin_port() const { return static_cast<Port>(nodes_.size()); }
  void start_node(NodeIndex index);
  void announced(NodeIndex node, const Blob& blob);
  void died(NodeIndex node);
  void open_session(NodeIndex dialler, NodeIndex acceptor);
  void close_session(NodeIndex node, SessionId session);
  [[nodiscard]] const std::vector<Midstate>& midstates(const Digest& digest);

  SwarmWorldConfig config_;
  EventQueue events_;
  SwarmLinks links_;
  Prng prng_;
  std::vector<Identity> identities_;
  std::unordered_map<NodeId, NodeIndex> indexes_;
  std::vector<NodeId> members_;  ///< as everybody sees them, sorted
  std::map<Digest, std::vector<NodeIndex>> holders_;
  std::map<Digest, Blob> blobs_;
  std::map<Digest, std::vector<Midstate>> midstates_;
  std::vector<std::unique_ptr<SwarmNode>> nodes_;
  std::uint64_t next_session_ = 1;
  std::uint64_t origin_requests_ = 0;
  std::uint64_t unfinished_ = 0;  ///< reads asked for and not over
};

}  // namespace waggle::sim
