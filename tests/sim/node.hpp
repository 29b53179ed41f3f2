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

/// How one client's read of one blob stands.
struct Pull {
  Blob blob;
  std::string origin;
  TimePoint started;
  std::optional<TimePoint> first_chunk;
  std::optional<TimePoint> finished;  ///< proven: every byte could be given out
  std::optional<transfer::SwarmError> error;
  std::optional<SwarmId> swarm;
  ReaderId reader{};
  std::uint64_t position = 0;  ///< what the reader has taken
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
  void block_arrived(SessionId session, const transfer::SendBlock& block, Variant variant);
  void dial_failed(const NodeId& peer);
  void pull(const Blob& blob, const std::string& origin);
  void leave();
  void wake();

  /// From now on this node is hostile (hostile.hpp); its core stays what it is.
  void lie(Lie lie) { lie_ = lie; }
  [[nodiscard]] bool is_hostile() const { return lie_ != Lie::none; }
  /// Says that it holds the blob, and does not.
  void pretend(const Blob& blob);

  [[nodiscard]] node::Distributor& core() { return *core_; }
  [[nodiscard]] const node::Distributor& core() const { return *core_; }
  [[nodiscard]] Simulator& simulator() { return sim_; }
  [[nodiscard]] NodeIndex index() const { return index_; }
  [[nodiscard]] const std::vector<Pull>& pulls() const { return pulls_; }
  [[nodiscard]] const std::map<SessionId, SessionEnd>& sessions() const { return sessions_; }
  [[nodiscard]] std::uint64_t peer_bytes() const { return peer_bytes_; }
  [[nodiscard]] std::uint64_t upstream_bytes() const { return upstream_bytes_; }
  [[nodiscard]] std::uint64_t gossip_bytes() const { return gossip_bytes_; }
  [[nodiscard]] std::size_t buffer_count() const { return buffers_.size(); }
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
    std::optional<transfer::FetchEnd::Kind> end;
  };

  void pump();
  void execute(const node::Command& command);
  void later(Duration delay, std::function<void(TimePoint)> apply);
  void run(const node::Dial& dial);
  void run(const transfer::SendControl& send);
  void run(const transfer::SendBlock& send);
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
  void fetch_over(FetchId id, transfer::FetchEnd::Kind kind);
  void cancel(FetchId id);
  void read_on(SwarmId swarm);
  void proven(SwarmId swarm);
  void failed(SwarmId swarm, transfer::SwarmError error);
  [[nodiscard]] DiskPartial* partial(SwarmId swarm);
  [[nodiscard]] std::optional<Variant> stored_variant(const transfer::SendBlock& block);

  Simulator& sim_;
  NodeIndex index_;
  Disk& disk_;
  SeededRandomSource random_;
  std::unique_ptr<node::Distributor> core_;
  std::map<SessionId, SessionEnd> sessions_;
  std::map<SwarmId, transfer::SwarmKey> swarms_;
  std::map<SwarmId, std::set<ChunkIndex>> ready_;
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
  bool pumping_ = false;
};

}  // namespace waggle::sim
