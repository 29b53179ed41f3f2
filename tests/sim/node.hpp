// One simulated node: the real Distributor, with symbolic storage, sessions and fetches around it.
#pragma once

#include "node/distributor.hpp"
#include "sim/content.hpp"
#include "sim/disk.hpp"
#include "sim/hostile.hpp"
#include "sim/network.hpp"
#include "sim/trace.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

namespace waggle::sim {

class Simulator;

/// The bytes [begin, end) of a blob, for which a client waits so long.
struct ReadPlan {
  std::uint64_t begin = 0;
  std::uint64_t end = UINT64_MAX;
  std::optional<Duration> patience;  ///< then it hangs up
};

/// How one client's read of one blob stands.
struct Pull {
  Blob blob;
  std::string origin;
  ReadPlan plan;
  TimePoint started;
  std::optional<TimePoint> first_chunk;
  std::optional<TimePoint> finished;  ///< every byte could be given out; a whole blob is proven
  std::optional<transfer::SwarmError> error;
  bool hung_up = false;
  std::optional<SwarmId> swarm;
  ReaderId reader{};
  std::uint64_t position = 0;  ///< what the reader has taken
  TimePoint moved;             ///< when it took something last, or began to wait
  [[nodiscard]] bool is_over() const { return finished || error || hung_up; }
};

class Node {
 public:
  Node(Simulator& simulator, NodeIndex index, Disk& disk, const Identity& identity);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // The world's inputs. Each ends in a pump.
  void start(const std::vector<Endpoint>& hints);
  void receive(Endpoint from, ByteView datagram);
  void session_opened(SessionId session, const NodeId& peer, const SessionEnd& end);
  void session_closed(SessionId session);
  void control_arrived(SessionId session, const Bytes& frame);
  /// `sender_size`: how long the sender takes the blob for.
  void block_arrived(SessionId session, const transfer::SendBlock& block, Variant variant,
                     std::uint64_t sender_size);
  void dial_failed(const NodeId& peer);
  void pull(const Blob& blob, const std::string& origin, const ReadPlan& plan = {});
  void drain();
  void leave();
  void keys_changed();
  /// Dials again what was opened under a key that no longer seals.
  void move_session(SessionId session);
  void clock_jumped() { wake(); }
  /// Bytes that an outsider sent: a mangled datagram (nothing at all may happen) or a replayed one
  /// (at most one answer, no change).
  void receive_hostile(Endpoint from, ByteView datagram, bool is_replay);
  void wake();

  /// From now on this node is hostile (hostile.hpp); its core stays what it is.
  void lie(Lie lie);
  [[nodiscard]] bool is_hostile() const { return lie_ != Lie::none; }
  /// Says that it holds the blob, and does not.
  void pretend(const Blob& blob);

  [[nodiscard]] node::Distributor& core() { return *core_; }
  [[nodiscard]] const node::Distributor& core() const { return *core_; }
  [[nodiscard]] Simulator& simulator() const { return sim_; }
  /// This node's monotonic clock.
  [[nodiscard]] TimePoint now() const;
  [[nodiscard]] NodeIndex index() const { return index_; }
  [[nodiscard]] const std::vector<Pull>& pulls() const { return pulls_; }
  [[nodiscard]] const std::map<SessionId, SessionEnd>& sessions() const { return sessions_; }
  [[nodiscard]] std::uint64_t peer_bytes() const { return peer_bytes_; }
  [[nodiscard]] std::uint64_t upstream_bytes() const { return upstream_bytes_; }
  [[nodiscard]] std::uint64_t gossip_bytes() const { return gossip_bytes_; }
  [[nodiscard]] std::size_t buffer_count() const { return buffers_.size(); }
  [[nodiscard]] std::size_t buffer_count(SwarmId swarm) const;
  [[nodiscard]] std::size_t fetch_count() const { return fetches_.size(); }
  [[nodiscard]] std::uint64_t control_bytes() const { return control_bytes_; }
  [[nodiscard]] const std::set<Digest>& committed() const { return committed_; }
  [[nodiscard]] bool pulls_done() const;

 private:
  using BufferKey = std::tuple<SwarmId, ChunkIndex, SessionId>;
  struct Fetch {
    std::uint64_t handle = 0;  ///< at the origin
    SwarmId swarm{};
    std::uint64_t received = 0;
    /// Arrived before the partial file was open.
    std::vector<std::pair<ChunkIndex, Variant>> early;
    std::optional<transfer::FetchEnd> end;
  };

  void run(const transfer::HostPaused& paused) { pause_host(paused.remaining); }
  /// The origin wants to be left alone: so it is, a tenth longer at most.
  void pause_host(Duration asked);
  void pump();
  void execute(const node::Command& command);
  void later(Duration delay, std::function<void(TimePoint)> apply);
  /// The same, unless the swarm's blob is closed in the meantime.
  void later_for(SwarmId swarm, Duration delay, std::function<void(TimePoint)> apply);
  void run(const node::Dial& dial);
  void run(const transfer::SendControl& send);
  void run(const transfer::SendBlock& send);
  /// Tells the core, then, that a relayed block is out.
  void relay_left(const transfer::SendBlock& send, TimePoint at);
  void reject(const transfer::SendBlock& send);
  void fake_progress(FetchId id, std::uint64_t bytes);
  void run(const transfer::CloseSession& close);
  void run(const transfer::CreateBlob& create);
  void run(const transfer::VerifyChunk& verify);
  void run(const transfer::StartFetch& start);
  void run(const transfer::HashLink& hash);
  void run(const transfer::CommitBlob& commit);
  void run(const transfer::CloseBlob& close);
  void run(const transfer::LoadMidstates& load);
  void run(const transfer::ChunkReady& ready);
  void fetched(FetchId id, ChunkIndex chunk, Variant variant);
  void fetch_over(FetchId id, const transfer::FetchEnd& end);
  void cancel(FetchId id);
  void read_on(SwarmId swarm);
  void end_reader(const Pull& pull, Duration after);
  void hang_up(ReaderId reader);
  [[nodiscard]] Duration disk_time(Duration usual) const { return usual * disk_.slowness; }
  void check_sealed_once(ByteView datagram);
  void note_bypass(const transfer::StartFetch& start);
  void proven(SwarmId swarm);
  void failed(SwarmId swarm, transfer::SwarmError error);
  [[nodiscard]] DiskPartial* partial(SwarmId swarm);
  struct Stored {
    Variant variant = true_bytes;
    std::uint64_t blob_size = 0;
  };
  [[nodiscard]] std::optional<Stored> content_of(const transfer::SendBlock& block);

  Simulator& sim_;
  NodeIndex index_;
  Disk& disk_;
  SeededRandomSource random_;
  TimePoint host_paused_until_{};
  std::unique_ptr<node::Distributor> core_;
  std::map<SessionId, SessionEnd> sessions_;
  std::map<SwarmId, transfer::SwarmKey> swarms_;
  std::map<SwarmId, std::set<ChunkIndex>> ready_;
  std::map<SwarmId, std::uint32_t> closed_;  ///< how often: what was under way then is void
  std::map<BufferKey, Variant> buffers_;
  std::map<FetchId, Fetch> fetches_;
  std::vector<Pull> pulls_;
  std::set<Digest> committed_;
  std::optional<TimePoint> timer_;
  std::uint64_t timer_epoch_ = 0;
  std::uint64_t next_reader_ = 1;
  std::uint64_t peer_bytes_ = 0;
  std::uint64_t upstream_bytes_ = 0;
  std::uint64_t gossip_bytes_ = 0;
  std::uint64_t control_bytes_ = 0;
  Lie lie_ = Lie::none;
  std::uint64_t bypasses_ = 0;  ///< fetches recognised as such
  bool pumping_ = false;
  std::uint64_t boot_ = 0;            ///< of the datagrams sent; 0: none so far
  std::set<std::uint64_t> counters_;  ///< of the latest ones
  std::set<SwarmId> committing_;
};

}  // namespace waggle::sim
