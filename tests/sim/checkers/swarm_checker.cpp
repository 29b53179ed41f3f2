// Checks of downloads: truth of bytes, fetchers per extent, upstream bytes, waiting readers, bans.
#include "base/limits.hpp"
#include "sim/checkers/checkers.hpp"
#include "sim/simulator.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t fetchers_per_extent_max = 2;
/// After a fault nodes may find no registrar (they fetch anyway) or hold a claim that another took
/// over, until everybody agrees on who is there.
constexpr Duration calm_after = 30s;
constexpr Duration first_byte_max = 8s;
/// What a crash, a pause or a sick link may cost: the extents that were under way there and then.
constexpr std::uint64_t extents_per_fault = 4;

bool is_honest(Simulator& simulator) {
  return simulator.origin().is_honest() && !simulator.memory().has_liars;
}

void check_egress(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  if (simulator.origin().was_streamed() || simulator.is_cache_small()) return;
  // An extent that was granted a second time may have been fetched by both.
  std::uint64_t takeovers = 0;
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) != nullptr) {
      takeovers += simulator.node(i)->core().exchange().stats().claims.takeover;
    }
  }
  memory.takeovers = std::max(memory.takeovers, takeovers);
  for (const auto& [digest, blob] : simulator.origin().blobs()) {
    const std::uint64_t extents =
        std::min<std::uint64_t>(extents_per_fault, blob.layout().extent_count()) * memory.faults;
    const std::uint64_t most = blob.size * (1 + memory.extra_copies) + memory.bypass_bytes[digest] +
                               memory.takeovers * limits::extent_bytes +
                               extents * std::min(blob.size, limits::extent_bytes);
    expect(simulator, simulator.origin().egress_bytes(digest) <= most,
           "upstream sends each byte once, and for each fault at most four extents more");
  }
}

// An extent is fetched from its first missing chunk on, wherever in it a reader waits: at a slow
// origin that comes on top.
void check_readers(Simulator& simulator) {
  const Duration most = first_byte_max + simulator.origin().slowest_extent();
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    const Node* node = simulator.node(i);
    if (node == nullptr || simulator.disk(i).full) continue;
    for (const Pull& pull : node->pulls()) {
      if (pull.is_over() || pull.plan.end <= pull.plan.begin) continue;
      const Duration waited = simulator.now() - pull.moved;
      if (waited <= most || simulator.calm_for() <= waited) continue;
      // Its tail is held until the blob is proven.
      if (pull.position == pull.plan.end) continue;
      expect(simulator, false,
             "a reader in a calm cluster gets bytes or an error in 8 s and one extent's time");
    }
  }
}

}  // namespace

void check_swarms(Simulator& simulator) {
  // After wrong bytes everybody fetches for itself alone.
  if (!is_honest(simulator)) return;
  if (simulator.calm_for() >= calm_after) {
    expect(simulator, simulator.origin().most_fetched_extent().size() <= fetchers_per_extent_max,
           "no extent has more than two fetchers in a calm cluster");
  }
  if (simulator.now() < simulator.memory().second_next) return;
  check_egress(simulator);
  check_readers(simulator);
  for (NodeIndex i = 0; i < simulator.size(); ++i) {
    if (simulator.node(i) == nullptr) continue;
    expect(simulator, simulator.node(i)->core().exchange().stats().bans == 0,
           "who is honest is never banned");
  }
}

void check_commit(const Node& node, const DiskPartial& partial, const Digest& digest) {
  Simulator& simulator = node.simulator();
  expect(simulator, !simulator.disk(node.index()).blobs.contains(digest),
         "a blob is committed once");
  check_proven(node, &partial, digest);
}

void check_proven(const Node& node, const DiskPartial* partial, const Digest& digest) {
  Simulator& simulator = node.simulator();
  expect(simulator, partial != nullptr, "a proven blob is on disk");
  const auto blob = simulator.origin().blobs().find(digest);
  expect(simulator, blob != simulator.origin().blobs().end() && blob->second.size == partial->size,
         "a proven blob has its true length");
  expect(simulator,
         partial->size == 0 || partial->chunks.size() == blob->second.layout().chunk_count(),
         "a proven blob has all its chunks");
  const bool is_true =
      std::all_of(partial->chunks.begin(), partial->chunks.end(),
                  [](const auto& entry) { return entry.second.variant == true_bytes; });
  expect(simulator, is_true, "no wrong byte is proven or committed");
}

}  // namespace waggle::sim
