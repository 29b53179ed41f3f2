// Lookups in the index of 1,000 nodes x 20,000 digests: hits, misses and a blob that everybody
// holds. The parts of Announcements::lookup one after the other, over an index filled directly.
#include "../index/workload.hpp"
#include "base/limits.hpp"
#include "base/siphash.hpp"
#include "bench.hpp"
#include "gossip/content_index.hpp"
#include "gossip/holder_choice.hpp"

#include <array>
#include <string>
#include <vector>

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
  /// As Announcements::lookup.
  std::size_t lookup(const Digest& digest, std::span<NodeId> out) {
    const auto found = index.find_holders(id64_of(key, digest), digest);
    if (!found) return 0;
    std::array<gossip::NodeSlot, limits::lookup_holders_max> chosen;
    const std::size_t total =
        gossip::choose_holders(now, *found, slots, prng, std::span(chosen).first(out.size()));
    for (std::size_t i = 0; i < std::min(total, out.size()); ++i) out[i] = slots.id(chosen[i]);
    return total;
  }
  /// Its first half: where the holders lie, and how many they are.
  [[nodiscard]] std::size_t find(const Digest& digest) const {
    const auto found = index.find_holders(id64_of(key, digest), digest);
    return found ? found->count() : 0;
  }

  Shape shape;
  TimePoint now{std::chrono::seconds(100)};
  IdKey key;
  Prng prng{3};
  gossip::NodeSlots slots;
  gossip::ContentIndex index;
};

struct Question {
  const char* asked;
  const char* part;
  std::size_t wanted;
};

template <typename Lookup>
void measure(const Cluster& cluster, const Question& question, const std::vector<Digest>& digests,
             Lookup lookup) {
  std::size_t found = 0;
  const Timing timing =
      time_each(digests.size(), [&](std::size_t i) { found += lookup(digests[i]); });
  Json line = timing_line("lookup",
                          {{"nodes", cluster.shape.nodes},
                           {"digests_per_node", cluster.shape.digests_per_node},
                           {"distinct", cluster.shape.distinct},
                           {"asked", question.asked},
                           {"part", question.part},
                           {"wanted", question.wanted}},
                          timing);
  line["holders_mean"] = found / rounds_in_all / digests.size();
  print(line);
}

void measure_all(Cluster& cluster, const char* asked, const std::vector<Digest>& digests) {
  measure(cluster, {asked, "find", 0}, digests,
          [&](const Digest& digest) { return cluster.find(digest); });
  for (const std::size_t wanted : {8UL, 64UL}) {
    std::vector<NodeId> out(wanted);
    measure(cluster, {asked, "whole", wanted}, digests,
            [&](const Digest& digest) { return cluster.lookup(digest, out); });
  }
}

}  // namespace

/// lookup [NODES]: 1,000 unless said. `hit` asks for any digest alike, `zipf` as often as nodes
/// hold it, `popular` for the one that nearly all hold: always in the caches, it shows the
/// computing.
int main(int argc, char** argv) {
  const Shape shape{argc > 1 ? std::stoul(argv[1]) : 1000UL, 20'000, 200'000};
  Cluster cluster(shape, 0.02);
  constexpr std::size_t lookups = 100'000;
  Prng prng(9);
  const Zipf zipf(shape.distinct, shape.zipf);
  std::vector<Digest> hits;
  std::vector<Digest> by_popularity;
  std::vector<Digest> misses;
  for (std::size_t i = 0; i < lookups; ++i) {
    hits.push_back(digest_of(static_cast<std::uint32_t>(prng.below(shape.distinct))));
    by_popularity.push_back(digest_of(zipf.draw(prng)));
    misses.push_back(digest_of(static_cast<std::uint32_t>(shape.distinct + prng.below(1U << 30U))));
  }
  for (const std::size_t steps : {0UL, 500UL, 1000UL, 1500UL}) {  // of a quarter of a nanosecond
    print(timing_line("loop", {{"steps", steps}}, time_loop(lookups, steps)));
  }
  measure_all(cluster, "hit", hits);
  measure_all(cluster, "zipf", by_popularity);
  measure_all(cluster, "popular", std::vector<Digest>(lookups, digest_of(0)));
  measure_all(cluster, "miss", misses);
  return 0;
}
