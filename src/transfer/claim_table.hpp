// One registrar's soft state of one cold swarm: who wants it, who is fetching which extent. Rebuilt
// from WANTs.
#pragma once

#include "base/blob_layout.hpp"
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

inline constexpr Duration claim_grace =
    std::chrono::seconds(2);  ///< from grant to the first PROGRESS
inline constexpr Duration progress_interval = std::chrono::milliseconds(250);
inline constexpr Duration progress_missed = std::chrono::milliseconds(750);  ///< three in a row
inline constexpr Duration stall_limit = std::chrono::seconds(5);  ///< PROGRESS without a new byte
inline constexpr Duration claim_time_max =
    std::chrono::seconds(60);  ///< of an extent: then others may have it, however it grows
inline constexpr Duration slow_after =
    std::chrono::seconds(1);  ///< a claim's rate says nothing before
inline constexpr Duration slow_margin = std::chrono::seconds(2);
inline constexpr double slow_factor = 4.0;  ///< times what the rest takes at a fair share of the
                                            ///< best rate seen, plus slow_margin: others that wait
                                            ///< may have it
inline constexpr std::uint64_t growth_min =
    limits::block_bytes;  ///< per stall_limit; less is no growth
inline constexpr Duration pause_allowance = std::chrono::milliseconds(500);
inline constexpr Duration wanter_ttl = std::chrono::seconds(5);  ///< without a WANT: gone
inline constexpr Duration elsewhere_time =
    std::chrono::seconds(1);  ///< an extent that other registrars refused
inline constexpr Duration first_assignment_delay =
    std::chrono::milliseconds(3);  ///< collects simultaneous askers

/// Invariants: an extent has at most one claim; nobody waits while something it may have is free.
/// Cost: O(wanters + claims) per assignment, O(log) otherwise.
class ClaimTable {
 public:
  /// A grant to be told to `to`, in answer to its `request`.
  struct Granted {
    NodeId to;
    std::uint64_t request = 0;
    std::vector<ExtentClaim> grants;
  };

  /// @param creator  whose message made it
  ClaimTable(TimePoint now, const NodeId& creator)
      : created_(now), last_use_(now), creator_(creator) {}

  void want(TimePoint now, const NodeId& from, const WantMessage& message,
            std::vector<ExtentClaim>& denied);
  /// Asks for extents. The answer is in `granted` (also for others, if their turn came), or the
  /// asker waits. A count of 0 takes an earlier question back.
  /// @return true when the asker waits
  bool claim(TimePoint now, const NodeId& from, const ClaimMessage& message,
             std::vector<Granted>& granted);
  [[nodiscard]] std::vector<VoteMessage::Vote> confirm(TimePoint now, const NodeId& from,
                                                       const ConfirmMessage& message);
  /// @param denied  claims of the sender that another node holds by now
  void progress(TimePoint now, const NodeId& from, const ProgressMessage& message,
                std::vector<ExtentClaim>& denied);
  void release(TimePoint now, const NodeId& from, const ReleaseMessage& message);
  void unwant(TimePoint now, const NodeId& from, const UnwantMessage& message);
  void node_gone(TimePoint now, const NodeId& node);
  /// This process was late itself: PROGRESS may be waiting unread, so no claim ends before
  /// pause_allowance passed.
  void excuse(TimePoint now);

  /// Frees what expired and serves those who wait. Call when next_deadline() is due and after any
  /// change.
  [[nodiscard]] std::vector<Granted> assign(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  [[nodiscard]] std::optional<std::uint64_t> size() const { return size_; }
  /// Others that want it, ascending by id; holders alike.
  [[nodiscard]] std::vector<NodeId> wanters() const;
  [[nodiscard]] std::vector<NodeId> holders() const { return {holders_.begin(), holders_.end()}; }
  [[nodiscard]] TimePoint last_use() const { return last_use_; }
  [[nodiscard]] const NodeId& creator() const { return creator_; }
  [[nodiscard]] std::size_t claim_count() const { return claims_.size(); }
  /// What it keeps in memory, in entries of about 200 B.
  [[nodiscard]] std::size_t entry_count() const {
    return wanters_.size() + claims_.size() + attempts_.size() + elsewhere_.size();
  }
  /// entry_count() as of the last recount(), which returns by how much it moved.
  [[nodiscard]] std::size_t counted_entries() const { return counted_entries_; }
  [[nodiscard]] std::int64_t recount() {
    const std::size_t before = std::exchange(counted_entries_, entry_count());
    return static_cast<std::int64_t>(counted_entries_) - static_cast<std::int64_t>(before);
  }
  [[nodiscard]] std::uint64_t takeovers() const { return takeovers_; }
  void check_invariants() const;

 private:
  struct Waiting {
    std::uint64_t request = 0;
    std::uint32_t count = 0;
    bool holders_failed = false;
  };
  struct Wanter {
    std::uint64_t incarnation = 0;
    std::uint64_t upstream_bytes = 0;
    std::uint32_t lost_claims = 0;  ///< that ended without bytes: others that wait go first
    DoneWindow done;
    TimePoint last_seen;
    std::optional<Waiting> waiting;
    std::uint64_t answered_request = 0;  ///< for retries: the same answer again
    std::vector<ExtentClaim> answer;
  };
  struct Claim {
    NodeId node;
    std::uint64_t incarnation = 0;
    std::uint32_t attempt = 0;
    TimePoint expires;
    TimePoint since;
    TimePoint grew_at;
    std::uint64_t bytes = 0;
    std::optional<std::uint64_t> steady_bytes{};  ///< as of steady_since_
  };

  Wanter* touch(TimePoint now, const NodeId& from, std::uint64_t incarnation);
  void learn_size(std::optional<std::uint64_t> size, bool whole_stream);
  /// Takes the claim for `from` unless another node has a live one. @return whether `from` holds it
  /// now
  bool take(TimePoint now, const NodeId& from, std::uint64_t incarnation, const ExtentClaim& claim,
            TimePoint expires);
  void drop_claims_of(const NodeId& node);
  [[nodiscard]] TimePoint end_of(const Claim& claim) const;
  [[nodiscard]] std::uint64_t claim_bytes_max(ExtentIndex extent) const;
  void expire(TimePoint now);
  /// Somebody waits and nothing is free: ends the claim that would take longest, if it is much
  /// slower than upstream could serve it. @return whether one ended
  bool end_slowest(TimePoint now);
  /// Bytes per second while the claims were the same; nullopt: not long enough.
  /// At this rate it takes much longer than others would.
  [[nodiscard]] bool is_slow(ExtentIndex extent, const Claim& claim, double rate) const;
  [[nodiscard]] std::optional<double> rate_of(TimePoint now, const Claim& claim) const;
  [[nodiscard]] std::uint32_t extent_count() const;
  [[nodiscard]] bool is_available(ExtentIndex extent, bool ignore_holders) const;
  [[nodiscard]] std::optional<ExtentIndex> lowest_free(bool ignore_holders) const;
  /// Claims of which more than a quarter is still to come: the next may begin before the last ends.
  [[nodiscard]] std::uint32_t in_flight(TimePoint now) const;

  TimePoint created_;
  TimePoint last_use_;
  NodeId creator_;
  std::optional<TimePoint> first_assignment_;  ///< set by the first asker
  bool opened_ = false;                        ///< it has passed
  std::map<NodeId, Wanter> wanters_;
  std::set<NodeId> holders_;
  std::map<ExtentIndex, Claim> claims_;
  std::map<ExtentIndex, TimePoint> elsewhere_;     ///< not granted until then
  std::map<ExtentIndex, std::uint32_t> attempts_;  ///< highest given or seen
  std::optional<std::uint64_t> size_;
  bool whole_stream_ = false;
  ClaimPace pace_;
  std::uint64_t received_ = 0;                              ///< as claimants told
  std::set<std::pair<ExtentIndex, std::uint32_t>> steady_;  ///< the claims, with their attempts
  TimePoint steady_since_{};                                ///< since when they are these
  std::uint64_t takeovers_ = 0;
  std::size_t counted_entries_ = 0;
};

}  // namespace waggle::transfer
