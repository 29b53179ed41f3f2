// One node of a large virtual swarm: its Exchange, and what answers its commands. For
// swarm_world.cpp only.
#pragma once

#include "sim/swarm_world.hpp"

#include <span>

namespace waggle::sim {

class SwarmNode final : public transfer::ClusterView {
 public:
  SwarmNode(SwarmWorld& world, NodeIndex index);
  ~SwarmNode() override;

  struct Session {
    NodeIndex peer = 0;
    SessionId peer_session{};
    bool outgoing = false;
    PipeIndex pipe = 0;  ///< to the peer
  };

  // Inputs. Each ends in a pump.
  void open(const Blob& blob);
  void take(const Blob& blob);  ///< it is complete here
  void session_opened(SessionId id, const Session& session);
  void session_closed(SessionId id);
  void dial_failed(NodeIndex peer);
  void members_changed(const NodeId& gone);

  [[nodiscard]] const std::map<SessionId, Session>& sessions() const { return sessions_; }
  [[nodiscard]] std::optional<SessionId> session_with(NodeIndex peer) const;
  [[nodiscard]] transfer::Exchange& exchange() { return exchange_; }
  [[nodiscard]] const transfer::Exchange& exchange() const { return exchange_; }
  [[nodiscard]] const std::vector<SwarmRead>& reads() const { return reads_; }
  [[nodiscard]] const SwarmWorld::Traffic& traffic() const { return traffic_; }

  // ClusterView.
  [[nodiscard]] std::span<const NodeId> registrar_candidates() const override;
  [[nodiscard]] bool is_live(const NodeId& node) const override;
  std::size_t holders(const Digest& digest, std::span<NodeId> out) override;
  [[nodiscard]] std::optional<std::uint64_t> announced_size(const Digest& digest) const override;
  [[nodiscard]] bool index_ready() const override { return true; }

 private:
  struct Fetch {
    SwarmId swarm{};
    Blob blob;
    std::uint64_t at = 0;  ///< next byte that the origin sends
    std::uint64_t stop = 0;
    std::uint64_t received = 0;  ///< handed to the core
    std::uint64_t read_at = 0;   ///< next byte that this node reads
    std::uint64_t reported = 0;
    std::uint64_t unread = 0;   ///< arrived
    std::uint32_t hashing = 0;  ///< chunks
    std::uint64_t look = 0;     ///< number of the timer that counts
    bool waits = false;         ///< for the relay
    std::optional<PipeIndex> pipe;
  };
  using Later = std::function<void(SwarmNode&)>;

  [[nodiscard]] TimePoint now() const;
  /// Runs `apply` here after `delay`, unless this node has died, and pumps.
  void after(Duration delay, Later apply);
  void pump();
  void set_timer();
  void ended(FetchId id, transfer::FetchEnd::Kind kind);
  void fill_pipe(FetchId id, Fetch& fetch);
  void arrived(FetchId id, std::uint64_t bytes);
  void read_on(FetchId id);
  void chunk_read(FetchId id, Fetch& fetch, ChunkIndex chunk);
  void relay_moved();
  void reader_moves(SwarmId swarm);
  void close_fetch(Fetch& fetch);

  void run(const transfer::EnsureSession& dial);
  void run(const transfer::SendControl& send);
  void run(const transfer::SendBlock& send);
  void run(const transfer::CloseSession& close);
  void run(const transfer::SendClaim& send);
  void run(const transfer::CreateBlob& create);
  void run(const transfer::VerifyChunk& verify);
  void run(const transfer::DropBuffer&) {}
  void run(const transfer::StartFetch& start);
  void run(const transfer::CancelFetch& cancel);
  void run(const transfer::HashLink& hash);
  void run(const transfer::CommitBlob& commit);
  void run(const transfer::CloseBlob& close);
  void run(const transfer::LoadMidstates& load);
  void run(const transfer::SwarmSize&) {}
  void run(const transfer::ChunkReady& ready);
  void run(const transfer::SwarmProven& proven);
  void run(const transfer::SwarmCommitted& committed);
  void run(const transfer::SwarmFailed& failed);
  void run(const transfer::SwarmTainted&) {}
  void run(const transfer::HostPaused&) {}  // its origin asks for none

  SwarmWorld& world_;
  const NodeIndex index_;
  Prng prng_;
  transfer::Exchange exchange_;
  std::map<SessionId, Session> sessions_;
  std::map<NodeIndex, SessionId> by_peer_;
  std::set<NodeIndex> dialling_;
  std::map<SwarmId, Blob> swarms_;
  std::map<SwarmId, std::vector<bool>> ready_;
  std::map<FetchId, Fetch> fetches_;
  std::vector<SwarmRead> reads_;
  std::uint64_t next_reader_ = 1;
  std::optional<TimePoint> timer_;  ///< the earliest wake-up on its way
  std::uint64_t timer_number_ = 0;
  bool pumping_ = false;
  SwarmWorld::Traffic traffic_;
};

}  // namespace waggle::sim
