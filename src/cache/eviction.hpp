// Which copies go when room is needed: least recently used first, within quota and minimum free space.
// A pure policy over the catalog; the node deletes the victims and tells the catalog.
#pragma once

#include "base/digest.hpp"
#include "cache/catalog.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace waggle::cache {

struct EvictionConfig {
  std::uint64_t min_free_bytes = 0;  ///< the file system keeps at least this much free, whoever filled it
};

struct Victim {
  CopyKey copy;
  std::uint64_t bytes = 0;  ///< freed by deleting it
  bool keeper = false;      ///< announce DROP and wait one anti-entropy round before deleting it
  bool operator==(const Victim&) const = default;
};

struct RoomDecision {
  bool possible = false;        ///< false: not even all victims would do; stream without storing
  std::vector<Victim> victims;  ///< delete in this order; oldest first within a class
};

/// True for digests that this node keeps for the cluster: one of the two live holders ranked first by HRW.
using KeeperTest = std::function<bool(const Digest&)>;

/// Order: redundant blobs (another store here has them), then blobs and idle partials by age, keepers last.
/// Never: copies in use (readers, active swarms) and pinned blobs. Ties go by key. Deterministic.
class Eviction {
 public:
  explicit Eviction(const EvictionConfig& config) : config_(config) {}

  /// What must go so that `bytes` more can be begun now: quota and minimum free space both hold when everything
  /// reserved is written. Possible with no victims when there is room. When it is not possible no victims are named:
  /// deleting some of them would help nobody.
  /// @param spare  a copy that must stay although it is idle: the partial about to be resumed
  /// Cost O(copies) at worst, plus one keeper test per copy passed.
  [[nodiscard]] RoomDecision make_room(const Catalog& catalog, std::uint64_t bytes,
                                       std::uint64_t disk_free_bytes, const KeeperTest& is_keeper,
                                       const CopyKey* spare = nullptr) const;

  /// Upkeep: what must go because the quota shrank or others filled the disk. Names victims even when they are not
  /// enough, since each brings the node closer to its limits.
  [[nodiscard]] RoomDecision relieve(const Catalog& catalog, std::uint64_t disk_free_bytes,
                                     const KeeperTest& is_keeper) const;

 private:
  [[nodiscard]] RoomDecision choose(const Catalog& catalog, std::uint64_t needed,
                                    const KeeperTest& is_keeper, const CopyKey* spare) const;
  [[nodiscard]] std::uint64_t shortage(const Catalog& catalog, std::uint64_t bytes,
                                       std::uint64_t disk_free_bytes) const;
  EvictionConfig config_;
};

}  // namespace waggle::cache
