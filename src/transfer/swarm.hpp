// One blob on its way into this node: its peers, its chunks, its upstream extents and its proof.
// The exchange owns all
// swarms and routes to them. The implementation is split by subject: swarm.cpp (life, readers,
// size),
// swarm_peers.cpp, swarm_downloads.cpp, swarm_fetches.cpp, swarm_proofs.cpp.
#pragma once

#include "transfer/availability.hpp"
#include "transfer/chunk_picker.hpp"
#include "transfer/downloads.hpp"
#include "transfer/exchange_context.hpp"
#include "transfer/proof.hpp"
#include "transfer/relay.hpp"
#include "transfer/running_proof.hpp"
#include "transfer/swarm_peer.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace waggle::transfer {

/// After each input the exchange calls settle(); nothing else reads the outputs in between.
class Swarm {
 public:
  Swarm(ExchangeContext& context, SwarmId id, SwarmKey key, TimePoint now);

  [[nodiscard]] SwarmId id() const { return id_; }
  [[nodiscard]] const SwarmKey& key() const { return key_; }
  [[nodiscard]] const SwarmTag& tag() const { return tag_; }
  /// It failed or closed; the exchange forgets it.
  [[nodiscard]] bool ended() const { return ended_; }

  // Readers.
  void hint_size(TimePoint now, std::uint64_t size) { set_size(now, size, SizeSource::hint); }
  void add_reader(TimePoint now, ReaderId reader, std::uint64_t offset, bool lazy = false);
  void move_reader(TimePoint now, ReaderId reader, std::uint64_t offset);
  void remove_reader(TimePoint now, ReaderId reader);
  void retry_upstream(TimePoint now);

  // Cluster and claims.
  void refresh_holders(TimePoint now);
  void member_gone(TimePoint now, const NodeId& node);
  void handle_news(TimePoint now, const SwarmNews& news);
  void extent_granted(TimePoint now, ExtentIndex extent);
  void extent_revoked(TimePoint now, ExtentIndex extent);
  void trio_unreachable(TimePoint now);

  // Sessions and their messages.
  void session_opened(TimePoint now, SessionId session, const NodeId& node);
  void session_closed(TimePoint now, SessionId session, const NodeId& node);
  void dial_failed(TimePoint now, const NodeId& node);
  void drop_banned(TimePoint now, const NodeId& node);
  /// The other swarms' blocks freed room on this node's session.
  void wake_peer(const NodeId& node) { pump_peers_.insert(node); }
  void handle(TimePoint now, SessionId session, const NodeId& node, const OpenMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const StateMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const HaveMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const RequestMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const CancelMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const RejectMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const BusyMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const CrecMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node,
              const GetMidstatesMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node,
              const MidstatesMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const CloseMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const VouchMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node, const RelayMessage& message);
  void handle(TimePoint now, SessionId session, const NodeId& node,
              const RelayVouchMessage& message);
  /// The source of the buffer it belongs to, and how much of it is there already.
  struct BlockPlace {
    SessionId source{};
    std::uint32_t skip = 0;
  };
  /// nullopt: not wanted.
  [[nodiscard]] std::optional<BlockPlace> block_received(TimePoint now, SessionId session,
                                                         const BlockFrame& frame);

  // Results of commands.
  void blob_opened(TimePoint now, std::optional<std::vector<StoredChunk>> held);
  void chunk_verified(TimePoint now, ChunkIndex chunk, SessionId source, ChunkVerdict verdict,
                      const std::optional<ChunkSha256>& sha256,
                      std::span<const ChunkSha256> blocks);
  void fetch_head(TimePoint now, FetchId fetch, const FetchHead& head);
  void fetch_progress(TimePoint now, FetchId fetch, std::uint64_t bytes);
  void fetch_bytes(TimePoint now, FetchId fetch, ChunkIndex chunk, std::uint32_t filled);
  void fetch_chunk(TimePoint now, FetchId fetch, ChunkIndex chunk,
                   const std::array<std::byte, 32>& sha256, ChunkVerdict verdict);
  void fetch_ended(TimePoint now, FetchId fetch, const FetchEnd& end);
  void link_hashed(TimePoint now, ChunkIndex chunk, std::optional<Midstate> end,
                   std::optional<Digest> digest);
  void blob_committed(TimePoint now, bool ok);
  [[nodiscard]] Bytes make_crec(ChunkIndex chunk, const std::array<std::byte, 32>& sha256) const;

  // Time.
  void handle_timeout(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;
  /// Dials, asks and fetches what the inputs made possible.
  void settle(TimePoint now);

  // Claims: the exchange shares the permits of an origin among its swarms.
  /// Extents this swarm would start if it were granted them.
  [[nodiscard]] std::uint32_t claim_appetite(TimePoint now) const;
  /// Extents under way that are less than three quarters done.
  [[nodiscard]] std::uint32_t busy_extents() const;
  /// The lowest position a reader waits for; UINT64_MAX without a reader.
  [[nodiscard]] std::uint64_t lowest_reader() const;
  void set_demand(TimePoint now, std::uint32_t demand);

  // Memory reads.
  [[nodiscard]] SwarmStatus status() const;
  [[nodiscard]] bool has_chunk(ChunkIndex chunk) const;
  [[nodiscard]] bool is_proven() const { return proven_; }
  [[nodiscard]] bool is_committed() const { return committed_; }
  [[nodiscard]] std::uint64_t download_bytes() const { return downloads_.bytes(); }
  /// Peers that opened this swarm here or were opened: they may go on asking once the blob is
  /// complete.
  [[nodiscard]] std::vector<SessionId> peer_sessions() const;
  void check_invariants() const;

 private:
  enum class FetchKind : std::uint8_t {
    claimed,    ///< a registrar granted the extent
    unclaimed,  ///< the trio is unreachable
    bypass,     ///< one chunk for a reader that waited too long
    whole,      ///< this node fetches all of a refuted blob
  };
  struct Fetch {
    FetchKind kind{};
    ExtentIndex extent{};
    std::uint32_t first = 0, next = 0, end = 0;  ///< chunks; `end` 0 while the size is unknown
    bool cancel_at_chunk = false;
    bool canceled = false;
    bool has_bytes = false;
    TimePoint last_progress{};
  };
  struct Reader {
    std::uint64_t offset = 0;
    TimePoint waiting_since{};
    TimePoint sure_since{};           ///< as waiting_since, without blocks that are not proven
    std::uint32_t bypass_chunks = 0;  ///< of its last bypass; 0 once its head came another way
    bool lazy = false;
    Duration patience{};  ///< before a bypass; of a lazy one only where nobody near has the chunk
  };
  struct OwnCrec {
    Crec crec;
    bool is_signed = true;  ///< own ones are signed when first asked for
  };
  /// A list given up; its prover is judged once the truth is known.
  struct RejectedList {
    std::array<std::byte, 32> hash{};
    NodePublicKey prover;
    bool refused = false;  ///< not taken again, whoever signs it
  };
  /// A complete peer's bytes failed a link that another signed: one of the two lies.
  struct Accusation {
    NodeId node;
    ChunkIndex chunk{};
    LinkProof link;
  };
  enum class SizeSource : std::uint8_t { hint, upstream };

  // swarm.cpp
  void set_size(TimePoint now, std::uint64_t size, SizeSource source);
  void open_blob();
  void reset_blob(TimePoint now);
  void mark_have(TimePoint now, ChunkIndex chunk, ChunkSource source);
  void update_windows();
  void note_progress(TimePoint now, ChunkIndex chunk, bool sure);
  void moved(TimePoint now);
  void take_back_progress();
  void refresh_open(ChunkIndex chunk);
  void refresh_all_open();
  void flush_haves(TimePoint now);
  void tell_haves(TimePoint now, SwarmPeer& peer, const std::vector<ChunkIndex>& chunks);
  void reveal_due(TimePoint now);
  void tick(TimePoint now);
  [[nodiscard]] bool has_hope() const;
  void judge(TimePoint now);
  void fail(TimePoint now, SwarmError error);
  void close(TimePoint now, bool discard);
  [[nodiscard]] bool is_active() const;

  // swarm_peers.cpp
  void add_candidate(const NodeId& node, bool holder);
  void fill_peers(TimePoint now);
  void put_successors_first(std::vector<NodeId>& wanters);
  void connect(TimePoint now, const NodeId& node);
  void send_open(TimePoint now, const NodeId& node, SwarmPeer& peer, SessionId session);
  void drop_peer(TimePoint now, const NodeId& node, bool tell);
  void apply_state(TimePoint now, const NodeId& node, SwarmPeer& peer,
                   const std::optional<std::uint64_t>& size, const HaveMap& have);
  void count_peer(SwarmPeer& peer);
  void uncount_peer(SwarmPeer& peer);
  void recount_peers();
  void replace_worst(TimePoint now);
  void broadcast_state();
  [[nodiscard]] HaveMap own_map() const;
  [[nodiscard]] SwarmPeer* peer_on(SessionId session, const NodeId& node);
  [[nodiscard]] std::optional<double> median_rate() const;
  [[nodiscard]] bool someone_has(TimePoint now, ChunkIndex chunk) const;
  [[nodiscard]] bool holders_failed(TimePoint now) const;
  [[nodiscard]] bool holders_known() const;

  // swarm_downloads.cpp
  void pump_peer(TimePoint now, const NodeId& node, SwarmPeer& peer);
  [[nodiscard]] bool start_download(TimePoint now, const NodeId& node, SwarmPeer& peer);
  [[nodiscard]] std::optional<ChunkIndex> pick_endgame(TimePoint now, const NodeId& node,
                                                       const SwarmPeer& peer) const;
  [[nodiscard]] std::size_t partial_count() const;
  [[nodiscard]] bool is_set_aside(TimePoint now, const NodeId& node) const;
  [[nodiscard]] bool may_ask(TimePoint now, const NodeId& node, const SwarmPeer& peer,
                             ChunkIndex chunk) const;
  [[nodiscard]] Duration patience(const SwarmPeer& peer, std::uint64_t bytes) const;
  void drop_download(SessionId session, ChunkIndex chunk);
  void drop_downloads_of(SessionId session);
  void drop_other_sources(ChunkIndex chunk);
  void expire_downloads(TimePoint now);
  void submit(SessionId session, ChunkIndex chunk);
  void submit_waiting();
  void verify_failed(TimePoint now, ChunkIndex chunk, const Download& download,
                     const std::optional<ChunkSha256>& sha256);
  [[nodiscard]] bool is_own_fault(const Download& download,
                                  const std::optional<ChunkSha256>& sha256) const;

  // swarm_relay.cpp
  void refresh_rings();
  [[nodiscard]] bool may_relay() const;
  [[nodiscard]] std::uint32_t relay_serial();
  [[nodiscard]] std::uint64_t stripe_number(ChunkIndex chunk, std::size_t stripe) const;
  [[nodiscard]] std::uint32_t stripe_length(ChunkIndex chunk, std::size_t stripe) const;
  void begin_stripe(RelayStripe& stripe, std::uint64_t number);
  void spread(RelayStripe& stripe, std::uint64_t number);
  /// Who of the members wants the blob under this name; the view may know it when this node does
  /// not.
  [[nodiscard]] const NodeId* node_of(HopName name);
  [[nodiscard]] std::optional<SessionId> next_hop(TimePoint now, std::vector<HopName>& rest);
  void pass_on(TimePoint now, ChunkIndex chunk, SessionId source, std::size_t stripe,
               RelayedChunk& relayed);
  void pass_stored(TimePoint now, const RelayMessage& message);
  void pass_stored(TimePoint now, const RelayMessage& message, std::vector<HopName> rest);
  void send_relayed(TimePoint now, SendBlock block);
  [[nodiscard]] RelayedChunk new_relayed(ChunkIndex chunk);
  void chunk_departed(TimePoint now, ChunkIndex chunk);
  void chunk_passed(TimePoint now, ChunkIndex chunk, RelayedChunk relayed);
  void keep_late(TimePoint now, ChunkIndex chunk, RelayedChunk relayed);
  [[nodiscard]] bool has_late_room() const;
  void relay_late(TimePoint now);
  void relay_crec(TimePoint now, ChunkIndex chunk, RelayedChunk& relayed);
  void pass_crec(TimePoint now, const NodeId& from, const CrecMessage& message);
  [[nodiscard]] bool begin_arriving(TimePoint now, ChunkIndex chunk);
  [[nodiscard]] std::optional<BlockPlace> relay_received(TimePoint now, SessionId session,
                                                         const BlockFrame& frame);
  void relayed_block_done(TimePoint now, ChunkIndex chunk, std::uint32_t offset);
  void relayed_was_wrong(TimePoint now, ChunkIndex chunk, std::span<const ChunkSha256> blocks);
  /// What left for other nodes of a chunk is true: says so to them.
  void vouch_for(const RelayedChunk& relayed, ChunkIndex chunk);
  void send_vouches(SessionId session);
  void send_vouches();
  void judge_relay(TimePoint now, ChunkIndex chunk);
  void truth_known(TimePoint now, ChunkIndex chunk, std::span<const ChunkSha256> blocks);
  void forget_relayed(TimePoint now, ChunkIndex chunk);
  void tend_relays(TimePoint now);

  // swarm_scarce.cpp
  [[nodiscard]] bool is_source_scarce() const;
  [[nodiscard]] bool is_to_be_shared();
  [[nodiscard]] std::size_t share_rank(ChunkIndex chunk);
  [[nodiscard]] bool may_take(TimePoint now, ChunkIndex chunk);
  [[nodiscard]] std::optional<ChunkIndex> pick_share(TimePoint now, const NodeId& node,
                                                     const SwarmPeer& peer);
  void share_block(TimePoint now, SessionId session, ChunkIndex chunk, std::uint32_t offset);
  void resume_relays(TimePoint now);
  void reroute(TimePoint now, SessionId session);

  // swarm_repair.cpp
  [[nodiscard]] Duration relay_grace(TimePoint now) const;
  [[nodiscard]] bool is_relay_due(TimePoint now, ChunkIndex chunk) const;
  [[nodiscard]] bool was_missed(ChunkIndex chunk) const;
  void start_repair(TimePoint now, ChunkIndex chunk, RelayedChunk& relayed);
  void end_repair(RelayedChunk& relayed);
  [[nodiscard]] std::optional<BlockPlace> repair_received(TimePoint now, SessionId session,
                                                          const BlockFrame& frame);
  /// The next chunks of which something did not come.
  [[nodiscard]] bool is_awaited(ChunkIndex chunk) const;
  void repair_late(TimePoint now);

  // swarm_fetches.cpp
  void start_extent(TimePoint now, ExtentIndex extent, FetchKind kind);
  void start_fetch(TimePoint now, FetchKind kind, ExtentIndex extent, std::uint32_t first,
                   std::uint32_t end);
  void start_unsized(TimePoint now, FetchKind kind);
  void cancel_fetch(FetchId fetch);
  void cancel_fetches();
  void release_extent(TimePoint now, ExtentIndex extent);
  void release_claims(TimePoint now);
  void resume_stalled_extents(TimePoint now);
  void fetch_whole(TimePoint now);
  void release_whole(TimePoint now);
  void trim_fetches(TimePoint now);
  void bypass(TimePoint now);
  void bypass_lazy(TimePoint now);
  void bypass_reader(TimePoint now, Reader& reader);
  [[nodiscard]] Duration patience_of(TimePoint now, const Reader& reader, ChunkIndex head) const;
  void pause_claims(TimePoint now, std::optional<Duration> retry_after);
  void update_want(TimePoint now);
  [[nodiscard]] bool fetch_covers(std::uint32_t chunk) const;
  [[nodiscard]] bool is_fetching(ExtentIndex extent) const;
  [[nodiscard]] std::optional<ExtentIndex> lowest_missing_extent() const;
  [[nodiscard]] std::optional<ExtentIndex> random_missing_extent();
  [[nodiscard]] bool upstream_usable(TimePoint now) const;

  // swarm_proofs.cpp
  [[nodiscard]] CrecSubject subject(ChunkIndex chunk) const;
  [[nodiscard]] bool has_links() const;
  [[nodiscard]] bool vouches_by_list(ChunkIndex chunk) const;
  [[nodiscard]] std::optional<ChunkProof> proof_of(const Download& download,
                                                   ChunkIndex chunk) const;
  void send_crec(SessionId session, ChunkIndex chunk,
                 std::optional<std::vector<HopName>> next = std::nullopt);
  void ask_list(TimePoint now, SwarmPeer& peer);
  void adopt_list(TimePoint now, SessionId session);
  void drop_list(bool refused);
  void dispute(ChunkIndex chunk, const Crec& crec);
  void judge_upstream(ChunkIndex chunk, const ChunkSha256& sha256);
  void advance_proof(TimePoint now);
  void proven(TimePoint now);
  void refuted(TimePoint now);
  void taint(TimePoint now, Taint why);
  void become_careful(TimePoint now);
  void judge_signers(TimePoint now);
  [[nodiscard]] std::set<NodeId> false_signers() const;

  ExchangeContext& context_;
  const SwarmId id_;
  const SwarmKey key_;
  const SwarmTag tag_;
  bool ended_ = false;
  TimePoint tick_at_{};
  TimePoint holders_at_{};
  std::optional<TimePoint> haves_at_;
  std::optional<TimePoint> close_at_;

  // What is here.
  std::optional<std::uint64_t> size_;
  SizeSource size_source_ = SizeSource::hint;
  BlobLayout layout_;
  std::uint32_t opens_pending_ = 0;  ///< CreateBlob commands not answered
  bool opened_ = false;
  bool created_ = false;
  Bitfield have_;
  Bitfield open_;  ///< lacking, asked from nobody, not in an own fetch
  Bitfield extents_done_;
  std::vector<ChunkIndex> pending_haves_;
  std::vector<ChunkIndex> fresh_haves_;  ///< from upstream: told to few first
  std::map<ChunkIndex, TimePoint>
      veiled_;  ///< told to few; to everybody at this time at the latest
  bool proven_ = false;
  bool committed_ = false;

  // Readers.
  std::map<ReaderId, Reader> readers_;
  ChunkPicker picker_;

  // Peers.
  std::map<NodeId, PeerCandidate> candidates_;
  std::map<NodeId, SwarmPeer> peers_;
  Availability availability_;
  std::set<NodeId> pump_peers_;
  bool pump_all_ = false;
  TimePoint replace_at_{};
  TimePoint peer_progress_{};                         ///< last block, state or list from a peer
  TimePoint progress_{};                              ///< last sign of life from any source
  TimePoint sure_peer_progress_{}, sure_progress_{};  ///< without blocks that are not proven

  // Downloads.
  Downloads downloads_;
  std::map<ChunkIndex, std::set<NodeId>> suspects_;  ///< senders of bytes that failed
  std::vector<Accusation> accusations_;
  std::map<NodeId, TimePoint> set_aside_;  ///< bytes failed, blame unknown: not asked until then

  // Shares of a scarce source.
  std::optional<TimePoint> pulling_since_;         ///< the first that could be asked
  std::optional<TimePoint> share_taken_;           ///< nothing of this node's share is open since
  std::map<ChunkIndex, std::size_t> share_ranks_;  ///< as asked for so far, of these others:
  std::uint64_t share_ranks_version_ = 0;

  // Relay of fresh chunks.
  RelayRings rings_;
  std::map<HopName, NodeId> hops_;                ///< the candidates by their short names
  std::map<ChunkIndex, RelayedChunk> arriving_;   ///< each is a download from relay_source
  std::map<ChunkIndex, RelayedChunk> departing_;  ///< of own fetches, and of a scarce source
  std::map<ChunkIndex, RelayedChunk> late_;       ///< in the store, and not all sent
  std::optional<TimePoint> first_departed_;
  /// A relayed CREC of a chunk of which no stripe has come yet.
  struct EarlyCrec {
    Crec crec;
    std::vector<RelayBranch> ways;  ///< that nobody could be reached of
  };
  std::map<ChunkIndex, EarlyCrec> early_crecs_;
  std::map<ChunkIndex, TimePoint> heard_;  ///< lacking, and a peer said that it has it: since when
  std::map<ChunkIndex, RelayEvidence> evidence_;
  std::set<ChunkIndex> not_relayed_;  ///< were wrong: taken by request only
  std::map<SessionId, std::vector<RelayVouchMessage>> vouches_;  ///< not sent yet
  std::optional<TimePoint> relay_seen_;                          ///< the last stripe or frame
  Duration relay_lag_{};  ///< from a peer's HAVE to the own chunk, at most lately

  // Upstream.
  std::map<FetchId, Fetch> fetches_;
  std::set<ExtentIndex> owned_;       ///< granted and neither done nor given back
  std::vector<ExtentIndex> waiting_;  ///< granted before the blob was opened
  std::uint32_t demand_ = 0;
  bool want_sent_ = false;
  WantState last_want_;
  bool no_range_ = false;
  bool no_credential_ = false;
  bool not_found_ = false;
  std::uint32_t upstream_failures_ = 0;
  std::uint32_t backoffs_ = 0;
  TimePoint claims_paused_until_{};
  Duration patience_{};  ///< of a reader without head-of-line progress, then it is rescued

  // Proofs.
  std::map<ChunkIndex, OwnCrec> crecs_;       ///< of chunks here, each checked against the bytes
  DisputedCrecs disputed_;                    ///< that failed or belong to a refuted blob
  std::map<ChunkIndex, ChunkSha256> hashes_;  ///< of disputed chunks as they came the second time
  std::optional<std::vector<Midstate>> list_;
  std::array<std::byte, 32> list_hash_{};
  Bitfield linked_;  ///< chunks here that were verified under list_
  ListSignature list_signature_;
  std::uint32_t list_failures_ = 0;
  std::uint32_t list_successes_ = 0;
  std::vector<RejectedList> rejected_lists_;
  struct FormerList {
    std::array<std::byte, 32> hash{};
    Bitfield linked;
  };
  std::optional<FormerList> former_;  ///< given up, and chunks here were verified under it
  struct Assembly {
    std::vector<Midstate> list;
    ListSignature signature;
  };
  std::map<SessionId, Assembly> assemblies_;
  RunningProof running_;
  // After a refutation.
  std::uint32_t refutations_ = 0;
  bool careful_ = false;      ///< links and own upstream bytes only; one node fetches it all
  bool own_only_ = false;     ///< refuted again: not even links
  bool whole_mine_ = false;   ///< this node is the one that fetches
  bool has_foreign_ = false;  ///< some chunk of this round did not come from upstream to here
  TimePoint careful_since_{};
  SwarmKey claims_key_;  ///< what this swarm claims by: key_, in a careful round one of its own
  SwarmTag claims_tag_;
};

}  // namespace waggle::transfer
