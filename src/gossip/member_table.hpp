// Every member this node knows, and the rules by which one claim about a member beats another.
#pragma once

#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/gossip.hpp"
#include "gossip/wire.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Claims are ordered by (incarnation, state) with left > faulty > suspect > alive, and only a
/// greater claim changes the table: so a copy from a third party never revives the faulty, and any
/// order of delivery ends in the same table.
/// @source Das, Gupta, Motivala 2002, section 4.2; memberlist issue 312
class MemberTable {
 public:
  /// @param self  the own record; its state changes only through update_self()
  MemberTable(const IdKey& key, Member self);

  enum class Outcome {
    ignored,  ///< not greater than what is known, or a jump of the incarnation beyond 2^40
    refused,  ///< unknown and the table is full (limits::members_max)
    added,
    changed,    ///< state, incarnation or addresses
    about_self  ///< greater than the own record: the caller refutes
  };
  /// Applies a claim. O(log members), O(members) when the set of live members changes.
  Outcome apply(TimePoint now, const Member& claim);
  /// Would apply() change anything?
  [[nodiscard]] bool is_news(const Member& claim) const;

  /// Replaces the own record. @pre same id, incarnation not smaller
  void update_self(const Member& self);
  [[nodiscard]] const Member& self() const { return entries_.at(self_).member; }

  /// Forgets tombstones beyond max(64, 2 x live) and older than 24 h, oldest first; returns who was
  /// forgotten.
  std::vector<NodeId> expire(TimePoint now);

  [[nodiscard]] const Member* find(const NodeId& id) const;
  [[nodiscard]] std::vector<Member> members() const;
  [[nodiscard]] std::vector<NodeId> with_state(MemberState state) const;
  /// Alive and suspect, self included, sorted.
  [[nodiscard]] std::span<const NodeId> live() const { return live_; }
  /// live() without draining members and without a self that has left.
  [[nodiscard]] std::span<const NodeId> candidates() const { return candidates_; }
  [[nodiscard]] std::size_t count(MemberState state) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  /// Over (id, incarnation) of the live: equal on nodes that agree. Suspicion does not show.
  [[nodiscard]] std::uint64_t hash() const;
  [[nodiscard]] const std::array<std::uint64_t, member_buckets>& bucket_hashes() const {
    return buckets_;
  }
  [[nodiscard]] static std::size_t bucket_of(const NodeId& id);
  /// All records, tombstones too, of the buckets whose hash differs from `theirs`.
  [[nodiscard]] std::vector<Member> differing(
      const std::array<std::uint64_t, member_buckets>& theirs) const;

  void check_invariants() const;

 private:
  struct Entry {
    Member member;
    TimePoint since;  ///< of the last change of state
  };
  [[nodiscard]] static bool is_live(const Member& member);
  void put(TimePoint now, const Member& member);
  void toggle(const Member& member);
  void rebuild_live();

  IdKey key_;
  NodeId self_;
  std::map<NodeId, Entry> entries_;
  std::set<std::pair<TimePoint, NodeId>> tombstones_;
  std::vector<NodeId> live_;
  std::vector<NodeId> candidates_;
  std::array<std::uint64_t, member_buckets> buckets_{};
};

}  // namespace waggle::gossip
