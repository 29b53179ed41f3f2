// Keyed short hashes: gossip ids of digests, and HRW (highest random weight) ranking of nodes.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/ids.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace waggle {

/// Key of every id64 and HRW score in one cluster: BLAKE2b-128("waggle-id" | cluster name), so that
/// it survives key rotation.
struct IdKey {
  std::array<std::byte, 16> bytes{};
  [[nodiscard]] static IdKey for_cluster(std::string_view cluster_name);
};

/// SipHash-2-4. @source Aumasson and Bernstein 2012
[[nodiscard]] std::uint64_t siphash(const IdKey& key, ByteView message);

[[nodiscard]] Id64 id64_of(const IdKey& key, const Digest& digest);

/// HRW score of `node` for (domain, subject): SipHash over node id | domain | subject.
[[nodiscard]] std::uint64_t hrw_score(const IdKey& key, const NodeId& node, std::string_view domain,
                                      ByteView subject);

/// The first min(count, nodes.size()) nodes by descending score, ties by ascending id.
/// Cost O(nodes) hashes + sort of the winners. @source Thaler and Ravishankar 1998
[[nodiscard]] std::vector<NodeId> hrw_top(const IdKey& key, std::span<const NodeId> nodes,
                                          std::string_view domain, ByteView subject,
                                          std::size_t count);

}  // namespace waggle
