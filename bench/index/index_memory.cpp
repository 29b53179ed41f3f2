// Memory of the content index at the size of a cluster, as resident pages: what malloc keeps and
// what growing leaves behind count too. Each shape is built in a process of its own.
#include "base/limits.hpp"
#include "base/siphash.hpp"
#include "bench.hpp"
#include "gossip/content_index.hpp"
#include "workload.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include <malloc.h>

using namespace waggle;
using namespace waggle::bench;

namespace {

enum class Order { node_by_node, interleaved };
struct Run {
  Shape shape;
  Order order;
};

/// What arrives: (node, digest) in the order of arrival, made before memory is measured.
struct Workload {
  std::vector<std::vector<std::uint32_t>> by_node;
  std::vector<Id64> ids;
};

Workload make_workload(const Run& run) {
  Workload out;
  const Zipf zipf(run.shape.distinct, run.shape.zipf);
  for (std::size_t node = 0; node < run.shape.nodes; ++node) {
    out.by_node.push_back(digests_of(zipf, run.shape, node));
  }
  const IdKey key = IdKey::for_cluster("bench");
  for (std::uint32_t n = 0; n < run.shape.distinct; ++n) {
    out.ids.push_back(id64_of(key, digest_of(n)));
  }
  return out;
}

/// As announcements apply a record: the first announcer brings the definition.
void announce(gossip::ContentIndex& index, const Workload& workload, std::size_t node,
              std::uint32_t n) {
  const Id64 id = workload.ids[n];
  const auto slot = static_cast<gossip::NodeSlot>(node + 1);
  if (index.definition(id)) {
    index.add(id, slot, nullptr, false);
  } else {
    const gossip::Definition definition{digest_of(n), 1'000'000ULL + n};
    index.add(id, slot, &definition, false);
  }
}

void build(gossip::ContentIndex& index, const Workload& workload, const Run& run) {
  const std::size_t nodes = run.shape.nodes;
  const std::size_t each = run.shape.digests_per_node;
  if (run.order == Order::node_by_node) {
    for (std::size_t node = 0; node < nodes; ++node) {
      for (const std::uint32_t n : workload.by_node[node]) announce(index, workload, node, n);
    }
  } else {
    for (std::size_t i = 0; i < each; ++i) {
      for (std::size_t node = 0; node < nodes; ++node) {
        announce(index, workload, node, workload.by_node[node][i]);
      }
    }
  }
}

double rounded(double value) { return std::round(value * 1000) / 1000; }

void measure(const void* argument) {
  const auto& run = *static_cast<const Run*>(argument);
  const Workload workload = make_workload(run);
  malloc_trim(0);  // what the workload left free must not be what the index grows into
  const std::size_t before = resident_bytes();
  double start = cpu_seconds();
  gossip::ContentIndex index(1, limits::distinct_ids_max);
  build(index, workload, run);
  const double seconds = rounded(cpu_seconds() - start);
  const std::size_t resident = resident_bytes() - before;

  Json out = line("index_memory",
                  {{"nodes", run.shape.nodes},
                   {"digests_per_node", run.shape.digests_per_node},
                   {"distinct", run.shape.distinct},
                   {"zipf", run.shape.zipf},
                   {"order", run.order == Order::interleaved ? "interleaved" : "node by node"}});
  out["value"] = resident;
  out["unit"] = "bytes resident";
  out["computed_bytes"] = index.memory_bytes();
  out["ids"] = index.id_count();
  out["facts"] = index.fact_count();
  out["bytes_per_fact"] = static_cast<double>(resident * 100 / index.fact_count()) / 100;
  out["build_cpu_seconds"] = seconds;
  start = cpu_seconds();
  keep(index.ids_of(static_cast<gossip::NodeSlot>(run.shape.nodes / 2)).size());
  out["ids_of_cpu_ms"] = rounded((cpu_seconds() - start) * 1000);
  start = cpu_seconds();
  index.clear(static_cast<gossip::NodeSlot>(run.shape.nodes / 2));
  out["clear_cpu_ms"] = rounded((cpu_seconds() - start) * 1000);
  print(out);
}

}  // namespace

/// index_memory [NODES DISTINCT]: the shapes of the goals, or one of them, or another.
int main(int argc, char** argv) {
  constexpr std::size_t each = 20'000;
  std::vector<Shape> shapes = {{1000, each, 200'000},
                               {1000, each, 1'000'000},
                               {5000, each, 200'000},
                               {5000, each, 1'000'000}};
  if (argc == 3) shapes = {{std::stoul(argv[1]), each, std::stoul(argv[2])}};
  bool ok = true;
  for (const Shape& shape : shapes) {
    for (const Order order : {Order::node_by_node, Order::interleaved}) {
      const Run run{shape, order};
      ok = in_child(measure, &run) && ok;
    }
  }
  return ok ? 0 : 1;
}
