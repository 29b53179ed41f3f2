// SWIM membership of one node, joining member table, prober, suspicions and dissemination.
// Works on decoded messages of proven senders: sealing and sessions are the facade's (gossip.hpp).
#pragma once

#include "base/endpoint.hpp"
#include "base/prng.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "base/timer_table.hpp"
#include "base/token_bucket.hpp"
#include "gossip/clone_watch.hpp"
#include "gossip/dissemination.hpp"
#include "gossip/gossip.hpp"
#include "gossip/join_hints.hpp"
#include "gossip/member_table.hpp"
#include "gossip/prober.hpp"
#include "gossip/suspicions.hpp"
#include "gossip/wire.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace waggle::gossip {

struct MembershipConfig {
  IdKey id_key;
  std::size_t body_bytes_max = 1308;  ///< of one message
  std::uint64_t seed = 1;
  std::optional<Endpoint> join_group;  ///< a multicast group to ask for members
};

/// A message on its way to the facade, which seals it or, without a session, parks it.
struct Outgoing {
  std::optional<NodeId> to;         ///< empty: whoever answers at `address`
  std::optional<Endpoint> address;  ///< empty: where the member was last reached
  bool undirected = false;          ///< a PING that must work whatever boot the receiver has
  GossipMessage message;
};

/// `up_before` and `up_now`: the incarnation of another member that is alive or suspect and
/// compatible; empty when it is not, and for the node itself.
struct RecordChanged {
  NodeId id;
  MemberState state = MemberState::alive;
  bool by_itself = false;  ///< told by the member, not by a third party
  std::optional<std::uint64_t> up_before;
  std::optional<std::uint64_t> up_now;
};
struct RecordForgotten {
  NodeId id;
};
/// Ask over TCP as well: lost UDP alone must condemn nobody.
struct FallbackPing {
  NodeId to;
  std::uint64_t seq = 0;
};
/// A record of this node that it never issued: a trace of an earlier run, or somebody else speaks
/// under its identity.
struct ForeignClaim {
  std::vector<Endpoint> endpoints;
};
/// The own probe of a live member failed on every way.
struct Unreached {
  NodeId id;
};
using MembershipEvent = std::variant<RecordChanged, RecordForgotten, FallbackPing,
                                     IncarnationRaised, VersionChanged, ForeignClaim, Unreached>;

/// SWIM failure detection and dissemination for one node (Das, Gupta, Motivala 2002; Lifeguard
/// 2017), with rejoin probes for ever and repair by comparing table hashes. Contract: after any
/// input, drain poll_outgoing and poll_event, then re-read poll_timeout, before the next input.
/// Time never runs backwards between inputs. Same seed + same inputs = same outputs.
class Membership {
 public:
  Membership(const MembershipConfig& config, const Member& self, TimePoint now);

  // Inputs. `from` has a session: its packets are authentic and fresh.
  void handle_ping(TimePoint now, const NodeId& from, const Endpoint& address, const Ping& ping);
  void handle_ack(TimePoint now, const NodeId& from, const Ack& ack);
  void handle_ping_req(TimePoint now, const NodeId& from, const PingReq& request);
  void handle_nack(const Nack& nack) { prober_.handle_nack(nack.seq); }
  void handle_hashes(TimePoint now, const NodeId& from, const MemberHashes& message);
  void handle_records(TimePoint now, const NodeId& from, const MemberRecords& message);
  /// A record that its owner proved to be its own.
  void handle_self_record(TimePoint now, const Member& record);
  /// A FallbackPing was answered over TCP.
  void handle_fallback_ack(std::uint64_t seq, const NodeId& from) { prober_.handle_ack(seq, from); }
  void handle_timeout(TimePoint now);  // early or repeated calls change nothing
  void set_hints(TimePoint now, std::vector<Endpoint> hints);
  void set_draining(TimePoint now, bool draining);
  void set_keys(TimePoint now, const KeyNames& keys);
  void leave(TimePoint now);
  /// A sign of life, for a suspect only.
  void note_contact(TimePoint now, const NodeId& id);
  /// A suspect that claims to be at `endpoint`, other than `but`. O(suspects).
  [[nodiscard]] std::optional<NodeId> suspect_at(const Endpoint& endpoint, const NodeId& but) const;
  /// Another member is where `id` was: it is faulty at once.
  void supersede(TimePoint now, const NodeId& id) { declare(now, id, MemberState::faulty); }

  // Outputs.
  [[nodiscard]] std::optional<Outgoing> poll_outgoing();
  [[nodiscard]] std::optional<MembershipEvent> poll_event();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  /// A fresh PING without news, for the facade's session set-up. It tells a member what is held
  /// against it.
  [[nodiscard]] Ping make_ping(const std::optional<NodeId>& to);
  /// What speaks against `id`, whose own record has that incarnation (0: not known).
  [[nodiscard]] std::vector<MemberUpdate> held_against(const NodeId& id,
                                                       std::uint64_t its_incarnation) const;
  /// Fills the room left in a PING or ACK for `to` with news; each call counts as sent. Nothing for
  /// who is incompatible.
  void add_news(GossipMessage& message, const NodeId& to);

  [[nodiscard]] const MemberTable& table() const { return table_; }
  /// True when there is no hint but the node itself.
  [[nodiscard]] bool without_hints() const { return hints_.empty() && !config_.join_group; }
  /// Whether this node is one of the some three, drawn at random, who answer a PING to the group.
  [[nodiscard]] bool answers_group_ping();
  void check_invariants() const;

 private:
  enum class Timer { gossip, rejoin, housekeeping, count };
  enum class Source { itself, news, repair };
  struct Relayed {
    NodeId asker;
    NodeId target;
    std::uint64_t asker_seq = 0;
    TimePoint nack_at;
  };

  [[nodiscard]] Ping make_ping(const std::optional<NodeId>& to, std::uint64_t seq) const;
  void learn(TimePoint now, const MemberUpdate& update, const NodeId& teller, Source source);
  void learn_suspicion(TimePoint now, const MemberUpdate& update, const NodeId& teller);
  [[nodiscard]] std::optional<std::uint64_t> up(const Member* member) const;
  void accept(TimePoint now, const Member& record, const NodeId& accuser, Source source);
  void note_version(std::uint8_t before);
  void dispute(TimePoint now, const Member& claim);
  void refute(TimePoint now, std::uint64_t claimed_incarnation);
  void raise_incarnation(TimePoint now, Member self, std::uint64_t incarnation);
  void declare(TimePoint now, const NodeId& id, MemberState state);
  void spread(TimePoint now, const Member& record, const NodeId& accuser);
  [[nodiscard]] std::vector<MemberUpdate> take_news(std::size_t budget_bytes);
  void step_prober(TimePoint now);
  void judge_failed(TimePoint now, const NodeId& target);
  void ask_helpers(const NodeId& target, std::uint64_t seq);
  void ping_everywhere(const Member& member, std::uint64_t seq);
  void step_suspicions(TimePoint now);
  void step_relayed(TimePoint now);
  void step_gossip(TimePoint now);
  void step_rejoin(TimePoint now);
  void housekeep(TimePoint now);
  void forgive_pause(TimePoint now);
  void hurry_rejoin(TimePoint now);
  void ping_hints(std::size_t count);
  void ping_group();
  void maybe_repair(TimePoint now, const NodeId& peer, std::uint64_t their_hash);
  /// Compatible live members but this node and `except`, at random. O(count), O(members) below 64.
  [[nodiscard]] std::vector<NodeId> random_live(std::size_t count,
                                                const std::optional<NodeId>& except);
  [[nodiscard]] bool is_compatible(const NodeId& id) const;
  [[nodiscard]] bool is_alone() const { return table_.live().size() <= 1; }
  [[nodiscard]] bool has_left() const { return table_.self().state == MemberState::left; }

  MembershipConfig config_;
  Prng prng_;
  MemberTable table_;
  Prober prober_;
  Dissemination dissemination_;
  RefutationLimit refutations_;
  TimerTable<Timer> timers_;
  Suspicions suspicions_;
  std::map<std::uint64_t, Relayed> relayed_;  ///< by the seq of this node's own PING
  JoinHints hints_;
  TimePoint started_;
  std::optional<TimePoint> gossiped_at_;
  std::optional<TimePoint> repaired_at_;
  TokenBucket repair_records_;
  std::deque<Outgoing> outgoing_;
  std::deque<MembershipEvent> events_;
};

}  // namespace waggle::gossip
