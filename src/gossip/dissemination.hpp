// News about members waiting to ride on probes and gossip packets.
#pragma once

#include "base/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <vector>

namespace waggle::gossip {

/// Names whom there is news about, one piece per member: the news itself is the record in the
/// member table. Each is sent 4 x ceil(log10(N + 1)) times, least sent first, of equals the newest
/// first. Bounded by the member table. @source Das, Gupta, Motivala 2002, section 4.1; memberlist
/// queue.go
class Dissemination {
 public:
  struct News {
    NodeId about;
    NodeId accuser;  ///< zero unless the news is a suspicion
  };

  /// Queues news that takes `bytes` encoded, replacing what was queued about the same member.
  /// O(log queue).
  void add(const News& news, std::size_t bytes);
  void remove(const NodeId& id);
  /// News for one packet, each counted as sent; entries sent `retransmits` times leave the queue.
  /// O(taken x log queue).
  /// @param budget_bytes  encoded bytes that fit
  [[nodiscard]] std::vector<News> take(std::size_t budget_bytes, std::size_t retransmits);
  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  /// 4 x ceil(log10(live_members + 1)).
  [[nodiscard]] static std::size_t retransmits(std::size_t live_members);
  void check_invariants() const;

 private:
  struct Rank {
    std::size_t sent = 0;
    std::uint64_t age = 0;  ///< newer is smaller; unique
    NodeId about;
    bool operator<(const Rank& other) const {
      return sent != other.sent ? sent < other.sent : age < other.age;
    }
  };
  struct Entry {
    NodeId accuser;
    std::size_t bytes = 0;
    std::size_t sent = 0;
    std::uint64_t age = 0;
  };

  std::unordered_map<NodeId, Entry> entries_;
  std::set<Rank> order_;
  std::uint64_t next_age_ = UINT64_MAX;
};

}  // namespace waggle::gossip
