// The gossip spoke's one core: membership (SWIM), announcements, the content index and their
// repair, joined behind one set of inputs and outputs. The distributor owns it. Formats:
// docs/wire-gossip.md.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/endpoint.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/keys.hpp"
#include "base/latency_histogram.hpp"
#include "base/random_source.hpp"
#include "base/time.hpp"
#include "gossip/records.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace waggle::gossip {

/// The protocol versions that this build speaks; what each brought is in docs/wire-gossip.md.
inline constexpr std::uint8_t protocol_version_min = 1;
inline constexpr std::uint8_t protocol_version_max = 2;

enum class MemberState : std::uint8_t { alive = 0, suspect = 1, faulty = 2, left = 3 };
/// A suspect counts as there until it is declared faulty.
[[nodiscard]] constexpr bool is_live(MemberState state) {
  return state == MemberState::alive || state == MemberState::suspect;
}

/// What every member knows about one member.
struct Member {
  NodeId id;
  NodePublicKey public_key;
  std::uint64_t incarnation = 0;
  MemberState state = MemberState::alive;
  std::vector<Endpoint> endpoints;  ///< 1..limits::member_addresses_max; UDP and TCP share the port
  std::string name;
  std::string zone;
  bool draining = false;
  std::uint8_t version_min = 1;  ///< protocol versions it speaks
  std::uint8_t version_max = 1;
  KeyNames keys;  ///< the cluster keys it opens, first the one it seals with
  bool is_self = false;
  bool compatible = true;  ///< its versions and this node's overlap: else it is only probed
};

struct GossipConfig {
  std::string cluster_name = "waggle";
  KeyRing keys;                     ///< first seals, all open
  std::vector<Endpoint> advertise;  ///< own addresses, at least one
  std::string name;
  std::string zone;
  std::uint8_t version_min = protocol_version_min;  ///< protocol versions to speak
  std::uint8_t version_max = protocol_version_max;
  std::size_t packet_bytes = 1400;  ///< IP and UDP headers included
  std::uint64_t incarnation = 1;  ///< max(persisted + 1, wall clock in ms): the caller persists it
  BroadcastMode broadcast = BroadcastMode::automatic;
  std::optional<Endpoint> multicast_group;  ///< where datagrams for all go, if the network has one
  bool join_by_multicast = false;           ///< the group is a join hint
  std::optional<ToldLog> told;  ///< what the last process of this node had told others it holds
  bool hints_expected = false;  ///< hints are being looked up: having none is not being alone
  std::uint64_t seed = 1;       ///< choices only
};

struct Transmit {
  Endpoint to;
  Bytes datagram;
};
/// A member appeared, changed state or changed its addresses.
struct MemberChanged {
  NodeId id;
  MemberState state = MemberState::alive;
};
/// An opaque payload that another node's distributor sent with send_app().
struct AppMessage {
  NodeId from;
  std::uint8_t kind = 0;
  Bytes payload;
};
/// Bulk gossip (set pulls, snapshots) to be sent over a TCP session to `to` as one opaque frame;
/// the answer comes back through handle_bulk(). When no session can be had within 3 s it may be
/// dropped: anti-entropy asks again.
struct BulkSend {
  NodeId to;
  Bytes frame;
};
/// The own incarnation grew to `incarnation`, which must be persisted: somebody held something
/// against this node (a suspicion, or its id with a higher incarnation) and it has refuted, or it
/// changed its own record.
struct IncarnationRaised {
  std::uint64_t incarnation = 0;
};
/// cluster_version() changed: features gated on it may begin or must cease.
struct VersionChanged {
  std::uint8_t version = 0;
};
/// Two processes share one identity: a run of `id` other than the one that this node listens to
/// (or is) proved that it lives now. A restart never looks like that. Told once a minute.
struct CloneSeen {
  NodeId id;               ///< may be the own one
  Endpoint at;             ///< of the run that this node listens to, or its own
  Endpoint other;          ///< where the other run answers from
  std::string other_name;  ///< what it calls itself; empty when it has not said so
};
using GossipEvent = std::variant<MemberChanged, AppMessage, BulkSend, IncarnationRaised, LogTold,
                                 CloneSeen, VersionChanged>;

struct GossipStats {
  std::uint64_t tx_bytes = 0, rx_bytes = 0, tx_packets = 0, rx_packets = 0;
  /// Sealed with a key that is not in the ring, or claiming one that is and not opening.
  std::uint64_t dropped_unknown_key = 0, dropped_unauthenticated = 0;
  std::uint64_t dropped_replay = 0, dropped_malformed = 0, dropped_over_rate = 0,
                dropped_unknown_type = 0, dropped_other = 0;
  std::size_t alive = 0, suspect = 0, faulty = 0, left = 0;  ///< alive counts the node itself
  std::size_t incompatible = 0;  ///< live members that share no protocol version with this node
  std::size_t index_digests = 0, index_facts = 0;
  LatencyHistogram announcement_lag;  ///< Announcements::lag()
};

/// Contract: after any input, drain poll_transmit and poll_event, then re-read poll_timeout, before
/// the next input. Time never runs backwards between inputs. Same config, same inputs, same
/// RandomSource = same outputs.
class Gossip {
 public:
  /// @param identity, random  must outlive the object
  Gossip(const GossipConfig& config, const Identity& identity, RandomSource& random, TimePoint now);
  ~Gossip();
  Gossip(const Gossip&) = delete;
  Gossip& operator=(const Gossip&) = delete;

  // Inputs.
  void handle_datagram(TimePoint now, Endpoint from, ByteView datagram);
  void handle_timeout(TimePoint now);
  /// A bulk frame that arrived on an authenticated session with `from`.
  void handle_bulk(TimePoint now, const NodeId& from, ByteView frame);
  /// Replaces the join hints (static list, DNS answers); they are tried now and then for ever, at
  /// least every 30 s. With `more_expected` some are still being looked up: having none is not
  /// being alone.
  void set_hints(TimePoint now, std::vector<Endpoint> hints, bool more_expected = false);
  /// Key rotation: the first key seals from now on, all open. When names or order changed the own
  /// record says so to everyone. @pre 1 or 2 keys
  void set_keys(TimePoint now, const KeyRing& keys);
  /// How busy this node is with uploads: 0 = idle, 255 = every upload slot busy. Members hear it
  /// with probes, and ask the less busy of the holders they know.
  void set_load(std::uint8_t load);
  /// Sends `payload` (<= app_payload_bytes_max()) sealed to a live member; false when it is not
  /// known. It may be lost like any datagram; until both sides have a session up to 16 payloads per
  /// member wait, for at most 1 s.
  bool send_app(TimePoint now, const NodeId& to, std::uint8_t kind, ByteView payload);
  [[nodiscard]] std::size_t app_payload_bytes_max() const;
  /// This node completed a blob: announce it. Repeats change nothing.
  void announce(TimePoint now, const Content& content);
  /// This node no longer holds it.
  void withdraw(TimePoint now, const Digest& digest);
  void announce_name(TimePoint now, const NameRecord& name, std::uint64_t hlc_ms);
  /// All that the store held at the start was announced: the rest of what the last process told is
  /// withdrawn.
  void store_scanned(TimePoint now);
  /// Marks the node as draining in its MEMBER record: no longer a registrar, still served.
  void set_draining(TimePoint now, bool draining);
  /// Announces departure to everyone; poll_transmit then holds the messages. The object stays
  /// usable for draining.
  void leave(TimePoint now);
  /// A TCP session with `id` came up or bytes arrived on it: counts as a sign of life for a suspect
  /// only.
  void note_contact(TimePoint now, const NodeId& id);

  // Outputs.
  [[nodiscard]] std::optional<Transmit> poll_transmit();
  [[nodiscard]] std::optional<GossipEvent> poll_event();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  // Memory reads.
  /// Alive or suspect members (self included), sorted by id. Valid until the next input.
  [[nodiscard]] std::span<const NodeId> live() const;
  /// As live(), without draining and incompatible members: who may be a registrar.
  [[nodiscard]] std::span<const NodeId> registrar_candidates() const;
  /// O(1). Valid until the next input.
  [[nodiscard]] const Member* find(const NodeId& id) const;
  /// All states, sorted by id. Copies: for operators and tests.
  [[nodiscard]] std::vector<Member> members() const;
  /// The highest protocol version that every live member speaks (incompatible ones aside): a
  /// feature of version V may be used while this is >= V. O(1).
  [[nodiscard]] std::uint8_t cluster_version() const;
  /// Fills `out` with live holders other than self, each once, in random order with the less loaded
  /// ones earlier; how many there are in all. Allocates nothing; goal: p99 below 2 us at 1,000
  /// members x 20,000 digests. @pre out.size() <= limits::lookup_holders_max
  [[nodiscard]] std::size_t lookup(TimePoint now, const Digest& digest, std::span<NodeId> out);
  /// All live holders other than self, in random order; O(holders). For operators.
  void holders(const Digest& digest, std::vector<NodeId>& out);
  /// Size when the index knows it: somebody (self included) announced the digest.
  [[nodiscard]] std::optional<std::uint64_t> content_size(const Digest& digest) const;
  [[nodiscard]] std::optional<NameRecord> find_name(std::uint64_t key64) const;
  /// True once a root matched one peer, or 10 s passed since the start, or there is nobody to ask.
  [[nodiscard]] bool index_ready(TimePoint now) const;
  /// BLAKE2b-64 over (origin, incarnation, seq, set hash) of all known logs: equal on converged
  /// nodes.
  [[nodiscard]] std::uint64_t index_root() const;
  /// 8 bytes of BLAKE2b over every member record (all states) and index_root(): what this node
  /// believes, unchanged by anything that a stranger sends. O(members), for operators and tests.
  [[nodiscard]] std::uint64_t state_hash() const;
  /// Identities seen in two processes within the last limits::clone_remembered.
  [[nodiscard]] std::vector<CloneSeen> clones(TimePoint now) const;
  [[nodiscard]] GossipStats stats() const;
  /// Recounts every structure from scratch; asserts on a mismatch. For tests and the simulator.
  void check_invariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace waggle::gossip
