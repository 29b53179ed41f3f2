// How long a new node takes to know a full cluster: bytes of the snapshot, processor time of both
// sides, and the time until its root matches over a link of the given speed.
#include "base/limits.hpp"
#include "base/random_source.hpp"
#include "base/siphash.hpp"
#include "bench.hpp"
#include "gossip/announcements.hpp"
#include "workload.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace waggle;
using namespace waggle::bench;
using namespace waggle::gossip;

namespace {

/// A snapshot of so many bytes within so many seconds.
constexpr std::size_t goal_bytes = 25'000'000;
constexpr double goal_seconds = 2;
constexpr double link_bytes_per_second = 10e9 / 8;
constexpr Duration link_delay = std::chrono::microseconds(100);
constexpr Duration member_interval = std::chrono::microseconds(10);

double rounded(double value) { return std::round(value * 1000) / 1000; }

struct Cluster {
  Shape shape;
  IdKey key = IdKey::for_cluster("bench");
  std::vector<Identity> identities;  // the last two: the member that is asked, the joiner
  std::vector<std::vector<Id64>> sets;
  std::vector<std::pair<Id64, Definition>> catalogue;  // ascending
};

Cluster make_cluster(const Shape& shape) {
  Cluster out{shape, {}, {}, {}, {}};
  out.key = IdKey::for_cluster("bench");
  SeededRandomSource random(1);
  for (std::size_t i = 0; i < shape.nodes + 2; ++i) {
    out.identities.push_back(Identity::generate(random));
  }
  std::vector<Id64> ids;
  for (std::uint32_t n = 0; n < shape.distinct; ++n) {
    const Definition definition{digest_of(n), 1'000'000ULL + n};
    ids.push_back(id64_of(out.key, definition.digest));
    out.catalogue.emplace_back(ids.back(), definition);
  }
  std::sort(out.catalogue.begin(), out.catalogue.end());
  const Zipf zipf(shape.distinct, shape.zipf);
  for (std::size_t node = 0; node < shape.nodes; ++node) {
    std::vector<Id64> set;
    for (const std::uint32_t n : digests_of(zipf, shape, node)) set.push_back(ids[n]);
    std::sort(set.begin(), set.end());
    out.sets.push_back(std::move(set));
  }
  return out;
}

/// A node and what of its time it used.
struct Node {
  std::unique_ptr<Announcements> core;
  double cpu = 0;
  double longest = 0;  // one input

  template <typename Work>
  Duration run(Work work) {
    const double start = cpu_seconds();
    work(*core);
    const double used = cpu_seconds() - start;
    cpu += used;
    longest = std::max(longest, used);
    return from_seconds(used);
  }
};

std::unique_ptr<Announcements> make_core(const Cluster& cluster, std::size_t self, TimePoint now) {
  AnnouncementsConfig config{.id_key = cluster.key, .self = cluster.identities[self].node_id()};
  config.broadcast = BroadcastMode::relay;
  return std::make_unique<Announcements>(config, cluster.identities[self], now);
}

void meet(const Cluster& cluster, Announcements& core, std::size_t self, TimePoint now) {
  for (std::size_t i = 0; i < cluster.identities.size(); ++i) {
    if (i == self) continue;
    core.member_up(now, cluster.identities[i].node_id(), 1, cluster.identities[i].public_key());
    while (core.poll_message()) {
    }
  }
}

/// The set of each origin comes as SET_DATA, 16 at a time, and the ids are explained when asked.
void fill(const Cluster& cluster, Announcements& core, TimePoint& now) {
  const auto explain = [&](const DefinitionPull& pull) {
    Definitions known;
    for (const Id64 id : pull.ids) {
      const auto found = std::lower_bound(cluster.catalogue.begin(), cluster.catalogue.end(),
                                          std::pair(id, Definition{}));
      known.definitions.push_back(found->second);
    }
    return encode_bulk(known);
  };
  const NodeId& teller = cluster.identities.back().node_id();
  for (std::size_t first = 0; first < cluster.sets.size(); first += limits::set_pulls_max) {
    now += std::chrono::seconds(1);
    AeStates states;
    const std::size_t last = std::min(first + limits::set_pulls_max, cluster.sets.size());
    std::vector<SetData> data;
    for (std::size_t i = first; i < last; ++i) {
      std::uint64_t hash = 0;
      for (const Id64 id : cluster.sets[i]) hash ^= id_hash(cluster.key, id);
      const NodeId& id = cluster.identities[i].node_id();
      const std::uint64_t seq = cluster.sets[i].size();
      states.states.push_back({NodeRef{id}, 1, seq, short_hash(hash), 0});
      data.push_back({id, 1, seq, hash, 0, 1, cluster.sets[i], {}});
    }
    std::sort(states.states.begin(), states.states.end());
    core.handle_message(now, teller, encode(states));
    for (const auto& set : data) core.handle_bulk(now, teller, encode_bulk(set));
    while (const auto bulk = core.poll_bulk()) {
      const auto message = decode_bulk(bulk->frame);
      if (const auto* pull = std::get_if<DefinitionPull>(&*message)) {
        core.handle_bulk(now, teller, explain(*pull));
      }
    }
    while (core.poll_message()) {
    }
  }
}

/// Messages one way and back, each node busy for as long as it really takes.
struct Wire {
  TimePoint now;
  std::size_t bytes = 0;
  std::size_t parts = 0;
  std::size_t set_pulls = 0;

  void carry(Node& from, const NodeId& from_id, Node& to) {
    std::vector<std::pair<Bytes, bool>> sent;
    while (auto bulk = from.core->poll_bulk()) sent.emplace_back(std::move(bulk->frame), true);
    while (auto message = from.core->poll_message()) {
      sent.emplace_back(std::move(message->body), false);
    }
    for (const auto& [body, is_bulk] : sent) {
      if (is_bulk) {
        const auto message = decode_bulk(body);
        parts += std::holds_alternative<SnapshotPart>(*message) ? 1 : 0;
        set_pulls += std::holds_alternative<SetPull>(*message) ? 1 : 0;
        bytes += body.size();
      }
      now += from_seconds(static_cast<double>(body.size()) / link_bytes_per_second);
    }
    if (!sent.empty()) now += link_delay;
    for (const auto& [body, is_bulk] : sent) {
      now += to.run([&, &content = body, bulk = is_bulk](Announcements& core) {
        bulk ? core.handle_bulk(now, from_id, content) : core.handle_message(now, from_id, content);
      });
    }
  }
};

void measure(const void* argument) {
  const Cluster cluster = make_cluster(*static_cast<const Shape*>(argument));
  const std::size_t asked = cluster.shape.nodes;
  const std::size_t joiner = asked + 1;
  const NodeId& asked_id = cluster.identities[asked].node_id();
  const NodeId& joiner_id = cluster.identities[joiner].node_id();
  Wire wire;
  Node server{make_core(cluster, asked, wire.now)};
  meet(cluster, *server.core, asked, wire.now);
  fill(cluster, *server.core, wire.now);
  server.core->handle_timeout(wire.now);
  while (server.core->poll_message()) {
  }

  wire.now += std::chrono::minutes(2);
  const TimePoint start = wire.now;
  Node node{make_core(cluster, joiner, wire.now)};
  wire.now += node.run([&](Announcements& core) {
    core.member_up(wire.now, asked_id, 1, cluster.identities[asked].public_key());
  });
  const auto question = node.core->poll_message();
  for (std::size_t i = 0; i < cluster.shape.nodes; ++i) {
    wire.now += member_interval;
    node.core->member_up(wire.now, cluster.identities[i].node_id(), 1,
                         cluster.identities[i].public_key());
  }
  node.cpu = node.longest = 0;
  wire.now += link_delay + server.run([&](Announcements& core) {
    core.handle_message(wire.now, joiner_id, question->body);
  });
  while (!node.core->matched_root() && wire.now < start + std::chrono::seconds(60)) {
    const TimePoint before = wire.now;
    wire.carry(server, asked_id, node);
    wire.carry(node, joiner_id, server);
    if (wire.now != before) continue;
    wire.now = std::max(wire.now, std::min(node.core->poll_timeout().value_or(TimePoint::max()),
                                           server.core->poll_timeout().value_or(TimePoint::max())));
    wire.now += node.run([&](Announcements& core) { core.handle_timeout(wire.now); });
    server.core->handle_timeout(wire.now);
  }

  Json out = line("join_to_index_ready", {{"nodes", cluster.shape.nodes},
                                          {"digests_per_node", cluster.shape.digests_per_node},
                                          {"distinct", cluster.shape.distinct},
                                          {"zipf", cluster.shape.zipf},
                                          {"link", "10 Gb/s, 0.1 ms"}});
  out["value"] = rounded(to_seconds(wire.now - start));
  out["unit"] = "s";
  if (wire.bytes <= goal_bytes) {
    out["goal"] = goal_seconds;
    out["met"] = node.core->matched_root() && to_seconds(wire.now - start) <= goal_seconds;
  }
  out["matched"] = node.core->matched_root();
  out["facts"] = node.core->fact_count();
  out["bytes"] = wire.bytes;
  out["parts"] = wire.parts;
  out["set_pulls"] = wire.set_pulls;
  out["joiner_cpu_seconds"] = rounded(node.cpu);
  out["joiner_longest_ms"] = rounded(node.longest * 1000);
  out["giver_cpu_seconds"] = rounded(server.cpu);
  out["giver_longest_ms"] = rounded(server.longest * 1000);
  print(out);
  node.core->check_invariants();
}

}  // namespace

/// snapshot_join [NODES DISTINCT]: the shapes of the goals, or another one.
int main(int argc, char** argv) {
  constexpr std::size_t each = 20'000;
  std::vector<Shape> shapes = {{1000, each, 200'000}, {1000, each, 1'000'000}};
  if (argc == 3) shapes = {{std::stoul(argv[1]), each, std::stoul(argv[2])}};
  bool ok = true;
  for (const Shape& shape : shapes) ok = in_child(measure, &shape) && ok;
  return ok ? 0 : 1;
}
