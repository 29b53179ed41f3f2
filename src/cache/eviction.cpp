// Three passes over the catalog's order of use, one per class of victims.
#include "cache/eviction.hpp"

#include <algorithm>

namespace waggle::cache {

std::uint64_t Eviction::shortage(const Catalog& catalog, std::uint64_t bytes,
                                 std::uint64_t disk_free_bytes) const {
  // Sums of a few sizes below 2^50: no overflow, except from a configured limit, which is clamped.
  const std::uint64_t unwritten = catalog.reserved() + bytes;
  const std::uint64_t promised = catalog.bytes() + unwritten;
  const std::uint64_t over_quota =
      promised > catalog.quota_bytes() ? promised - catalog.quota_bytes() : 0;
  const std::uint64_t wanted_free =
      unwritten + std::min(config_.min_free_bytes, UINT64_MAX - unwritten);
  const std::uint64_t under_free =
      wanted_free > disk_free_bytes ? wanted_free - disk_free_bytes : 0;
  return std::max(over_quota, under_free);
}

RoomDecision Eviction::choose(const Catalog& catalog, std::uint64_t needed,
                              const KeeperTest& is_keeper, const CopyKey* spare) const {
  RoomDecision decision;
  std::uint64_t freed = 0;
  enum class Class : std::uint8_t { redundant, ordinary, keeper };
  for (const auto pass : {Class::redundant, Class::ordinary, Class::keeper}) {
    for (const auto& use : catalog.by_use()) {
      if (freed >= needed) break;
      const CopyEntry& entry = catalog.copies().at(use.copy);
      if (entry.users > 0 || entry.pinned || (spare != nullptr && use.copy == *spare)) continue;
      if (entry.redundant != (pass == Class::redundant)) continue;
      // Only complete blobs are kept for the cluster, and not those that lie here twice.
      const bool keeper = !entry.redundant && !use.copy.origin && is_keeper(use.copy.digest);
      if (keeper != (pass == Class::keeper)) continue;
      // A partial without a chunk frees nothing, but its files go with the others of its age.
      decision.victims.push_back({.copy = use.copy, .bytes = entry.bytes, .keeper = keeper});
      freed += entry.bytes;
    }
  }
  decision.possible = freed >= needed;
  return decision;
}

RoomDecision Eviction::make_room(const Catalog& catalog, std::uint64_t bytes,
                                 std::uint64_t disk_free_bytes, const KeeperTest& is_keeper,
                                 const CopyKey* spare) const {
  RoomDecision decision =
      choose(catalog, shortage(catalog, bytes, disk_free_bytes), is_keeper, spare);
  if (!decision.possible) decision.victims.clear();
  return decision;
}

RoomDecision Eviction::relieve(const Catalog& catalog, std::uint64_t disk_free_bytes,
                               const KeeperTest& is_keeper) const {
  return choose(catalog, shortage(catalog, 0, disk_free_bytes), is_keeper, nullptr);
}

}  // namespace waggle::cache
