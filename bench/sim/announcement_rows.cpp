// How fast and at what price announcements travel: one at a time, and a storm of them.
#include "sim/announcement_watch.hpp"
#include "sim/gossip_rows.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace waggle::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t storm_per_node = 50;
constexpr std::size_t storm_digests = 1000;
constexpr Duration storm_time = 30s;
constexpr Duration resolution = 10ms;

/// Ranks by Zipf's law with exponent 1: rank r is drawn with a weight of 1 / (r + 1).
class Zipf {
 public:
  explicit Zipf(std::size_t count) {
    double sum = 0;
    for (std::size_t rank = 0; rank < count; ++rank) {
      sum += 1.0 / static_cast<double>(rank + 1);
      sums_.push_back(sum);
    }
  }
  [[nodiscard]] std::size_t draw(Prng& prng) const {
    const double at = prng.unit() * sums_.back();
    const auto found = std::upper_bound(sums_.begin(), sums_.end(), at);
    return std::min(static_cast<std::size_t>(found - sums_.begin()), sums_.size() - 1);
  }

 private:
  std::vector<double> sums_;
};

struct Announcement {
  Duration at;
  sim::NodeIndex node = 0;
  gossip::Content content;
  bool is_own = false;  ///< a blob that nobody else has: followed
};

std::vector<Announcement> storm_plan(std::size_t nodes, Prng& prng) {
  const Zipf zipf(storm_digests);
  std::vector<gossip::Content> popular;
  for (std::size_t i = 0; i < storm_digests; ++i)
    popular.push_back(content_of("popular/" + std::to_string(i)));
  std::vector<Announcement> plan;
  const auto span = static_cast<std::uint64_t>(storm_time.count());
  for (sim::NodeIndex node = 0; node < nodes; ++node) {
    std::set<std::size_t> chosen;
    while (chosen.size() + 1 < storm_per_node) chosen.insert(zipf.draw(prng));
    const auto moment = [&] { return Duration(static_cast<Duration::rep>(prng.below(span))); };
    for (const std::size_t rank : chosen) plan.push_back({moment(), node, popular[rank], false});
    plan.push_back({moment(), node, content_of("own/" + std::to_string(node)), true});
  }
  std::stable_sort(plan.begin(), plan.end(),
                   [](const Announcement& a, const Announcement& b) { return a.at < b.at; });
  return plan;
}

std::optional<double> whole_delay(const sim::AnnouncementWatch::Followed& followed,
                                  const std::optional<TimePoint>& end) {
  if (!end) return std::nullopt;
  return to_seconds(*end - followed.begun) * 1000;
}

}  // namespace

void announcement_row(const SimOptions& options, std::size_t nodes) {
  const std::size_t count = options.is_long ? 60 : 30;
  sim::GossipWorld world({.node_count = nodes, .seed = options.seed, .link = {.loss = 0.01}});
  settle(world);
  sim::AnnouncementWatch watch(world, Duration{0});
  for (std::size_t i = 0; i < count; ++i) {
    const auto origin = static_cast<sim::NodeIndex>(world.choices().below(nodes));
    watch.announce(origin, content_of("idle/" + std::to_string(i)));
    world.run_until([&](sim::GossipWorld&) { return watch.open_count() == 0; }, 60s, 50ms);
    world.run_for(std::chrono::milliseconds(500 + world.choices().below(1000)));
  }
  std::vector<double> most, last;
  for (const auto& followed : watch.followed()) {
    most.push_back(whole_delay(followed, followed.most_at).value_or(1e9));
    last.push_back(whole_delay(followed, followed.all_at).value_or(1e9));
  }
  const nlohmann::ordered_json params = {{"nodes", nodes}, {"loss", 0.01}, {"seed", options.seed}};
  print({"sim/announcement_to_99_percent", params, quantile(most, 0.99), "ms (p99)",
         nodes <= 1000 ? 150.0 : 250.0, spread_of(most, 1)});
  print({"sim/announcement_to_last_node", params, quantile(last, 1), "ms (max)", 6000.0,
         spread_of(last, 1)});
}

void storm_row(const SimOptions& options, std::size_t nodes) {
  sim::GossipWorld world({.node_count = nodes, .seed = options.seed, .link = {.loss = 0.01}});
  settle(world);
  const std::vector<Announcement> plan = storm_plan(nodes, world.choices());
  sim::AnnouncementWatch watch(world, resolution);
  world.reset_traffic();
  const TimePoint begun = world.now();
  for (const Announcement& next : plan) {
    world.run_for(std::max(Duration{0}, begun + next.at - world.now()));
    if (next.is_own) {
      watch.announce(next.node, next.content);
    } else {
      world.announce(next.node, next.content);
    }
  }
  world.run_for(std::max(Duration{0}, begun + storm_time - world.now()));
  std::vector<double> rates, packets, bulk;
  for (sim::NodeIndex i = 0; i < nodes; ++i) {
    const sim::Traffic& traffic = world.traffic(i);
    const double seconds = to_seconds(storm_time);
    rates.push_back(static_cast<double>(traffic.bytes + traffic.bulk_bytes) / seconds / 1024);
    packets.push_back(static_cast<double>(traffic.packets) / seconds);
    bulk.push_back(static_cast<double>(traffic.bulk_bytes) / seconds / 1024);
  }
  world.run_until([&](sim::GossipWorld&) { return watch.open_count() == 0; }, 120s, 1s);
  std::vector<double> worst;
  for (sim::NodeIndex i = 0; i < nodes; ++i)
    worst.push_back(static_cast<double>(world.traffic(i).bytes_in_worst_second) / 1024);
  const auto mean = [](const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  };
  const nlohmann::ordered_json params = {{"nodes", nodes},
                                         {"announcements", plan.size()},
                                         {"within_s", to_seconds(storm_time)},
                                         {"loss", 0.01},
                                         {"seed", options.seed}};
  const bool is_thousand = nodes <= 1000;
  nlohmann::ordered_json rate_spread = spread_of(rates, 1);
  rate_spread["bulk_kib_per_s"] = rounded(mean(bulk), 2);
  print({"sim/storm_bytes", params, mean(rates), "KiB/s per node", is_thousand ? 65.0 : 100.0,
         rate_spread});
  print({"sim/storm_worst_second", params, quantile(worst, 1), "KiB in the worst second of a node",
         is_thousand ? std::optional(110.0) : std::nullopt, spread_of(worst, 1)});
  print({"sim/storm_packets", params, mean(packets), "packets/s per node",
         is_thousand ? std::optional(150.0) : std::nullopt, spread_of(packets, 1)});
  std::vector<double> delays = watch.delays();
  nlohmann::ordered_json spread = spread_of(delays);
  spread["p99.9"] = rounded(quantile(delays, 0.999));
  spread["unfinished"] = watch.open_count();
  spread["resolution_ms"] = to_seconds(resolution) * 1000;
  print({"sim/storm_delay", params, quantile(delays, 0.99), "s (p99)", is_thousand ? 1.5 : 3.5,
         spread});
}

}  // namespace waggle::bench
