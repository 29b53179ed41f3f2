// What differs between two nodes' logs and how to repair it; which whole sets are being pulled. The
// part of anti-entropy that decides; announcements.hpp carries it out.
#pragma once

#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/announcement_wire.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

namespace waggle::gossip {

/// State of one log here.
struct OriginState {
  NodeId origin;
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;        ///< last applied without a gap; 0: only the member is known
  std::uint64_t set_hash = 0;   ///< XOR of id_hash() of the ids held
  std::uint64_t log_first = 1;  ///< oldest record still here; seq + 1 when none
  auto operator<=>(const OriginState&) const = default;
};
/// As messages tell it. @pre state.seq > 0
[[nodiscard]] LogState to_wire(const OriginState& state, const NodeRef& origin);

/// Hashes over the logs of live origins, by ranges of ids: nodes with the same live members and the
/// same records have the same ones, whatever they still keep of dead members. O(1) per change.
class RootTable {
 public:
  /// What a live log with records puts into its bucket: SipHash over origin, incarnation, seq and
  /// set hash.
  [[nodiscard]] static std::uint64_t hash_of(const IdKey& key, const OriginState& state);
  void toggle(const NodeId& origin, std::uint64_t hash) { buckets_[bucket_of(origin)] ^= hash; }
  [[nodiscard]] std::uint64_t root() const;
  [[nodiscard]] const std::array<std::uint64_t, index_buckets>& buckets() const { return buckets_; }
  /// By the first 6 bits of the id: a bucket is a range of ids.
  [[nodiscard]] static std::size_t bucket_of(const NodeId& origin);
  /// The first 4 bytes of ids in [first bucket, last bucket].
  [[nodiscard]] static std::pair<std::uint32_t, std::uint32_t> range_of(std::size_t first,
                                                                        std::size_t last);

 private:
  std::array<std::uint64_t, index_buckets> buckets_{};
};

enum class Repair {
  none,          ///< equal, or nothing that the two could do about it
  peer_behind,   ///< the peer lacks what we have
  pull_records,  ///< the peer's log has what we lack
  pull_set,      ///< it has not: pull the whole set
};

/// What to do about one origin. Only the origin itself is believed when two sets differ at the same
/// seq; about another incarnation membership has to speak first.
/// @param theirs  seq 0 when the peer listed all it knows and not this one
[[nodiscard]] Repair compare(const OriginState& mine, const LogState& theirs, const NodeId& self,
                             const NodeId& peer);

/// The set pulls of this node: at most one per origin and limits::set_pulls_max in all, each for 5
/// s; and how often it gives its own set. A pull that ends in a set with a wrong hash blocks that
/// origin for 10 s.
class AntiEntropy {
 public:
  static constexpr Duration pull_timeout = std::chrono::seconds(5);
  static constexpr Duration bad_set_pause = std::chrono::seconds(10);
  static constexpr Duration own_serve_window = std::chrono::seconds(1);

  /// False when the origin is being pulled or blocked, or too many are being pulled.
  [[nodiscard]] bool start_pull(TimePoint now, const NodeId& origin, const NodeId& peer);
  [[nodiscard]] bool has_room() const;
  /// The whole set once its last part came in; nullopt before, and for parts nobody waits for.
  /// Parts come in order.
  [[nodiscard]] std::optional<SetData> take_part(TimePoint now, const NodeId& peer, SetData part);
  /// Ends the pull of `origin` from `peer` without a result.
  void cancel(const NodeId& origin, const NodeId& peer);
  void cancel(const NodeId& origin) { pulls_.erase(origin); }
  /// The peer is gone: its pulls end.
  void cancel_peer(const NodeId& peer);
  /// The set had not the hash it claimed.
  void block(TimePoint now, const NodeId& origin);
  /// Ends what took too long.
  void expire(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  [[nodiscard]] std::size_t pull_count() const { return pulls_.size(); }

  /// Counts one serving of the own set; false beyond limits::own_set_serves_max per second.
  [[nodiscard]] bool admit_own_serve(TimePoint now);

 private:
  struct Pull {
    NodeId peer;
    TimePoint deadline;
    std::optional<SetData> parts_so_far;  // `part` is the number of the last one
  };
  std::map<NodeId, Pull> pulls_;         // by origin
  std::map<NodeId, TimePoint> blocked_;  // origin -> until
  TimePoint serve_window_start_{};
  std::size_t serves_ = 0;
};

}  // namespace waggle::gossip
