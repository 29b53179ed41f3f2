// A small network of Gossip objects in virtual time: latency, loss, crashes, pauses, partitions,
// repeatable by seed.
#pragma once

#include "base/identity.hpp"
#include "base/prng.hpp"
#include "base/random_source.hpp"
#include "base/timer_table.hpp"
#include "gossip/gossip.hpp"
#include "samples.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

namespace waggle::gossip::test {

using namespace std::chrono_literals;

struct ClusterOptions {
  std::size_t nodes = 5;
  std::uint64_t seed = 1;
  double loss = 0;
  Duration latency = 500us;
  std::optional<Endpoint> group;  ///< a multicast group that all are in, and join through
};

class Cluster {
 public:
  struct Node {
    Identity identity;
    SeededRandomSource random;
    std::unique_ptr<Gossip> gossip;  ///< empty while crashed
    std::uint64_t incarnation = 1;
    bool paused = false;
    std::vector<std::function<void()>> inbox;  ///< what arrived during the pause
    std::vector<GossipEvent> events;
  };
  struct Sent {
    TimePoint at;
    std::size_t from;
    Endpoint to;
    Bytes datagram;
    bool operator==(const Sent&) const = default;
  };

  explicit Cluster(const ClusterOptions& options)
      : options_(options), prng_(mix_seed(options.seed)) {
    for (unsigned n = 0; n < options.nodes; ++n) {
      nodes_.push_back(std::make_unique<Node>(Node{identity_of(n),
                                                   SeededRandomSource(mix_seed(options.seed) + n),
                                                   nullptr,
                                                   1,
                                                   false,
                                                   {},
                                                   {}}));
    }
  }

  /// Starts node n; everybody joins through node 0.
  void start(std::size_t n, std::vector<Endpoint> hints = {endpoint_of(0)}) {
    Node& node = *nodes_[n];
    GossipConfig config;
    config.keys = keys;
    config.advertise = {endpoint_of(static_cast<unsigned>(n))};
    config.name = "node-" + std::to_string(n);
    config.incarnation = node.incarnation++;
    config.seed = options_.seed * 1000 + n + config.incarnation * 1'000'000;
    config.multicast_group = options_.group;
    config.join_by_multicast = options_.group.has_value();
    node.gossip = std::make_unique<Gossip>(config, node.identity, node.random, now);
    node.gossip->set_hints(now, std::move(hints));
    pump(n);
  }
  void start_all() {
    for (std::size_t n = 0; n < nodes_.size(); ++n) start(n);
  }
  void crash(std::size_t n) { nodes_[n]->gossip.reset(); }
  void pause(std::size_t n) { nodes_[n]->paused = true; }
  void resume(std::size_t n) {
    nodes_[n]->paused = false;
    for (auto& arrival : std::exchange(nodes_[n]->inbox, {})) arrival();
  }
  /// Nodes of different sides hear nothing from each other.
  void partition(std::set<std::size_t> side) { side_ = std::move(side); }
  void heal() { side_.clear(); }

  Gossip& at(std::size_t n) { return *nodes_[n]->gossip; }
  Node& node(std::size_t n) { return *nodes_[n]; }
  [[nodiscard]] bool is_running(std::size_t n) const { return nodes_[n]->gossip != nullptr; }

  /// Calls the node and passes on what it says.
  template <typename Call>
  auto on(std::size_t n, Call call) {
    if constexpr (std::is_void_v<decltype(call(at(n)))>) {
      call(at(n));
      pump(n);
    } else {
      auto result = call(at(n));
      pump(n);
      return result;
    }
  }

  void run_for(Duration duration) {
    run_until([] { return false; }, duration);
  }
  /// True as soon as `done` holds; false when it does not within `duration`.
  bool run_until(const std::function<bool()>& done, Duration duration) {
    const TimePoint end = now + duration;
    while (!done()) {
      const auto next = next_time();
      if (!next || *next > end) {
        now = end;
        return done();
      }
      now = std::max(now, *next);
      step();
    }
    return true;
  }

  [[nodiscard]] bool sees(std::size_t observer, std::size_t subject, MemberState state) {
    const Member* member = at(observer).find(id_of(static_cast<unsigned>(subject)));
    return member != nullptr && member->state == state;
  }
  /// Every running node but the subject has it in this state.
  [[nodiscard]] bool all_see(std::size_t subject, MemberState state) {
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (n != subject && is_running(n) && !sees(n, subject, state)) return false;
    }
    return true;
  }
  [[nodiscard]] bool all_see_all() {
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (is_running(n) && !all_see(n, MemberState::alive)) return false;
    }
    return true;
  }
  [[nodiscard]] bool roots_agree() {
    std::set<std::uint64_t> roots;
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (is_running(n)) roots.insert(at(n).index_root());
    }
    return roots.size() <= 1;
  }

  TimePoint now{};
  KeyRing keys = keys_of({1});
  std::vector<Sent> trace;
  bool keep_trace = false;

 private:
  void pump(std::size_t n) {
    Node& node = *nodes_[n];
    while (auto transmit = node.gossip->poll_transmit()) {
      if (keep_trace) trace.push_back({now, n, transmit->to, transmit->datagram});
      if (transmit->to == options_.group) {
        for (std::size_t to = 0; to < nodes_.size(); ++to) deliver(n, to, transmit->datagram);
      } else if (const auto to = index_of(transmit->to)) {
        deliver(n, *to, std::move(transmit->datagram));
      }
    }
    while (auto event = node.gossip->poll_event()) {
      if (const auto* bulk = std::get_if<BulkSend>(&*event)) {
        const auto to = index_of(bulk->to);
        if (to) {
          post(n, *to, [this, n, to = *to, frame = bulk->frame] {
            at(to).handle_bulk(now, id_of(static_cast<unsigned>(n)), frame);
          });
        }
      }
      node.events.push_back(std::move(*event));
    }
    node.gossip->check_invariants();
  }

  void deliver(std::size_t from, std::size_t to, Bytes datagram) {
    if (prng_.chance(options_.loss)) return;
    post(from, to, [this, from, to, datagram = std::move(datagram)] {
      at(to).handle_datagram(now, endpoint_of(static_cast<unsigned>(from)), datagram);
    });
  }

  void post(std::size_t from, std::size_t to, std::function<void()> arrival) {
    flights_.emplace(std::pair(now + options_.latency, next_flight_++),
                     Flight{from, to, std::move(arrival)});
  }

  void step() {
    while (!flights_.empty() && flights_.begin()->first.first <= now) {
      Flight flight = std::move(flights_.begin()->second);
      flights_.erase(flights_.begin());
      if (side_.contains(flight.from) != side_.contains(flight.to)) continue;
      auto arrive = [this, to = flight.to, arrival = std::move(flight.arrival)] {
        if (!is_running(to)) return;
        arrival();
        pump(to);
      };
      if (nodes_[flight.to]->paused) {
        nodes_[flight.to]->inbox.push_back(arrive);
      } else {
        arrive();
      }
    }
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (!is_running(n) || nodes_[n]->paused) continue;
      const auto due = at(n).poll_timeout();
      if (!due || *due > now) continue;
      at(n).handle_timeout(now);
      pump(n);
    }
  }

  [[nodiscard]] std::optional<TimePoint> next_time() {
    std::optional<TimePoint> next;
    if (!flights_.empty()) next = flights_.begin()->first.first;
    for (const auto& node : nodes_) {
      if (node->gossip && !node->paused) next = earliest(next, node->gossip->poll_timeout());
    }
    return next;
  }

  [[nodiscard]] std::optional<std::size_t> index_of(const Endpoint& endpoint) const {
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (endpoint == endpoint_of(static_cast<unsigned>(n))) return n;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::optional<std::size_t> index_of(const NodeId& id) const {
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (nodes_[n]->identity.node_id() == id) return n;
    }
    return std::nullopt;
  }

  struct Flight {
    std::size_t from;
    std::size_t to;
    std::function<void()> arrival;
  };
  ClusterOptions options_;
  Prng prng_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::map<std::pair<TimePoint, std::uint64_t>, Flight> flights_;
  std::uint64_t next_flight_ = 0;
  std::set<std::size_t> side_;
};

}  // namespace waggle::gossip::test
