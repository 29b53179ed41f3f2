// Lookups in the index of 1,000 nodes x 20,000 digests: hit, miss and a blob that everybody holds.
// The parts of Announcements::lookup one after the other, over an index filled directly.
#include "../index/workload.hpp"
#include "base/limits.hpp"
#include "base/siphash.hpp"
#include "bench.hpp"
#include "gossip/content_index.hpp"
#include "gossip/holder_choice.hpp"

#include <cstring>

using namespace waggle;
using namespace waggle::bench;

namespace {

struct Cluster {
  Cluster(const Shape& of, double dead_share)
      : shape(of), key(IdKey::for_cluster("bench")), index(1, limits::distinct_ids_max) {
    const Zipf zipf(shape.distinct, shape.zipf);
    for (std::size_t node = 0; node < shape.nodes; ++node) {
      NodeId id;
      store_le(MutableByteView(id.bytes), static_cast<std::uint64_t>(node + 1));
      const gossip::NodeSlot slot = *slots.allocate(now, id);
      slots.set_live(slot, !prng.chance(dead_share));
      slots.set_load(now, slot, static_cast<std::uint8_t>(prng.below(256)));
      for (const std::uint32_t n : digests_of(zipf, shape, node)) {
        const Digest digest = digest_of(n);
        const gossip::Definition definition{digest, 1};
        index.add(id64_of(key, digest), slot, &definition, false);
      }
    }
  }
  std::size_t lookup(const Digest& digest, std::span<NodeId> out) {
    gossip::SlotWords words;
    const auto found = index.holders(id64_of(key, digest), digest, slots.live_mask(), words);
    if (found.empty()) return 0;
    slots.drop_doubles(found);
    std::array<gossip::NodeSlot, limits::lookup_holders_max> chosen;
    const std::size_t total =
        gossip::choose_slots(now, found, slots, prng, std::span(chosen).first(out.size()));
    for (std::size_t i = 0; i < std::min(total, out.size()); ++i) out[i] = slots.id(chosen[i]);
    return total;
  }

  Shape shape;
  TimePoint now{std::chrono::seconds(100)};
  IdKey key;
  Prng prng{3};
  gossip::NodeSlots slots;
  gossip::ContentIndex index;
};

void measure(Cluster& cluster, const char* what, std::size_t wanted,
             const std::vector<Digest>& asked) {
  std::vector<NodeId> out(wanted);
  std::size_t found = 0;
  const Timing timing =
      time_each(asked.size(), [&](std::size_t i) { found += cluster.lookup(asked[i], out); });
  Json line = timing_line("lookup",
                          {{"nodes", cluster.shape.nodes},
                           {"digests_per_node", cluster.shape.digests_per_node},
                           {"distinct", cluster.shape.distinct},
                           {"asked", what},
                           {"wanted", wanted}},
                          timing);
  line["holders_mean"] = found / (3 * asked.size());
  print(line);
}

}  // namespace

/// lookup [small]: 1,000 nodes, or 100.
int main(int argc, char** argv) {
  const bool small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  const Shape shape{small ? 100UL : 1000UL, 20'000, 200'000};
  Cluster cluster(shape, 0.02);
  constexpr std::size_t lookups = 100'000;
  Prng prng(9);
  std::vector<Digest> hits;
  std::vector<Digest> misses;
  for (std::size_t i = 0; i < lookups; ++i) {
    hits.push_back(digest_of(static_cast<std::uint32_t>(prng.below(shape.distinct))));
    misses.push_back(digest_of(static_cast<std::uint32_t>(shape.distinct + prng.below(1U << 30U))));
  }
  for (const std::size_t wanted : {8UL, 64UL}) {
    measure(cluster, "hit", wanted, hits);
    measure(cluster, "popular", wanted, std::vector<Digest>(lookups, digest_of(0)));
  }
  measure(cluster, "miss", 8, misses);
  return 0;
}
