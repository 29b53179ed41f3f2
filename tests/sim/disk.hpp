// What survives a crash of a node: complete blobs, journalled chunks, the incarnation, key files.
#pragma once

#include "node/told_log.hpp"
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
/// When the process dies while it commits a blob.
enum class CommitCrash : std::uint8_t { none, before_rename, after_rename };

struct Disk {
  std::map<Digest, std::uint64_t> blobs;  ///< complete: digest -> size
  std::map<transfer::SwarmKey, DiskPartial> partials;
  std::uint64_t incarnation = 0;
  node::ToldLogState told;                ///< what others were told
  std::vector<std::uint32_t> keys = {0};  ///< which cluster keys its files hold; the first seals
  bool full = false;                      ///< refuses new partials and chunks
  std::uint32_t slowness = 1;             ///< every operation takes this many times as long
  CommitCrash commit_crash = CommitCrash::none;  ///< what the next commit meets
};

}  // namespace waggle::sim
