// What differs between two nodes' logs and how to repair it; which whole sets are being pulled. The
// part of anti-entropy that decides; announcements.hpp carries it out.
#pragma once

#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/announcement_wire.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace waggle::gossip {

/// BLAKE2b over (origin, incarnation, seq, set hash) of `vectors`, first 8 bytes. @pre ascending by
/// origin
[[nodiscard]] std::uint64_t index_root(std::span<const OriginVector> vectors);

enum class Repair {
  none,          ///< equal, or nothing that the two could do about it
  peer_behind,   ///< tell the peer our vector: it pulls
  pull_records,  ///< the peer's log has what we lack
  pull_set,      ///< it has not: pull the whole set
};

/// What to do about one origin. Only the origin itself is believed when two sets differ at the same
/// seq.
/// @param mine  our state; seq 0 when we know the member but no record of it
[[nodiscard]] Repair compare(const OriginVector& mine, const OriginVector& theirs,
                             const NodeId& self, const NodeId& peer);

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
