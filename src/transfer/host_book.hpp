// One registrar's soft state of one registry host: who fetches what from it, who waits, and until
// when the host wants to be left alone. Rebuilt from what claimants say that they hold.
#pragma once

#include "base/ids.hpp"
#include "base/time.hpp"
#include "transfer/claim_pace.hpp"
#include "transfer/claim_wire.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace waggle::transfer {

inline constexpr Duration permit_lease = std::chrono::seconds(10);  ///< renewed by new bytes
inline constexpr Duration permit_grace =
    std::chrono::seconds(2);  ///< from grant to the first word of its holder
inline constexpr Duration host_client_ttl =
    std::chrono::minutes(1);  ///< from its last message: told of pauses no more
inline constexpr Duration permit_missed =
    std::chrono::milliseconds(3500);  ///< without a list of its holder, who sends one each second
inline constexpr Duration permit_asker_ttl =
    std::chrono::seconds(2);  ///< without repeating its question: gone

/// Grants permits in this order: a blob that has a waiting reader and nothing under way; then
/// waiting readers; then the lowest extent; then who asked first. In all never more than `limit`,
/// and beyond one for each blob never more than the pace, which the registrar of a blob that is
/// alone at this host keeps by itself. After a pause one permit is out until bytes flow again.
/// Cost: O(permits + askers) per grant.
class HostBook {
 public:
  struct Answer {
    NodeId to;
    PermitAnswerMessage message;
  };

  /// @param limit  requests of the whole cluster on this host, at least 1
  HostBook(TimePoint now, std::uint32_t limit) : last_use_(now), limit_(limit) {}

  /// Answers the asker, and whoever else can have a permit now. The same question gets the same
  /// answer.
  [[nodiscard]] std::vector<Answer> ask(TimePoint now, const NodeId& from,
                                        const PermitAskMessage& message);
  /// @return whether it tells of a pause that was not known, or of a later end
  bool hold(TimePoint now, const NodeId& from, const PermitHoldMessage& message);
  void node_gone(const NodeId& node);
  /// This process was stopped: leases wait unread in its socket.
  void excuse(TimePoint now);
  /// Grants what can be granted. Call after every change and at next_deadline().
  [[nodiscard]] std::vector<Answer> assign(TimePoint now);
  /// Who asked or held something lately, ascending: they should hear of a pause before a reader of
  /// theirs has waited too long and is served outside permits.
  [[nodiscard]] std::vector<NodeId> clients(TimePoint now) const;
  [[nodiscard]] std::vector<HostPause> pauses(TimePoint now) const;

  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  [[nodiscard]] TimePoint last_use() const { return last_use_; }
  [[nodiscard]] std::size_t permit_count(TimePoint now) const;
  [[nodiscard]] std::size_t asker_count() const { return askers_.size(); }
  [[nodiscard]] std::uint32_t pace() const { return pace_.limit(); }
  void check_invariants() const;

 private:
  using Key = std::pair<NodeId, PermitId>;
  struct Permit {
    TimePoint granted;
    TimePoint expires;
    TimePoint seen;  ///< listed by its holder, or granted
    std::uint64_t bytes = 0;
    bool told = false;  ///< its holder has listed it
    PermitHoldMessage::State state{};
  };
  struct Asker {
    std::uint64_t request = 0;
    std::uint64_t number = 0;  ///< in the order of asking
    bool reader_waits = false;
    TimePoint last_seen;
  };
  struct Node {
    std::uint64_t incarnation = 0;
    std::uint64_t serial = 0;
    TimePoint last_seen{};
  };
  struct Load {
    std::uint32_t all = 0, busy = 0;  ///< busy: a quarter or more is to come
    std::uint32_t untried = 0;        ///< granted since the last pause, and no byte yet
    bool is_any_slow = false;
    std::map<SwarmTag, std::uint32_t> busy_of;
  };

  Node* touch(TimePoint now, const NodeId& from, std::uint64_t incarnation);
  void take_item(TimePoint now, const NodeId& from, const PermitHoldMessage::Item& item);
  bool take_pause(TimePoint now, const HostPause& pause);
  void drop_node(const NodeId& node);
  [[nodiscard]] static TimePoint end_of(const Permit& permit);
  void expire(TimePoint now);
  [[nodiscard]] Load load(TimePoint now) const;
  [[nodiscard]] bool is_alone(const Load& load) const;
  /// The next in order; askers_.end() when nobody may have one.
  [[nodiscard]] std::map<Key, Asker>::iterator next_asker(TimePoint now, const Load& load);

  TimePoint last_use_;
  TimePoint looked_at_{};  ///< for what may be granted
  std::uint32_t limit_;
  std::map<Key, Permit> permits_;
  std::map<Key, Asker> askers_;
  std::map<NodeId, Node> nodes_;
  std::map<std::uint64_t, TimePoint> pauses_;  ///< by credential: until
  std::optional<TimePoint> careful_from_;      ///< the end of a pause after which no bytes came yet
  ClaimPace pace_;
  std::uint64_t received_ = 0;  ///< bytes that holders have told of
  std::uint64_t next_number_ = 0;
};

}  // namespace waggle::transfer
