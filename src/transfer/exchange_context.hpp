// What all swarms of a node share: outputs, sessions, scores, the claims core, budgets.
#pragma once

#include "base/limits.hpp"
#include "base/prng.hpp"
#include "transfer/claims.hpp"
#include "transfer/exchange.hpp"
#include "transfer/peer_scores.hpp"
#include "transfer/proof.hpp"
#include "transfer/session_message.hpp"
#include "transfer/session_table.hpp"
#include "transfer/tainted.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

namespace waggle::transfer {

inline constexpr Duration origin_down_time = std::chrono::seconds(15);
/// Per chunk, what its signers said.
using DisputedCrecs = std::map<ChunkIndex, std::vector<Crec>>;

/// Owned by the exchange; lives longer than every swarm.
struct ExchangeContext {
  const ExchangeConfig& config;
  const Identity& identity;
  ClusterView& view;
  Claims& claims;
  Prng prng;
  std::deque<ExchangeOutput> outputs{};
  SessionTable sessions{};
  PeerScores scores{};
  ExchangeStats stats{};
  TaintedDigests tainted{};
  std::map<Digest, std::uint64_t> complete{};  ///< blobs this node can serve, with their sizes
  std::map<std::string, std::uint64_t> upstream_bytes{};  ///< taken from each origin so far
  std::map<std::string, TimePoint> down_origins{};        ///< gone a moment ago: since when
  std::uint64_t download_bytes = 0;                       ///< of chunks begun, all swarms
  std::uint64_t next_fetch = 1;
  std::map<FetchId, SwarmId> fetches{};     ///< whose upstream request it is
  std::map<SwarmTag, SwarmId> claimants{};  ///< whose claims go by this tag
  /// CRECs of refuted swarms that ended before upstream's own bytes told who lied; at most
  /// limits::disputed_swarms_max.
  std::map<SwarmTag, DisputedCrecs> disputed{};
  std::vector<NodeId> banned{};  ///< since the last settling: every swarm drops them
  bool claims_dirty = false;     ///< some swarm's need of extents changed

  [[nodiscard]] const NodeId& self() const { return identity.node_id(); }
  /// This origin gave a swarm nothing for some time: swarms that begin now need one failure to
  /// know.
  void origin_down(TimePoint now, const std::string& origin) {
    std::erase_if(down_origins,
                  [&](const auto& entry) { return now - entry.second >= origin_down_time; });
    if (down_origins.size() < limits::swarms_max) down_origins.try_emplace(origin, now);
  }
  [[nodiscard]] bool was_origin_down(TimePoint now, const std::string& origin,
                                     TimePoint before) const {
    const auto found = down_origins.find(origin);
    return found != down_origins.end() && found->second <= before &&
           now - found->second < origin_down_time;
  }
  void emit(ExchangeOutput output) { outputs.push_back(std::move(output)); }
  void score(TimePoint now, const NodeId& node, double points) {
    if (scores.add(now, node, points)) banned.push_back(node);
  }
  void send(SessionId session, const SessionMessage& message) {
    emit(SendControl{session, encode(message)});
  }
};

}  // namespace waggle::transfer
