// Collective fetch, both sides: the registrar's claim tables (this node as one of a blob's trio)
// and the wanter's side (this node wants extents). Messages travel as opaque sealed datagrams.
// Format: docs/wire-claims.md.
#pragma once

#include "base/bitfield.hpp"
#include "base/blob_layout.hpp"
#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "transfer/hop_name.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace waggle::transfer {

/// A swarm's name in claims and on sessions. A cold swarm's key is (digest, origin): claims, CRECs
/// and unproven chunks never cross origins. origin = "scheme://host:port" after endpoint mapping.
struct SwarmKey {
  Digest digest;
  std::string origin;
  auto operator<=>(const SwarmKey&) const = default;
  [[nodiscard]] SwarmTag tag() const;  ///< BLAKE2b-128(digest wire | origin)
};

struct ClaimsConfig {
  NodeId self;
  std::uint64_t incarnation = 1;
  IdKey id_key;
  std::uint64_t seed = 1;
  std::size_t payload_bytes_max = 1200;   ///< of one datagram payload
  std::uint32_t in_flight_per_host = 64;  ///< claimed extents under way in the whole cluster
};

struct ClaimsSend {
  NodeId to;  ///< never self: messages to the own registrar are delivered inside
  Bytes payload;
};
/// The extent is ours to fetch from upstream, and its host may be asked for it now. `whole`: size
/// was unknown or upstream has no Range: fetch everything.
struct ExtentGranted {
  SwarmTag tag;
  ExtentIndex extent{};
  std::uint32_t attempt = 0;
};
/// A claim of ours is gone (a registrar says another node has it): stop fetching that extent, keep
/// the chunks.
struct ExtentRevoked {
  SwarmTag tag;
  ExtentIndex extent{};
};
/// News about the swarm from a registrar. The size is a hint until upstream or a prover confirmed
/// it.
struct SwarmNews {
  SwarmTag tag;
  std::optional<std::uint64_t> size;
  std::vector<HopName> wanters;  ///< others: all of them in turn for a claimant, some for the rest
  std::vector<NodeId> holders;   ///< nodes that said they completed it, at most 16
};
/// Nobody of the trio answered for 2 s: the caller fetches without a claim (liveness beats egress).
struct TrioUnreachable {
  SwarmTag tag;
};
/// A registry told some node to leave it alone: who uses this credential there should.
struct HostPaused {
  std::string origin;
  std::uint64_t credential = 0;  ///< as in Claims::host_paused
  Duration remaining{};
};
using ClaimsEvent =
    std::variant<ClaimsSend, ExtentGranted, ExtentRevoked, SwarmNews, TrioUnreachable, HostPaused>;

/// What a wanter says of itself when it asks; kept current by the caller.
struct WantState {
  std::optional<std::uint64_t> size;  ///< once known
  Bitfield extents_done;  ///< extents this node has in full; empty while the size is unknown
  std::uint64_t upstream_bytes =
      0;                     ///< what this node has taken from this origin so far, all blobs
  std::uint32_t demand = 0;  ///< extents it would start now; 0 = only listens
  bool holders_failed =
      false;  ///< every holder tried has rejected, is banned or made no progress for 1 s
  bool reader_waits = true;  ///< somebody reads the blob here
};

/// Contract as of every core: drain poll_event, re-read poll_timeout after each input.
/// Wanter: want() -> WANT to the trio -> SwarmNews; with demand > 0 CLAIM to rank 0, CONFIRM at
/// ranks 1 and 2, ExtentGranted with floor(k/2)+1 votes; no answer in 50 ms: next rank (retries
/// 50/100/200 ms); asks again while demand stays. Registrar: soft tables per (digest, origin),
/// rebuilt from WANTs; a claim names (node, incarnation, attempt); freed by release, completion, a
/// new incarnation, death, or 3 missed PROGRESS (one each 250 ms). What is granted waits for a
/// permit of its registry host (host_permits.hpp), which is asked for while the others vote.
/// @source protocol research section 5; DESIGN section 6
class Claims {
 public:
  explicit Claims(const ClaimsConfig& config);
  ~Claims();

  // Inputs.
  /// Live non-draining members, self included if it may be one; trio of a blob = HRW top 3 by
  /// digest.
  void set_members(TimePoint now, std::span<const NodeId> registrar_candidates);
  /// `node` died or left: its claims are free.
  void member_gone(TimePoint now, const NodeId& node);
  void handle_message(TimePoint now, const NodeId& from, ByteView payload);
  void handle_timeout(TimePoint now);
  /// Starts or updates this node's want. Cheap; call it whenever the state changes.
  void want(TimePoint now, const SwarmKey& key, const WantState& state);
  /// This node stops wanting (reader gone, or proven): begun claims are released unless
  /// `completed`.
  void unwant(TimePoint now, const SwarmTag& tag, bool completed);
  /// Size learned from upstream's answer to extent 0: tells the trio, so that the rest opens.
  /// `whole_stream`: upstream has no Range; the claimant streams everything, nothing else is
  /// granted.
  void size_known(TimePoint now, const SwarmTag& tag, std::uint64_t size, bool whole_stream);
  /// Bytes of a granted extent so far; sends PROGRESS at most each 250 ms.
  void progress(TimePoint now, const SwarmTag& tag, ExtentIndex extent, std::uint64_t bytes);
  /// The extent is complete and verified here.
  void extent_done(TimePoint now, const SwarmTag& tag, ExtentIndex extent);
  /// Gives a claim back: upstream failed, or no reader is left.
  void release(TimePoint now, const SwarmTag& tag, ExtentIndex extent);
  /// No request is under way any more for an extent whose claim was revoked: its permit ends.
  void fetch_over(TimePoint now, const SwarmTag& tag, ExtentIndex extent);
  /// The registry told this node to leave it alone: the host's trio hears of it, and everybody who
  /// asks that for a permit.
  /// @param credential  a hash of the user name that was used; 0: none
  void host_paused(TimePoint now, const std::string& origin, std::uint64_t credential,
                   Duration remaining);

  // Outputs.
  [[nodiscard]] std::optional<ClaimsEvent> poll_event();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  // Memory reads.
  [[nodiscard]] std::vector<NodeId> registrars(const Digest& digest) const;
  /// Extents of `tag` that some node is known to be fetching or to have: for hedging and tests.
  [[nodiscard]] std::size_t granted_count(const SwarmTag& tag) const;
  /// Of them, those that wait for a permit of their host: no ExtentGranted yet.
  [[nodiscard]] std::size_t waiting_count(const SwarmTag& tag) const;
  [[nodiscard]] std::vector<NodeId> host_registrars(const std::string& origin) const;
  struct Stats {
    std::uint64_t granted = 0, waited = 0, takeover = 0, messages_sent = 0;
  };
  [[nodiscard]] Stats stats() const;
  void check_invariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace waggle::transfer
