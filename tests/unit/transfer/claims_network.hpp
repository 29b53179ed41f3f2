// A small deterministic cluster of Claims objects: messages with delay and loss, grants that take
// time to fetch.
#pragma once

#include "base/assert.hpp"
#include "base/prng.hpp"
#include "transfer/claims.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace waggle::transfer::test {

using namespace std::chrono_literals;

struct ClaimsNetworkConfig {
  std::size_t nodes = 5;
  std::uint64_t seed = 1;
  std::uint64_t size = 13 * limits::extent_bytes;
  bool size_known = true;
  double loss = 0;
  double divergence = 0;  ///< share of members that half of the nodes do not see
  Duration start_jitter{0};
  Duration extent_time = 200ms;  ///< a node fetches one extent in this time
};

/// Finishing means that every extent is somewhere in the cluster: swarming is assumed instant.
class ClaimsNetwork {
 public:
  explicit ClaimsNetwork(const ClaimsNetworkConfig& config)
      : config_(config),
        prng_(config.seed),
        layout_(config.size),
        cluster_done_(layout_.extent_count()) {
    key_.digest = sha256_of(as_bytes("blob" + std::to_string(config.seed)));
    key_.origin = "http://origin:80";
    for (std::size_t i = 0; i < config.nodes; ++i) {
      NodeId id;
      for (auto& b : id.bytes) b = static_cast<std::byte>(prng_.below(256));
      ids_.push_back(id);
    }
    std::sort(ids_.begin(), ids_.end());
    for (std::size_t i = 0; i < config.nodes; ++i)
      disputed_.push_back(prng_.chance(config.divergence));
    for (std::size_t i = 0; i < config.nodes; ++i) add_node(i);
  }

  void crash(std::size_t node) {
    nodes_[node].core.reset();
    nodes_[node].fetching.clear();
  }
  void detect_death(std::size_t dead) {
    for (auto& node : nodes_) {
      if (!node.core) continue;
      std::erase(node.view, ids_[dead]);
      node.core->set_members(now_, node.view);
      node.core->member_gone(now_, ids_[dead]);
      drain(static_cast<std::size_t>(&node - nodes_.data()));
    }
  }
  /// This node takes so many times as long.
  void slow_down(std::size_t node, int times) { slowness_[node] = times; }
  /// The next grant of this node ends with an upstream error.
  void fail_next_fetch(std::size_t node) { nodes_[node].fail_next = true; }
  std::vector<std::size_t> registrars() {
    std::vector<std::size_t> ranks;
    for (const auto& id : nodes_[0].core->registrars(key_.digest)) {
      ranks.push_back(
          static_cast<std::size_t>(std::lower_bound(ids_.begin(), ids_.end(), id) - ids_.begin()));
    }
    return ranks;
  }

  bool run_until(const std::function<bool()>& condition, Duration budget) {
    const TimePoint end = now_ + budget;
    while (now_ < end) {
      if (condition()) return true;
      step();
    }
    return condition();
  }
  bool finish(Duration budget) {
    return run_until([this] { return cluster_done_.all(); }, budget);
  }

  [[nodiscard]] std::uint64_t fetched_bytes() const { return fetched_; }
  [[nodiscard]] std::uint64_t fetched_bytes(std::size_t node) const { return nodes_[node].fetched; }
  [[nodiscard]] std::uint64_t messages() const { return messages_; }
  [[nodiscard]] std::uint64_t trace() const { return trace_; }
  [[nodiscard]] bool fetching(std::size_t node) const { return !nodes_[node].fetching.empty(); }
  /// How many others that want the blob it was told of.
  [[nodiscard]] std::size_t known(std::size_t node) const { return nodes_[node].known.size(); }
  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] const Claims& core(std::size_t node) const { return *nodes_[node].core; }
  [[nodiscard]] std::size_t takeovers() const {
    std::size_t count = 0;
    for (const auto& node : nodes_) count += node.core ? node.core->stats().takeover : 0;
    return count;
  }

 private:
  struct Node {
    std::unique_ptr<Claims> core;
    std::vector<NodeId> view;
    std::map<ExtentIndex, TimePoint> fetching;  ///< when it will be complete
    Bitfield done;
    bool started = false;
    bool knows_size = false;
    std::set<HopName> known;  ///< others that want it
    bool fail_next = false;
    TimePoint start;
    std::uint64_t fetched = 0;
  };
  struct Message {
    std::size_t from = 0, to = 0;
    Bytes payload;
  };

  void add_node(std::size_t i) {
    Node node;
    ClaimsConfig config;
    config.self = ids_[i];
    config.id_key = IdKey::for_cluster("waggle");
    config.seed = config_.seed * 100 + i;
    node.core = std::make_unique<Claims>(config);
    for (std::size_t j = 0; j < ids_.size(); ++j) {
      if (j == i || !disputed_[j] || prng_.chance(0.5)) node.view.push_back(ids_[j]);
    }
    node.core->set_members(now_, node.view);
    node.done = Bitfield(layout_.extent_count());
    node.knows_size = config_.size_known;
    const auto jitter = static_cast<std::uint64_t>(config_.start_jitter.count());
    node.start =
        TimePoint(Duration(static_cast<Duration::rep>(jitter == 0 ? 0 : prng_.below(jitter))));
    nodes_.push_back(std::move(node));
  }

  void want(std::size_t i) {
    Node& node = nodes_[i];
    WantState state;
    if (node.knows_size) {
      state.size = config_.size;
      state.extents_done = node.done;
    }
    state.upstream_bytes = node.fetched;
    state.demand = node.fetching.empty() ? 1 : 0;
    node.core->want(now_, key_, state);
    drain(i);
  }

  void drain(std::size_t i) {
    Node& node = nodes_[i];
    while (auto event = node.core->poll_event()) {
      if (auto* send = std::get_if<ClaimsSend>(&*event)) {
        ++messages_;
        for (const auto b : send->payload)
          trace_ = (trace_ ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3U;
        const auto to = static_cast<std::size_t>(
            std::lower_bound(ids_.begin(), ids_.end(), send->to) - ids_.begin());
        const Duration delay = 200us + Duration(static_cast<Duration::rep>(prng_.below(800'000)));
        if (!prng_.chance(config_.loss))
          wire_.emplace(now_ + delay, Message{i, to, std::move(send->payload)});
      } else if (const auto* grant = std::get_if<ExtentGranted>(&*event)) {
        WAGGLE_ASSERT(!node.fetching.contains(grant->extent));
        node.fetching[grant->extent] = now_ + time_of(i);
      } else if (const auto* revoked = std::get_if<ExtentRevoked>(&*event)) {
        node.fetching.erase(revoked->extent);
        node.core->fetch_over(now_, key_.tag(), revoked->extent);
      } else if (const auto* news = std::get_if<SwarmNews>(&*event)) {
        if (news->size) node.knows_size = true;
        node.known.insert(news->wanters.begin(), news->wanters.end());
      } else if (std::holds_alternative<TrioUnreachable>(*event)) {
        const auto lowest = cluster_done_.find(false);
        if (lowest && node.fetching.empty()) {
          node.fetching[ExtentIndex{static_cast<std::uint32_t>(*lowest)}] = now_ + time_of(i);
        }
      }
    }
    node.core->check_invariants();
  }

  void complete(std::size_t i, ExtentIndex extent) {
    Node& node = nodes_[i];
    node.fetching.erase(extent);
    if (std::exchange(node.fail_next, false)) {
      node.core->release(now_, key_.tag(), extent);
      return drain(i);
    }
    node.fetched += layout_.extent_size(extent);
    fetched_ += layout_.extent_size(extent);
    cluster_done_.set(to_value(extent));
    node.done.set(to_value(extent));
    if (!node.knows_size) {
      node.knows_size = true;
      node.core->size_known(now_, key_.tag(), config_.size, false);
    }
    node.core->extent_done(now_, key_.tag(), extent);
    drain(i);
    want(i);
  }

  void step() {
    TimePoint next = now_ + 5ms;  // progress and wants are looked at this often
    if (!wire_.empty()) next = std::min(next, wire_.begin()->first);
    for (const auto& node : nodes_) {
      if (!node.core || !node.started) continue;
      if (const auto deadline = node.core->poll_timeout())
        next = std::min(next, std::max(now_, *deadline));
    }
    now_ = next;
    while (!wire_.empty() && wire_.begin()->first <= now_) {
      const Message message = wire_.begin()->second;
      wire_.erase(wire_.begin());
      if (!nodes_[message.to].core) continue;
      nodes_[message.to].core->handle_message(now_, ids_[message.from], message.payload);
      drain(message.to);
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) tick(i);
  }

  void tick(std::size_t i) {
    Node& node = nodes_[i];
    if (!node.core) return;
    if (!node.started && node.start <= now_) {
      node.started = true;
      want(i);
    }
    const auto deadline = node.core->poll_timeout();
    if (deadline && *deadline <= now_) {
      node.core->handle_timeout(now_);
      drain(i);
    }
    for (const auto& [extent, at] : std::map<ExtentIndex, TimePoint>(node.fetching)) {
      const Duration left = at - now_;
      const double share = 1.0 - to_seconds(left) / to_seconds(time_of(i));
      const auto bytes = std::max(1.0, share * static_cast<double>(limits::extent_bytes));
      node.core->progress(now_, key_.tag(), extent, static_cast<std::uint64_t>(bytes));
      if (left <= Duration{0}) complete(i, extent);
    }
    if (node.started && node.knows_size && node.fetching.empty() && !cluster_done_.all()) want(i);
  }

  Duration time_of(std::size_t node) const {
    const auto slow = slowness_.find(node);
    return config_.extent_time * (slow == slowness_.end() ? 1 : slow->second);
  }

  ClaimsNetworkConfig config_;
  Prng prng_;
  std::map<std::size_t, int> slowness_;
  BlobLayout layout_;
  SwarmKey key_;
  std::vector<NodeId> ids_;
  std::vector<bool> disputed_;
  std::vector<Node> nodes_;
  std::multimap<TimePoint, Message> wire_;
  Bitfield cluster_done_;
  TimePoint now_{};
  std::uint64_t fetched_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t trace_ = 0xcbf29ce484222325U;
};

}  // namespace waggle::transfer::test
