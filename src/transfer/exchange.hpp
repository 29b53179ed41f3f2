// The transfer spoke's one core: every swarm of this node, the protocol on its sessions, its claims
// and its upstream fetches. It sees descriptors, never payload: drivers move, hash and store bytes
// and report back. Formats: docs/wire-transfer.md, docs/wire-claims.md.
#pragma once

#include "base/bitfield.hpp"
#include "base/blob_layout.hpp"
#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/sha256.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "transfer/claims.hpp"
#include "transfer/relay.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace waggle::transfer {

/// What the core asks about the cluster; the distributor answers from gossip's memory.
class ClusterView {
 public:
  virtual ~ClusterView() = default;
  /// Live non-draining members, self included, sorted.
  [[nodiscard]] virtual std::span<const NodeId> registrar_candidates() const = 0;
  [[nodiscard]] virtual bool is_live(const NodeId& node) const = 0;
  /// Fills `out` with live nodes other than self that announced the complete blob, in the order to
  /// try them: random, less loaded ones earlier. How many there are in all.
  /// @pre out.size() <= limits::lookup_holders_max
  virtual std::size_t holders(const Digest& digest, std::span<NodeId> out) = 0;
  /// Size as announced; a hint until proven.
  [[nodiscard]] virtual std::optional<std::uint64_t> announced_size(const Digest& digest) const = 0;
  /// False before the index is ready: then this node WANTs before it believes that nobody holds a
  /// blob.
  [[nodiscard]] virtual bool index_ready() const = 0;
};

struct ExchangeConfig {
  std::string cluster_name = "waggle";
  std::uint64_t incarnation = 1;
  std::uint64_t seed = 1;
  std::size_t claim_payload_bytes_max = 1200;
  std::uint32_t in_flight_per_host = 64;  ///< claimed extents under way in the whole cluster
  std::uint32_t extents_in_flight_max =
      1;  ///< upstream extents this node fetches at once, per origin; the next claim
          ///< is asked when the current one is 3/4 done
  Duration request_timeout_min = std::chrono::seconds(1);
  bool upstream_allowed = true;  ///< false: peers or nothing, no claims
  bool relays = true;  ///< passes on fresh chunks as they come; false: verified ones, on request
  bool reports_sent_blocks = false;  ///< the driver calls block_sent: then a peer with
                                     ///< limits::requests_per_peer_max unsent blocks gets BUSY
};

/// How a chunk proves itself.
struct CrecProof {  ///< plain sha256 of the chunk, signed by its fetcher
  std::array<std::byte, 32> sha256{};
  bool operator==(const CrecProof&) const = default;
};
struct LinkProof {  ///< from midstate `begin`; the last chunk ends in the digest
  Midstate begin;
  Midstate end;  ///< unused when `is_last`
  bool is_last = false;
  bool operator==(const LinkProof&) const = default;
};
using ChunkProof = std::variant<CrecProof, LinkProof>;

/// A payload frame as it arrived.
struct BlockFrame {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::uint32_t offset = 0;  ///< within the chunk
  std::uint32_t length = 0;
  bool relayed = false;
};
/// Where a chunk's bytes are gathered: sources are sessions, relay_source and fetch_source.
struct BlockBuffer {
  SwarmId swarm{};
  SessionId source{};
  std::uint32_t skip = 0;  ///< leading bytes of the frame that are there: they stay as they are
  bool operator==(const BlockBuffer&) const = default;
};

// ---- Commands: the driver carries them out and answers with the input named. ----

/// Dial `node` unless a session is up or being dialled. Answer: session_opened or dial_failed.
struct EnsureSession {
  NodeId node;
};
struct SendControl {
  SessionId session{};
  Bytes message;
};
/// Read block from the store (the complete blob, or the swarm's verified chunks) or from the buffer
/// it arrives in, and send it as a payload frame. Answer: block_sent, with the length of a relayed
/// one.
struct SendBlock {
  SessionId session{};
  SwarmTag tag;
  Digest digest;
  std::optional<SwarmId> swarm;  ///< set: from the partial file of this swarm
  ChunkIndex chunk{};
  std::uint32_t offset = 0;  ///< within the chunk
  std::uint32_t length = 0;
  bool relayed = false;
  /// Set: from the buffer of (swarm, chunk, source), where these bytes are by now; the driver keeps
  /// it for them, whatever becomes of the chunk.
  std::optional<SessionId> source{};
};
struct CloseSession {
  SessionId session{};
  std::string reason;
};
struct SendClaim {
  NodeId to;
  Bytes payload;
};
/// Open or resume the partial file. Answer: blob_opened.
struct CreateBlob {
  SwarmId swarm{};
  SwarmKey key;
  std::uint64_t size = 0;
};
/// Whether the answer to VerifyChunk brings the plain hash of each block of the chunk, too.
enum class BlockHashes : std::uint8_t { never, if_wrong, always };
/// Hash the buffered bytes of (swarm, chunk, source) against the proof and, if they match, store
/// them with `record` (the serialized CREC; empty for a link). Answer: chunk_verified.
struct VerifyChunk {
  SwarmId swarm{};
  ChunkIndex chunk{};
  SessionId source{};
  ChunkProof proof;
  Bytes record;
  bool want_sha256 = false;  ///< the answer brings the plain hash of the bytes, right or wrong
  BlockHashes want_blocks = BlockHashes::never;
};
/// Forget the buffered bytes of (swarm, chunk, source).
struct DropBuffer {
  SwarmId swarm{};
  ChunkIndex chunk{};
  SessionId source{};
};
/// GET the bytes [offset, offset + length) of the blob from its origin; length 0: the size is
/// unknown, ask for the first extent. Chunk by chunk: hash (sha256 over the TLS buffer), store,
/// then fetch_chunk. Answers: fetch_head, fetch_chunk..., fetch_progress..., fetch_ended.
struct StartFetch {
  FetchId fetch{};
  SwarmId swarm{};
  SwarmKey key;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
struct CancelFetch {
  FetchId fetch{};
};
/// Sign-free hashing of a stored chunk for the running proof. Answer: link_hashed.
struct HashLink {
  SwarmId swarm{};
  ChunkIndex chunk{};
  Midstate begin;
};
/// The digest is proven: fsync, keep the midstates, rename. Answer: blob_committed.
struct CommitBlob {
  SwarmId swarm{};
  std::vector<Midstate> midstates;
};
/// The swarm ended, or begins anew; `discard`: its chunks are worthless (digest mismatch), delete
/// them; else keep them for a resume. What was commanded for it and is not answered yet is void:
/// VerifyChunk and HashLink get no answer any more, and nothing of it or of a canceled fetch may
/// reach the file that the next CreateBlob makes.
struct CloseBlob {
  SwarmId swarm{};
  bool discard = false;
};
/// Load the midstate list of a complete blob, computing it when there is none. Answer:
/// midstates_loaded.
struct LoadMidstates {
  Digest digest;
};

// ---- Events: for readers and the catalog. ----

enum class ChunkSource : std::uint8_t { local, peer, upstream };
enum class SwarmError : std::uint8_t {
  not_found,     ///< upstream says 404
  unauthorized,  ///< upstream says 401 or 403 to everybody asked
  unreachable,   ///< no holder and upstream cannot be reached
  bad_upstream,  ///< upstream's bytes do not match the digest, twice
  too_large,     ///< beyond limits::blob_bytes_max
  unsupported,   ///< no length, or a digest algorithm without proofs
  store_failed,  ///< the disk refused
};
struct SwarmSize {
  SwarmId swarm{};
  std::uint64_t size = 0;
};
struct ChunkReady {
  SwarmId swarm{};
  ChunkIndex chunk{};
  ChunkSource source{};
};
struct SwarmProven {
  SwarmId swarm{};
};  ///< every byte may be given out, the held tail too
struct SwarmCommitted {
  SwarmId swarm{};
  Digest digest;
  std::uint64_t size = 0;
};  ///< announce it
struct SwarmFailed {
  SwarmId swarm{};
  SwarmError error{};
};
/// All chunks were here and the digest is another, or whose list they rested on was convicted: the
/// swarm begins anew, nothing of it may be given out before SwarmProven, and the digest is marked
/// for limits::tainted_for.
struct SwarmTainted {
  SwarmId swarm{};
  Digest digest;
};

using ExchangeOutput =
    std::variant<EnsureSession, SendControl, SendBlock, CloseSession, SendClaim, CreateBlob,
                 VerifyChunk, DropBuffer, StartFetch, CancelFetch, HashLink, CommitBlob, CloseBlob,
                 LoadMidstates, SwarmSize, ChunkReady, SwarmProven, SwarmCommitted, SwarmFailed,
                 SwarmTainted, HostPaused>;

struct StoredChunk {
  ChunkIndex chunk{};
  Bytes record;
};  ///< record: the serialized CREC, or empty when linked
enum class ChunkVerdict : std::uint8_t { ok, mismatch, store_failed };
/// What upstream's response head said.
struct FetchHead {
  unsigned status = 0;
  std::optional<std::uint64_t>
      total_size;      ///< of the blob: Content-Range total, or Content-Length of a 200
  bool whole = false;  ///< a 200 to a range request: the body is the whole blob from byte 0
};
struct FetchEnd {
  enum class Kind : std::uint8_t {
    complete,
    canceled,
    not_found,
    unauthorized,
    throttled,
    failed
  } kind{};
  std::optional<Duration> retry_after;
};

struct ExchangeStats {
  std::size_t swarms = 0;
  std::uint64_t peer_bytes = 0, upstream_chunk_bytes = 0, upload_bytes = 0;
  std::uint64_t verify_failures_peer = 0, bans = 0, duplicate_blocks = 0, request_timeouts = 0;
  std::uint64_t bypasses = 0;        ///< chunks fetched outside claims for a starving reader
  std::uint64_t relayed_bytes = 0;   ///< of peer_bytes: chunks put together from stripes
  std::uint64_t relay_repairs = 0;   ///< blocks of such chunks that were pulled
  std::uint64_t relay_failures = 0;  ///< such chunks that were wrong
  Claims::Stats claims;
};
struct SwarmStatus {
  SwarmKey key;
  std::optional<std::uint64_t> size;
  std::uint64_t have_bytes = 0;
  std::size_t peers = 0, readers = 0;
  bool proven = false;
};

/// Contract: after any input drain poll_output, then re-read poll_timeout, before the next input.
/// Deterministic.
/// @source BEP 3; Cohen 2003 (rarest first, endgame); DESIGN sections 5 and 6
class Exchange {
 public:
  /// @param identity, view  must outlive the object
  Exchange(const ExchangeConfig& config, const Identity& identity, ClusterView& view,
           TimePoint now);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Readers.
  /// Opens (or finds) the swarm of `key`. nullopt when limits::swarms_max is reached.
  /// @param size_hint  of an earlier partial download: its file is opened at once. Upstream or a
  /// prover corrects it.
  /// @pre the blob is not complete here
  [[nodiscard]] std::optional<SwarmId> open(TimePoint now, const SwarmKey& key,
                                            std::optional<std::uint64_t> size_hint = std::nullopt);
  /// @param lazy  it reads a piece at any place and goes (overlaybd): a chunk that nobody near has
  /// is fetched for it at once, outside claims, and its leaving does not close the swarm at once
  void add_reader(TimePoint now, SwarmId swarm, ReaderId reader, std::uint64_t offset,
                  bool lazy = false);
  void move_reader(TimePoint now, SwarmId swarm, ReaderId reader, std::uint64_t offset);
  /// The last reader's leaving lets begun extents finish, releases the rest, and closes the swarm
  /// after 30 s (or at once when nothing is under way).
  void remove_reader(TimePoint now, SwarmId swarm, ReaderId reader);
  /// A client brought a new way to upstream (URL, credential): what was denied before may work now.
  void retry_upstream(TimePoint now, SwarmId swarm);

  // Cluster.
  void members_changed(TimePoint now);  ///< re-reads the view; claims of the dead are freed
  void member_gone(TimePoint now, const NodeId& node);
  void handle_claim(TimePoint now, const NodeId& from, ByteView payload);
  /// As Claims::host_paused. The driver keeps to the pause itself, and to those of HostPaused.
  void host_paused(TimePoint now, const std::string& origin, std::uint64_t credential,
                   Duration remaining);
  void handle_timeout(TimePoint now);

  // Sessions.
  void session_opened(TimePoint now, SessionId session, const NodeId& peer);
  void dial_failed(TimePoint now, const NodeId& peer);
  void session_closed(TimePoint now, SessionId session);
  void handle_control(TimePoint now, SessionId session, ByteView message);
  /// A payload frame arrived. Answers the buffer it belongs to, where it must lie before the next
  /// output is taken; nullopt: nobody asked for it, drop the bytes.
  [[nodiscard]] std::optional<BlockBuffer> block_received(TimePoint now, SessionId session,
                                                          const BlockFrame& frame);
  /// A SendBlock of this session has left for the socket (or was dropped). Only with
  /// config.reports_sent_blocks. These two only count: nothing is owed to the core after them.
  void block_sent(TimePoint now, SessionId session);
  /// As block_sent, for a relayed one, always.
  void relay_sent(TimePoint now, SessionId session, std::uint32_t length);
  /// Relayed bytes that wait for their sockets are many: what comes from upstream should wait, too.
  [[nodiscard]] bool is_relay_full(TimePoint now) const;
  /// The swarm a tag belongs to, for the driver's buffers.
  [[nodiscard]] std::optional<SwarmId> find(const SwarmTag& tag) const;

  // Results of commands.
  /// `held`: chunks a resume found. nullopt: the disk refused.
  void blob_opened(TimePoint now, SwarmId swarm, std::optional<std::vector<StoredChunk>> held);
  /// `sha256`, `blocks`: when the command wanted them.
  void chunk_verified(TimePoint now, SwarmId swarm, ChunkIndex chunk, SessionId source,
                      ChunkVerdict verdict, const std::optional<ChunkSha256>& sha256 = {},
                      std::span<const ChunkSha256> blocks = {});
  void fetch_head(TimePoint now, FetchId fetch, const FetchHead& head);
  /// `bytes`: body bytes that this fetch has received so far.
  void fetch_progress(TimePoint now, FetchId fetch, std::uint64_t bytes);
  /// The first `filled` bytes of `chunk` have come and lie in the buffer (swarm, chunk,
  /// fetch_source) until the chunk is stored: they may be relayed.
  void fetch_bytes(TimePoint now, FetchId fetch, ChunkIndex chunk, std::uint32_t filled);
  /// The chunk is stored; `sha256` is its plain hash. Returns the serialized CREC to journal with
  /// it.
  [[nodiscard]] Bytes make_crec(SwarmId swarm, ChunkIndex chunk,
                                const std::array<std::byte, 32>& sha256) const;
  void fetch_chunk(TimePoint now, FetchId fetch, ChunkIndex chunk,
                   const std::array<std::byte, 32>& sha256, ChunkVerdict verdict);
  void fetch_ended(TimePoint now, FetchId fetch, const FetchEnd& end);
  /// `end` of the chunk from `begin`; for the last chunk `digest` of the whole. nullopt: the chunk
  /// could not be read.
  void link_hashed(TimePoint now, SwarmId swarm, ChunkIndex chunk, std::optional<Midstate> end,
                   std::optional<Digest> digest);
  void blob_committed(TimePoint now, SwarmId swarm, bool ok);
  void midstates_loaded(TimePoint now, const Digest& digest,
                        std::optional<std::vector<Midstate>> midstates);

  // The catalog: what this node can serve.
  void blob_available(TimePoint now, const Digest& digest, std::uint64_t size);
  void blob_gone(TimePoint now, const Digest& digest);

  // Outputs.
  [[nodiscard]] std::optional<ExchangeOutput> poll_output();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  // Memory reads.
  [[nodiscard]] std::optional<SwarmStatus> status(SwarmId swarm) const;
  [[nodiscard]] std::vector<SwarmStatus> swarms() const;
  [[nodiscard]] bool has_chunk(SwarmId swarm, ChunkIndex chunk) const;
  [[nodiscard]] bool is_proven(SwarmId swarm) const;
  [[nodiscard]] ExchangeStats stats() const;
  /// How busy the node is with uploads, for its probes to tell: 0 = idle, 255 = at least
  /// limits::upload_blocks_busy blocks wait for their sockets. O(sessions); 0 unless
  /// config.reports_sent_blocks.
  [[nodiscard]] std::uint8_t upload_load() const;
  /// Digests refuted here within limits::tainted_for, ascending: nothing of them streams before
  /// proof.
  [[nodiscard]] std::vector<Digest> tainted(TimePoint now) const;
  [[nodiscard]] bool is_tainted(TimePoint now, const Digest& digest) const;
  /// Nodes that this one asks nothing and answers nothing now, ascending. Nobody else is told.
  [[nodiscard]] std::vector<NodeId> banned(TimePoint now) const;
  /// Who keeps the permits of this host, in rank order.
  [[nodiscard]] std::vector<NodeId> host_registrars(const std::string& origin) const;
  void check_invariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace waggle::transfer
