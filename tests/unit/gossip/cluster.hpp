// A small network of Gossip objects in virtual time: latency, loss, crashes, pauses, partitions,
// repeatable by seed.
#pragma once

#include "base/identity.hpp"
#include "base/prng.hpp"
#include "base/random_source.hpp"
#include "base/timer_table.hpp"
#include "gossip/gossip.hpp"
#include "samples.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace waggle::gossip::test {

using namespace std::chrono_literals;

struct ClusterOptions {
  std::size_t nodes = 5;
  std::uint64_t seed = 1;
  double loss = 0;
  Duration latency = 500us;
  std::size_t calls_per_check = 1;  ///< check_invariants() costs O(members)
  bool keep_events = true;
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
    std::uint8_t version_min = protocol_version_min;
    std::uint8_t version_max = protocol_version_max;
    std::optional<TimePoint> due;  ///< as in due_
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
      by_endpoint_.emplace(endpoint_of(n), n);
      by_id_.emplace(nodes_.back()->identity.node_id(), n);
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
    config.version_min = node.version_min;
    config.version_max = node.version_max;
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
  void crash(std::size_t n) {
    nodes_[n]->gossip.reset();
    schedule(n);
  }
  void pause(std::size_t n) {
    nodes_[n]->paused = true;
    schedule(n);
  }
  void resume(std::size_t n) {
    nodes_[n]->paused = false;
    for (auto& arrival : std::exchange(nodes_[n]->inbox, {})) arrival();
    schedule(n);
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
    for (std::size_t n = 0; n < nodes_.size(); ++n) schedule(n);  // tests also call nodes directly
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

  /// `subject` may be one that the test plays itself, identity_of(subject).
  [[nodiscard]] bool sees(std::size_t observer, std::size_t subject, MemberState state) {
    const NodeId id = subject < nodes_.size() ? nodes_[subject]->identity.node_id()
                                              : id_of(static_cast<unsigned>(subject));
    const Member* member = at(observer).find(id);
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
  std::function<void(std::size_t, const GossipEvent&)> on_event;  ///< sees what each node reports

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
            at(to).handle_bulk(now, nodes_[n]->identity.node_id(), frame);
          });
        }
      }
      if (on_event) on_event(n, *event);
      if (options_.keep_events) node.events.push_back(std::move(*event));
    }
    if (++calls_ % options_.calls_per_check == 0) node.gossip->check_invariants();
    schedule(n);
  }

  void schedule(std::size_t n) {
    Node& node = *nodes_[n];
    const auto due = node.gossip && !node.paused ? node.gossip->poll_timeout() : std::nullopt;
    if (due == node.due) return;
    if (node.due) due_.erase({*node.due, n});
    node.due = due;
    if (due) due_.emplace(*due, n);
  }

  void deliver(std::size_t from, std::size_t to, Bytes datagram) {
    if (prng_.chance(options_.loss)) return;
    post(from, to, [this, from, to, datagram = std::move(datagram)] {
      at(to).handle_datagram(now, endpoint_of(static_cast<unsigned>(from)), datagram);
    });
  }

  void post(std::size_t from, std::size_t to, std::function<void()> arrival) {
    flights_.push_back({now + options_.latency, from, to, std::move(arrival)});
  }

  void step() {
    while (!flights_.empty() && flights_.front().at <= now) {
      Flight flight = std::move(flights_.front());
      flights_.pop_front();
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
    while (!due_.empty() && due_.begin()->first <= now) {
      const std::size_t n = due_.begin()->second;
      at(n).handle_timeout(now);
      pump(n);
    }
  }

  [[nodiscard]] std::optional<TimePoint> next_time() {
    std::optional<TimePoint> next;
    if (!flights_.empty()) next = flights_.front().at;
    if (!due_.empty()) next = earliest(next, due_.begin()->first);
    return next;
  }

  [[nodiscard]] std::optional<std::size_t> index_of(const Endpoint& endpoint) const {
    const auto found = by_endpoint_.find(endpoint);
    return found == by_endpoint_.end() ? std::nullopt : std::optional(found->second);
  }
  [[nodiscard]] std::optional<std::size_t> index_of(const NodeId& id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? std::nullopt : std::optional(found->second);
  }

  struct Flight {
    TimePoint at;
    std::size_t from;
    std::size_t to;
    std::function<void()> arrival;
  };
  ClusterOptions options_;
  Prng prng_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unordered_map<Endpoint, std::size_t> by_endpoint_;
  std::unordered_map<NodeId, std::size_t> by_id_;
  std::deque<Flight> flights_;  ///< the latency is one for all: first in, first out
  std::set<std::pair<TimePoint, std::size_t>> due_;
  std::set<std::size_t> side_;
  std::uint64_t calls_ = 0;
};

}  // namespace waggle::gossip::test
