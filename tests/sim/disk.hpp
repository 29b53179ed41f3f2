// What survives a crash of a node: complete blobs and journalled chunks.
#pragma once

#include "sim/content.hpp"
#include "transfer/exchange.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace waggle::sim {

struct DiskChunk {
  Variant variant = true_bytes;
  Bytes record;
};
struct DiskPartial {
  std::uint64_t size = 0;
  std::map<ChunkIndex, DiskChunk> chunks;
};
struct Disk {
  std::map<Digest, std::uint64_t> blobs;  ///< complete: digest -> size
  std::map<transfer::SwarmKey, DiskPartial> partials;
  std::uint64_t incarnation = 0;
  bool full = false;  ///< refuses new partials and chunks
};

}  // namespace waggle::sim
