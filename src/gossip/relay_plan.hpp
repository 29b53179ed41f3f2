// Who passes whose announcements on to whom: the rows of the two-hop relay. Part of announcements.
#pragma once

#include "base/ids.hpp"
#include "base/siphash.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Every member stands in one of R rows by its hash. An origin tells the members of its own row
/// (hop 1, about sqrt(N) of them); each member outside gets what the row has fresh from those two
/// of the row that rank first for it by HRW (hop 2), the origin among them, and each of the row
/// from the one that does: two copies for everybody. So everybody sends to about N/R + 2R members
/// however many there are, nobody leads, and nothing is agreed on: views that differ cost a copy
/// more or one that anti-entropy brings. Cost: add and remove O(N) moves; a changed view is ranked
/// anew on the next use, O(N x N/R) mixes of two words (1 ms at N = 5,000).
/// @source research on the two-hop "grid all-gather"; Thaler and Ravishankar 1998 (HRW)
class RelayPlan {
 public:
  static constexpr std::size_t redundancy_max = 3;

  RelayPlan(const IdKey& key, const NodeId& self);

  /// A member came up or went. Repeats change nothing.
  void add(const NodeId& member);
  void remove(const NodeId& member);
  /// Members besides the node itself.
  [[nodiscard]] std::size_t member_count() const { return members_.size(); }
  /// @pre i < member_count()
  [[nodiscard]] const NodeId& member(std::size_t i) const { return members_[i].id; }

  /// R for what this node announces: rows_for() of the cluster's size when that last moved by half.
  [[nodiscard]] std::uint32_t rows() const { return rows_; }
  /// The smallest power of two with 4 R^2 > members: 8 at 100, 16 at 1,000, 64 at 5,000.
  [[nodiscard]] static std::uint32_t rows_for(std::size_t members);

  /// Is `other` in this node's row of `rows`?
  [[nodiscard]] bool shares_row(const NodeId& other, std::uint32_t rows) const;
  /// The others of this node's row of rows(), ascending. Valid until the next call.
  [[nodiscard]] std::span<const NodeId> row_mates();
  /// Whom this node tells what its row of `rows` has fresh: who has this node among the first
  /// `redundancy` of the row by HRW (`redundancy` - 1 inside the row); ascending. Valid until the
  /// next call.
  /// @pre rows a power of two, redundancy 1..redundancy_max
  [[nodiscard]] std::span<const NodeId> targets(std::uint32_t rows, std::size_t redundancy);

  void check_invariants() const;

 private:
  struct Standing {
    NodeId id;
    std::uint64_t hash = 0;
  };
  /// Ranked for one R; stale when the view changed.
  struct Ranking {
    std::uint32_t rows = 0;
    std::uint64_t view = 0;
    std::vector<NodeId> targets[redundancy_max];  ///< by redundancy - 1
  };
  static constexpr std::size_t rankings_max = 4;  ///< several R are met while the cluster grows

  [[nodiscard]] std::uint64_t hash_of(const NodeId& id) const;
  [[nodiscard]] std::vector<Standing>::iterator place_of(const NodeId& id);
  void note_change();
  [[nodiscard]] Ranking rank(std::uint32_t rows) const;

  IdKey key_;
  Standing self_;
  std::vector<Standing> members_;  ///< without self, ascending by id
  std::uint32_t rows_;
  std::size_t rows_chosen_at_ = 1;  ///< cluster size then
  std::uint64_t view_ = 1;          ///< counts changes
  std::vector<NodeId> mates_;
  std::uint64_t mates_view_ = 0;
  std::vector<Ranking> rankings_;  ///< last used first
};

}  // namespace waggle::gossip
