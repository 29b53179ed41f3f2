// Carries messages between members: seals what goes out, opens what comes in, sets up sessions on
// the way. Sits between the facade and packet_seal + sessions; says nothing about members itself.
#pragma once

#include "base/endpoint.hpp"
#include "base/error.hpp"
#include "base/random_source.hpp"
#include "base/time.hpp"
#include "base/token_bucket.hpp"
#include "gossip/gossip.hpp"
#include "gossip/membership.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/sessions.hpp"
#include "gossip/wire.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace waggle::gossip {

/// A message whose sender is proven: the seal opened, the boot is current, the counter is new.
struct Received {
  NodeId from;
  GossipMessage message;
  bool multicast = false;  ///< it came to the group, not to this node alone
};

/// A PING without a session costs its receiver one ACK with a cookie and no state, and at most
/// limits::introductions_per_second of them are answered, recordings included; a PING that echoes
/// the cookie, or an ACK to a PING of ours, starts the session. Anything but PING and ACK waits
/// (bounded) until both sides have one. Contract: as Membership; poll_transmit serves probes before
/// everything else. To the group go PINGs, which a random few answer, and ANNOUNCEMENTs, which are
/// read from senders with a session alone; a member without one is asked for its boot.
///
/// Doubles: a boot that was replaced, or this node's own id from another process. Its PINGs are
/// answered like a stranger's, so that it does not take everybody for dead, but nothing that it
/// says counts; the cookie, or an ACK to a PING sent after the replacement, proves that two
/// processes share the identity.
class Courier {
 public:
  /// @param membership  must outlive the object
  Courier(const GossipConfig& config, Membership& membership, RandomSource& random);

  /// What the datagram says, or nothing when it was only about the session.
  /// @return every GossipError; then nothing changed but counters, and nothing is answered
  [[nodiscard]] Result<std::optional<Received>> receive(TimePoint now, const Endpoint& from,
                                                        ByteView datagram);
  /// Sends or, without a session, parks: at most 16 payloads per member for at most 1 s. To an
  /// incompatible member only probes go.
  void send(TimePoint now, Outgoing&& outgoing);
  void handle_timeout(TimePoint now);
  /// The member may have restarted: the next payload asks for its boot first.
  void doubt(const NodeId& id) { sessions_.set_mutual(id, false); }
  void forget(const NodeId& id);
  /// Somebody may speak under this node's identity: asks at these addresses, at most once per
  /// limits::double_asked_every.
  void ask_double(TimePoint now, const std::vector<Endpoint>& endpoints);
  /// A second process behind one identity, if the last datagram has proven one.
  [[nodiscard]] std::optional<CloneSeen> take_double() { return std::exchange(double_, {}); }
  /// The member's session, or this node itself, is at that address.
  [[nodiscard]] bool is_at(const NodeId& id, const Endpoint& endpoint) const;
  void set_keys(const KeyRing& keys) { seal_.set_keys(keys); }
  /// Goes out with every PING and ACK from now on.
  void set_load(std::uint8_t load) { load_ = load; }

  [[nodiscard]] std::optional<Transmit> poll_transmit();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  [[nodiscard]] std::size_t body_bytes_max() const { return body_bytes_max_; }
  [[nodiscard]] static std::size_t body_bytes_max(std::size_t packet_bytes);
  /// Payloads that were parked and dropped.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }
  [[nodiscard]] std::size_t session_count() const { return sessions_.size(); }
  void check_invariants() const;

 private:
  struct Parked {
    TimePoint until;
    TimePoint ask_at;    ///< in parked_due_
    Duration ask_again;  ///< after the next time
    std::deque<GossipMessage> messages;
  };
  [[nodiscard]] Result<std::optional<Received>> read(TimePoint now, const Endpoint& from,
                                                     const PacketHeader& header,
                                                     GossipMessage&& message);
  [[nodiscard]] Result<std::optional<Received>> read_stranger(TimePoint now, const Endpoint& from,
                                                              const PacketHeader& header,
                                                              GossipMessage&& message);
  [[nodiscard]] Result<std::optional<Received>> admit_ping(TimePoint now, const Endpoint& from,
                                                           const PacketHeader& header, Ping&& ping);
  [[nodiscard]] Result<std::optional<Received>> admit_ack(TimePoint now, const Endpoint& from,
                                                          const PacketHeader& header, Ack&& ack);
  [[nodiscard]] Result<std::optional<Received>> meet_double(TimePoint now, const Endpoint& from,
                                                            const PacketHeader& header,
                                                            GossipMessage&& message);
  [[nodiscard]] Result<std::optional<Received>> meet_double(TimePoint now, const Endpoint& from,
                                                            const PacketHeader& header,
                                                            const NodeId& id, Ping&& ping);
  [[nodiscard]] Result<std::optional<Received>> meet_double(TimePoint now, const Endpoint& from,
                                                            const PacketHeader& header,
                                                            const NodeId& id, Ack&& ack);
  void prove_to_double(TimePoint now, const Endpoint& from, const PacketHeader& header,
                       std::uint64_t cookie);
  void note_double(const NodeId& id, const Endpoint& from, const std::optional<Member>& record);
  void ask_boot(TimePoint now, const PacketHeader& header);
  [[nodiscard]] bool is_group(const Outgoing& outgoing) const;
  [[nodiscard]] bool install(TimePoint now, const Endpoint& from, const PacketHeader& header,
                             const Member& record);
  void settle_ack(TimePoint now, const NodeId& id, const Ack& ack, bool may_confirm);
  void send_ping(TimePoint now, const Outgoing& outgoing, Ping&& ping, bool confirm);
  void park(TimePoint now, const NodeId& to, GossipMessage&& message);
  void unpark(std::map<NodeId, Parked>::iterator it);
  void ask_for_session(TimePoint now, std::pair<const NodeId, Parked>& waiting);
  void flush(const NodeId& id);
  void transmit(const Endpoint& to, const std::optional<Destination>& destination,
                GossipMessage&& message, Cast cast = Cast::unicast);
  [[nodiscard]] std::optional<Endpoint> address_of(const NodeId& id) const;

  Membership& membership_;
  NodeId self_;
  std::size_t body_bytes_max_;
  std::uint8_t load_ = 0;
  Sessions sessions_;
  PacketSeal seal_;
  std::optional<Endpoint> group_;
  TokenBucket introductions_;
  TokenBucket boot_questions_;
  std::map<NodeId, TimePoint> boot_asked_;  ///< for a second
  std::map<NodeId, Parked> parked_;
  std::set<std::pair<TimePoint, NodeId>> parked_due_;  ///< by ask_at
  std::deque<Transmit> probes_;
  std::deque<Transmit> others_;
  std::uint64_t dropped_ = 0;
  std::optional<CloneSeen> double_;
  std::optional<TimePoint> double_asked_;
};

}  // namespace waggle::gossip
