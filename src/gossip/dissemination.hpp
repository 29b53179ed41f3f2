// News about members waiting to ride on probes and gossip packets.
#pragma once

#include "base/ids.hpp"
#include "gossip/wire.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <vector>

namespace waggle::gossip {

/// One piece of news per member, the newest; each is sent 4 x ceil(log10(N + 1)) times, least sent
/// first, of equals the newest first. Bounded by the member table. @source Das, Gupta, Motivala
/// 2002, section 4.1; memberlist queue.go
class Dissemination {
 public:
  /// Queues news, replacing what was queued about the same member.
  void add(const MemberUpdate& update);
  void remove(const NodeId& id);
  /// News for one packet, each counted as sent; entries sent `retransmits` times leave the queue.
  /// @param budget_bytes  encoded bytes that fit
  [[nodiscard]] std::vector<MemberUpdate> take(std::size_t budget_bytes, std::size_t retransmits);
  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  /// 4 x ceil(log10(live_members + 1)).
  [[nodiscard]] static std::size_t retransmits(std::size_t live_members);
  void check_invariants() const;

 private:
  /// (times sent, age rank: newer is smaller, whom)
  using Rank = std::tuple<std::size_t, std::uint64_t, NodeId>;
  struct Entry {
    MemberUpdate update;
    std::size_t bytes = 0;
    Rank rank;
  };

  std::map<NodeId, Entry> entries_;
  std::set<Rank> order_;
  std::uint64_t next_age_ = UINT64_MAX;
};

}  // namespace waggle::gossip
