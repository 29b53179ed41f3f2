// Every member this node knows, and the rules by which one claim about a member beats another.
#pragma once

#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/gossip.hpp"
#include "gossip/wire.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace waggle::gossip {

/// Claims are ordered by (incarnation, state) with left > faulty > suspect > alive, and only a
/// greater claim changes the table: so a copy from a third party never revives the faulty, and any
/// order of delivery ends in the same table.
/// A member whose protocol versions do not overlap this node's is live and listed, but
/// incompatible: no candidate, and without a say in cluster_version(). Memory: about 300 B of heap
/// per member with a name of 28 characters and one address.
/// @source Das, Gupta, Motivala 2002, section 4.2; memberlist issue 312
class MemberTable {
 public:
  /// @param self  the own record; its state changes only through update_self(), its versions never
  MemberTable(const IdKey& key, Member self);
  MemberTable(const MemberTable&) = delete;
  MemberTable& operator=(const MemberTable&) = delete;

  enum class Outcome {
    ignored,  ///< not greater than what is known, or a jump of the incarnation beyond 2^40
    refused,  ///< unknown and the table is full (limits::members_max)
    added,
    changed,    ///< state, incarnation or addresses
    about_self  ///< greater than the own record: the caller refutes
  };
  /// Applies a claim. O(1), and a move of up to 16 B per live member when one comes or goes.
  Outcome apply(TimePoint now, const Member& claim);
  /// Would apply() change anything?
  [[nodiscard]] bool is_news(const Member& claim) const;

  /// Replaces the own record. @pre same id, incarnation not smaller
  void update_self(const Member& self);
  [[nodiscard]] const Member& self() const { return *self_record_; }

  /// Forgets tombstones beyond max(64, 2 x live) and older than 24 h, oldest first; returns who was
  /// forgotten.
  std::vector<NodeId> expire(TimePoint now);

  /// O(1). Valid until the next change of the table; `compatible` and `is_self` are this node's
  /// view.
  [[nodiscard]] const Member* find(const NodeId& id) const;
  /// All states, sorted by id. O(members x log members), copies.
  [[nodiscard]] std::vector<Member> members() const;
  /// A faulty member that became so at `since` or later, chosen by `draw` (any number).
  [[nodiscard]] const Member* some_faulty(TimePoint since, std::uint64_t draw) const;
  /// Alive and suspect, self included, sorted.
  [[nodiscard]] std::span<const NodeId> live() const { return live_; }
  /// live() without draining and incompatible members and without a self that has left.
  [[nodiscard]] std::span<const NodeId> candidates() const {
    return excluded_ == 0 ? live_ : candidates_;
  }
  [[nodiscard]] std::size_t count(MemberState state) const {
    return counts_[static_cast<std::size_t>(state)];
  }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  /// Live members that share no protocol version with this node.
  [[nodiscard]] std::size_t incompatible() const { return incompatible_; }
  /// The highest protocol version that this node and every compatible live member speak.
  [[nodiscard]] std::uint8_t cluster_version() const { return versions_.begin()->first; }

  /// Over (id, incarnation) of the live: equal on nodes that agree. Suspicion does not show.
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] const std::array<std::uint64_t, member_buckets>& bucket_hashes() const {
    return buckets_;
  }
  [[nodiscard]] static std::size_t bucket_of(const NodeId& id);
  /// All records, tombstones too, of buckets whose hash differs from `theirs`: of as many whole
  /// buckets as `records_max` allows, from `first_bucket` on. O(members).
  [[nodiscard]] std::vector<const Member*> differing(
      const std::array<std::uint64_t, member_buckets>& theirs, std::size_t first_bucket,
      std::size_t records_max) const;

  void check_invariants() const;

 private:
  struct Entry {
    Member member;
    TimePoint since;  ///< of the last change of state
  };
  struct Tombstone {
    TimePoint since;
    NodeId id;
  };
  [[nodiscard]] static bool is_live(const Member& member);
  [[nodiscard]] static bool is_candidate(const Member& member);
  void put(TimePoint now, const Member& member);
  void count_in(const Entry& entry);
  void count_out(const Entry& entry);
  void list(const Member* before, const Member& after);
  void toggle(const Member& member);

  IdKey key_;
  NodeId self_;
  const Member* self_record_ = nullptr;
  std::unordered_map<NodeId, Entry> entries_;  ///< never walked where order shows
  std::vector<Tombstone> tombstones_;          ///< oldest first
  std::vector<NodeId> live_;
  std::vector<NodeId> candidates_;  ///< filled while some live member is none
  std::size_t excluded_ = 0;        ///< live members that are no candidates
  std::size_t incompatible_ = 0;
  std::map<std::uint8_t, std::size_t> versions_;  ///< highest common with this node -> live members
  std::array<std::size_t, 4> counts_{};
  std::array<std::uint64_t, member_buckets> buckets_{};
  std::uint64_t hash_ = 0;
};

}  // namespace waggle::gossip
