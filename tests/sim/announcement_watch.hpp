// How long announcements take to reach every node of a GossipWorld: asks the nodes' own indexes.
#pragma once

#include "sim/gossip_world.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace waggle::sim {

/// Follows chosen announcements. A node knows one when a lookup of its digest names the holder.
class AnnouncementWatch final : public WorldListener {
 public:
  struct Followed {
    Digest digest;
    NodeIndex origin = 0;
    TimePoint begun;
    std::size_t expected = 0;  ///< nodes that were up and not the origin
    std::size_t reached = 0;
    std::optional<TimePoint> most_at;  ///< 99 % of them know
    std::optional<TimePoint> all_at;
    std::vector<bool> knows;
  };

  /// @param resolution  how late a node's knowledge may be noticed; 0: with the very datagram. A
  ///                    storm is looked at more cheaply in steps.
  AnnouncementWatch(GossipWorld& world, Duration resolution);
  ~AnnouncementWatch() override;
  AnnouncementWatch(const AnnouncementWatch&) = delete;
  AnnouncementWatch& operator=(const AnnouncementWatch&) = delete;

  /// Announces `content` at `origin` and follows it. @pre nobody else announces its digest
  void announce(NodeIndex origin, const gossip::Content& content);
  /// Those still on their way.
  [[nodiscard]] std::size_t open_count() const { return open_.size(); }
  [[nodiscard]] const std::vector<Followed>& followed() const { return followed_; }
  /// Seconds from the announcement, one for each (announcement, node) so far.
  [[nodiscard]] const std::vector<double>& delays() const { return delays_; }

  void input_handled(NodeIndex node) override;

 private:
  void look(NodeIndex node);

  GossipWorld& world_;
  Duration resolution_;
  TimePoint look_at_{};
  std::vector<Followed> followed_;
  std::vector<std::size_t> open_;  ///< positions in followed_
  std::vector<bool> is_dirty_;
  std::vector<NodeIndex> dirty_;
  std::vector<double> delays_;
  std::vector<NodeId> holders_;
};

}  // namespace waggle::sim
