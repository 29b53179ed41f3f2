// The node's core: joins gossip, exchange and catalog, and routes between them. It decides nothing
// about any protocol. Sans-IO: NodeDriver runs it on Asio, the simulator on virtual time.
#pragma once

#include "base/bytes.hpp"
#include "base/endpoint.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/random_source.hpp"
#include "base/time.hpp"
#include "cache/catalog.hpp"
#include "cache/eviction.hpp"
#include "gossip/gossip.hpp"
#include "transfer/exchange.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <variant>
#include <vector>

namespace waggle::node {

struct DistributorConfig {
  gossip::GossipConfig gossip;
  transfer::ExchangeConfig exchange;
  std::uint64_t cache_quota_bytes = 0;  ///< of everything in the store
  cache::EvictionConfig eviction;
};

/// Dial a member. Answer: session_opened or dial_failed.
struct Dial {
  NodeId node;
  std::vector<Endpoint> endpoints;
};
/// Delete a complete blob from the store; it was withdrawn already.
struct RemoveBlob {
  Digest digest;
};
/// Delete an unfinished download from the store.
struct RemovePartial {
  Digest digest;
  std::string origin;
};
/// Write the incarnation to data_dir before the next start.
struct PersistIncarnation {
  std::uint64_t incarnation = 0;
};
/// Keep in data_dir what others were told this node holds.
struct PersistTold {
  gossip::LogTold told;
};
/// Two processes share one identity: tell the operator.
struct ReportClone {
  gossip::CloneSeen seen;
};
using Command = std::variant<
    Dial, RemoveBlob, RemovePartial, PersistIncarnation, PersistTold, ReportClone,
    transfer::SendControl, transfer::SendBlock, transfer::CloseSession, transfer::CreateBlob,
    transfer::VerifyChunk, transfer::DropBuffer, transfer::StartFetch, transfer::CancelFetch,
    transfer::HashLink, transfer::CommitBlob, transfer::CloseBlob, transfer::LoadMidstates,
    transfer::SwarmSize, transfer::ChunkReady, transfer::SwarmProven, transfer::SwarmCommitted,
    transfer::SwarmFailed, transfer::SwarmTainted, transfer::HostPaused>;

/// Contract as of every core: after any input (one on exchange() included, but for those that only
/// count; then call settle())
/// drain poll_transmit and poll_command, then re-read poll_timeout, before the next input. Bounds:
/// bulk frames waiting for a session <= bulk_frames_max per node, 3 s; everything else is bounded
/// in its core.
class Distributor final : private transfer::ClusterView {
 public:
  /// @param identity, random  must outlive the object
  Distributor(const DistributorConfig& config, const Identity& identity, RandomSource& random,
              TimePoint now);

  // Inputs.
  void handle_datagram(TimePoint now, Endpoint from, ByteView datagram);
  void handle_timeout(TimePoint now);
  void set_hints(TimePoint now, std::vector<Endpoint> hints, bool more_expected = false);
  /// The first key seals, all open (rotation).
  void set_keys(TimePoint now, const KeyRing& keys);
  /// No new registrar work; then leave() tells everyone.
  void drain(TimePoint now);
  void leave(TimePoint now);
  /// The driver keeps at most one session per peer; a second one replaces the first.
  void session_opened(TimePoint now, SessionId session, const NodeId& peer);
  void session_closed(TimePoint now, SessionId session);
  void dial_failed(TimePoint now, const NodeId& peer);
  void handle_control(TimePoint now, SessionId session, ByteView frame);
  /// What the store held at start-up: announced as soon as somebody listens.
  void content_found(TimePoint now, const Digest& digest, std::uint64_t size, TimePoint last_use);
  /// All complete blobs of the store were found.
  void store_scanned(TimePoint now);
  void partial_found(const Digest& digest, const std::string& origin, std::uint64_t size,
                     Bitfield held, TimePoint last_use);
  /// The store lost a complete blob (deleted, unreadable): withdraw it.
  void content_lost(TimePoint now, const Digest& digest);
  /// A reader opens the complete blob: it stays until released. False when it is not here.
  bool retain(TimePoint now, const Digest& digest) { return catalog_.retain(now, digest); }
  void release(TimePoint now, const Digest& digest) { catalog_.release(now, digest); }
  /// Remember a name (a tag's digest) for the cluster.
  void announce_name(TimePoint now, const gossip::NameRecord& name, std::uint64_t hlc_ms);
  /// Upkeep: what the file system has left. Evicts when quota or minimum free space are not kept.
  void disk_free(TimePoint now, std::uint64_t bytes);

  /// Opens the swarm of `key` for a reader; nullopt when too many swarms are open.
  [[nodiscard]] std::optional<SwarmId> open(TimePoint now, const transfer::SwarmKey& key);

  /// The exchange, for results of its commands and readers' positions. Call settle() after each
  /// input on it.
  [[nodiscard]] transfer::Exchange& exchange() { return exchange_; }
  [[nodiscard]] const transfer::Exchange& exchange() const { return exchange_; }
  [[nodiscard]] const gossip::Gossip& gossip() const { return gossip_; }
  [[nodiscard]] const cache::Catalog& catalog() const { return catalog_; }
  void settle(TimePoint now);

  // Outputs.
  [[nodiscard]] std::optional<gossip::Transmit> poll_transmit() { return gossip_.poll_transmit(); }
  [[nodiscard]] std::optional<Command> poll_command();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  // Memory reads.
  [[nodiscard]] bool ready(TimePoint now) const { return gossip_.index_ready(now); }
  /// Live members other than this node that announced the blob.
  [[nodiscard]] std::vector<NodeId> holders_of(const Digest& digest);
  [[nodiscard]] std::uint64_t eviction_count() const { return evictions_; }
  [[nodiscard]] std::size_t session_count() const { return nodes_.size(); }
  void check_invariants() const;

 private:
  struct WaitingBulk {
    TimePoint since;
    Bytes frame;
  };

  // transfer::ClusterView
  std::span<const NodeId> registrar_candidates() const override;
  bool is_live(const NodeId& node) const override;
  std::size_t holders(const Digest& digest, std::span<NodeId> out) override;
  std::optional<std::uint64_t> announced_size(const Digest& digest) const override;
  bool index_ready() const override { return gossip_.index_ready(now_); }

  bool route_gossip();  ///< true when it moved anything
  bool route_exchange();
  void ensure_session(const NodeId& node);
  void send_bulk(gossip::BulkSend bulk);
  void create_blob(transfer::CreateBlob create);
  void chunk_ready(const transfer::ChunkReady& ready);
  void committed(const transfer::SwarmCommitted& done);
  void close_blob(const transfer::CloseBlob& close);
  void evict(const std::vector<cache::Victim>& victims);
  void expire_bulk();

  NodeId self_;
  TimePoint now_;
  gossip::Gossip gossip_;
  transfer::Exchange exchange_;
  cache::Catalog catalog_;
  cache::Eviction eviction_;
  std::uint64_t disk_free_bytes_ = 0;
  std::uint64_t evictions_ = 0;
  std::deque<Command> commands_;
  std::map<SessionId, NodeId> sessions_;
  std::map<NodeId, SessionId> nodes_;  ///< the reverse of sessions_
  std::set<NodeId> dialling_;
  std::map<NodeId, std::deque<WaitingBulk>> waiting_bulk_;
  std::map<SwarmId, transfer::SwarmKey> partials_;  ///< what each open swarm writes to
};

}  // namespace waggle::node
