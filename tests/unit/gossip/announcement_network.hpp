// A deterministic network of Announcements objects in virtual time: seeded delay and loss,
// partitions, restarts. Membership is played by the test itself: whoever can reach whom is up.
#pragma once

#include "base/assert.hpp"
#include "base/digest.hpp"
#include "base/identity.hpp"
#include "base/limits.hpp"
#include "base/prng.hpp"
#include "base/random_source.hpp"
#include "gossip/announcements.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace waggle::gossip::test {

using namespace std::chrono_literals;

inline Digest digest_of(std::uint64_t number) {
  return sha256_of(as_bytes("blob " + std::to_string(number)));
}

inline IdKey cluster_key() { return IdKey::for_cluster("test"); }

/// What all nodes of a network have in common.
struct NodeOptions {
  BroadcastMode broadcast = BroadcastMode::automatic;
  std::size_t snapshot_part_bytes = limits::snapshot_part_bytes_max;
};

class AnnouncementNetwork {
 public:
  AnnouncementNetwork(std::size_t count, std::uint64_t seed, double loss = 0,
                      const NodeOptions& options = {})
      : prng_(seed), seed_(seed), loss_(loss), options_(options) {
    SeededRandomSource random(seed);
    for (std::size_t i = 0; i < count; ++i) {
      nodes_.push_back(
          {std::make_unique<Identity>(Identity::generate(random)), nullptr, 1, 0, 0, {}});
      by_id_[id(i)] = i;
    }
    for (std::size_t i = 0; i < count; ++i) start(i);
    for (std::size_t i = 0; i < count; ++i) meet(i);
  }

  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  [[nodiscard]] const NodeId& id(std::size_t i) const { return nodes_[i].identity->node_id(); }
  [[nodiscard]] Announcements& at(std::size_t i) { return *nodes_[i].core; }
  [[nodiscard]] TimePoint now() const { return now_; }
  void set_loss(double loss) { loss_ = loss; }

  void announce(std::size_t i, std::uint64_t blob) {
    written_[id(i)].insert(digest_of(blob));
    held_[id(i)].insert(digest_of(blob));
    at(i).announce(now_, digest_of(blob), blob + 1);
    pump(i);
  }
  void withdraw(std::size_t i, std::uint64_t blob) {
    held_[id(i)].erase(digest_of(blob));
    at(i).withdraw(now_, digest_of(blob));
    pump(i);
  }
  void name(std::size_t i, std::uint64_t key, std::uint64_t blob, std::uint64_t hlc) {
    at(i).announce_name(now_, {key, digest_of(blob), blob, "text/plain"}, hlc);
    pump(i);
  }
  void raise_incarnation(std::size_t i) {
    at(i).set_incarnation(now_, ++nodes_[i].incarnation);
    pump(i);
    for (std::size_t j = 0; j < size(); ++j) see(j, i);
  }
  /// The process is gone; others notice at once.
  void stop(std::size_t i) {
    nodes_[i].core.reset();
    for (std::size_t j = 0; j < size(); ++j) {
      if (running(j)) lose(j, i);
    }
  }
  /// A new process with an empty log and a higher incarnation; everybody meets it at once.
  void restart(std::size_t i) {
    nodes_[i].core.reset();
    ++nodes_[i].incarnation;
    held_[id(i)].clear();
    start(i);
    meet(i);
  }
  /// The same, by a process that kept what its last one told and still has these blobs.
  void restart_with(std::size_t i, const std::set<std::uint64_t>& blobs) {
    while (const auto told = at(i).poll_told()) keep(i, *told);
    nodes_[i].core.reset();
    ++nodes_[i].incarnation;
    held_[id(i)].clear();
    start(i, nodes_[i].told);
    for (const std::uint64_t blob : blobs) announce(i, blob);
    at(i).store_scanned(now_);
    meet(i);
  }
  /// A power failure: the last changes of what it told are gone from its disk.
  void forget_told(std::size_t i, std::size_t changes) {
    nodes_[i].told->seq -= changes;
    nodes_[i].told->ids.resize(nodes_[i].told->ids.size() - changes);
  }
  /// Nodes below `border` and the others no longer hear each other.
  void partition(std::size_t border) {
    border_ = border;
    for (std::size_t i = 0; i < size(); ++i) {
      for (std::size_t j = 0; j < size(); ++j) {
        if (!connected(i, j)) lose(i, j);
      }
    }
  }
  void heal() {
    border_ = 0;
    for (std::size_t i = 0; i < size(); ++i) meet(i);
  }
  [[nodiscard]] bool running(std::size_t i) const { return nodes_[i].core != nullptr; }

  void run_for(Duration duration) {
    const TimePoint end = now_ + duration;
    while (step(end)) {
    }
    now_ = end;
  }
  template <typename Condition>
  bool run_until(Duration limit, Condition condition) {
    const TimePoint end = now_ + limit;
    while (!condition()) {
      if (!step(end)) return condition();
    }
    return true;
  }

  [[nodiscard]] std::vector<NodeId> holders(std::size_t i, std::uint64_t blob) {
    std::vector<NodeId> out;
    at(i).holders(digest_of(blob), out);
    std::sort(out.begin(), out.end());
    return out;
  }
  /// Every running node but the holder itself names `holder` for `blob`.
  [[nodiscard]] bool all_know(std::size_t holder, std::uint64_t blob) {
    for (std::size_t i = 0; i < size(); ++i) {
      if (i == holder || !running(i)) continue;
      const auto known = holders(i, blob);
      if (!std::binary_search(known.begin(), known.end(), id(holder))) return false;
      if (at(i).content_size(digest_of(blob)) != blob + 1) return false;
    }
    return true;
  }
  [[nodiscard]] bool roots_equal() {
    std::set<std::uint64_t> roots;
    for (std::size_t i = 0; i < size(); ++i) {
      if (running(i)) roots.insert(at(i).root());
    }
    return roots.size() == 1;
  }
  /// Safety: no node names a holder that never announced the digest.
  void check_facts(std::uint64_t blobs) {
    for (std::size_t i = 0; i < size(); ++i) {
      if (!running(i)) continue;
      for (std::uint64_t blob = 0; blob < blobs; ++blob) {
        for (const auto& holder : holders(i, blob)) {
          WAGGLE_ASSERT(written_[holder].contains(digest_of(blob)));
        }
      }
    }
  }
  /// What every node names is exactly what the running nodes hold.
  [[nodiscard]] bool is_exact(std::uint64_t blobs) {
    for (std::uint64_t blob = 0; blob < blobs; ++blob) {
      const Digest digest = digest_of(blob);
      std::set<NodeId> truth;
      for (std::size_t j = 0; j < size(); ++j) {
        if (running(j) && held_[id(j)].contains(digest)) truth.insert(id(j));
      }
      for (std::size_t i = 0; i < size(); ++i) {
        if (!running(i)) continue;
        std::vector<NodeId> known;
        at(i).holders(digest, known);
        if (truth.contains(id(i))) known.push_back(id(i));
        if (std::set(known.begin(), known.end()) != truth || known.size() != truth.size()) {
          return false;
        }
      }
    }
    return true;
  }
  [[nodiscard]] std::uint64_t trace() const { return trace_; }
  [[nodiscard]] std::uint64_t datagrams() const { return datagrams_; }
  [[nodiscard]] std::uint64_t bulk_frames() const { return bulk_frames_; }
  /// Datagrams of records so far.
  [[nodiscard]] std::uint64_t records_sent() const { return records_sent_; }
  /// Sent by node `i` since reset_bytes(), on the wire.
  [[nodiscard]] std::uint64_t bytes_of(std::size_t i) const { return nodes_[i].bytes; }
  void reset_bytes() {
    for (auto& node : nodes_) node.bytes = 0;
  }
  /// The process is gone and nobody notices.
  void silence(std::size_t i) { nodes_[i].core.reset(); }
  /// As restart, but the new process has met nobody yet.
  void start_alone(std::size_t i) {
    ++nodes_[i].incarnation;
    held_[id(i)].clear();
    start(i);
  }
  void meet_all(std::size_t i) { meet(i); }

 private:
  struct Node {
    std::unique_ptr<Identity> identity;
    std::unique_ptr<Announcements> core;
    std::uint64_t incarnation;
    std::uint64_t starts;
    std::uint64_t bytes = 0;
    std::optional<ToldLog> told;
  };
  struct Delivery {
    std::size_t from, to;
    Bytes bytes;
    bool bulk;
  };

  [[nodiscard]] bool connected(std::size_t i, std::size_t j) const {
    return running(i) && running(j) && (i < border_) == (j < border_);
  }
  void keep(std::size_t i, const LogTold& told) {
    auto& kept = nodes_[i].told;
    if (!kept) kept.emplace();
    kept->incarnation = told.incarnation;
    kept->seq = told.seq;
    std::set<Id64> ids(kept->ids.begin(), kept->ids.end());
    if (told.whole) ids.clear();
    ids.insert(told.held.begin(), told.held.end());
    for (const Id64 dropped : told.dropped) ids.erase(dropped);
    kept->ids.assign(ids.begin(), ids.end());
  }
  void start(std::size_t i, const std::optional<ToldLog>& told = std::nullopt) {
    Node& node = nodes_[i];
    AnnouncementsConfig config{cluster_key(), id(i), node.incarnation, 1200,
                               seed_ + i * 1000 + ++node.starts};
    config.told = told;
    config.broadcast = options_.broadcast;
    config.snapshot_part_bytes = options_.snapshot_part_bytes;
    node.core = std::make_unique<Announcements>(config, *node.identity, now_);
  }
  void meet(std::size_t i) {
    for (std::size_t j = 0; j < size(); ++j) {
      see(i, j);
      see(j, i);
    }
  }
  void see(std::size_t i, std::size_t other) {
    if (i == other || !connected(i, other)) return;
    at(i).member_up(now_, id(other), nodes_[other].incarnation,
                    nodes_[other].identity->public_key());
    pump(i);
  }
  void lose(std::size_t i, std::size_t other) {
    if (i == other || !running(i)) return;
    at(i).member_down(now_, id(other));
    pump(i);
  }

  void pump(std::size_t i) {
    while (const auto told = at(i).poll_told()) keep(i, *told);
    while (auto message = at(i).poll_message()) {
      WAGGLE_ASSERT(message->body.size() <= 1200);
      mix(message->body);
      ++datagrams_;
      nodes_[i].bytes += message->body.size() + SendBudget::overhead_bytes;
      const auto decoded = decode_message(message->body);
      if (decoded && std::holds_alternative<Records>(*decoded)) ++records_sent_;
      const bool lost = prng_.chance(loss_);
      const Duration delay = 200us + Duration(prng_.below(3'000'000));
      if (!lost) deliver(delay, {i, by_id_.at(*message->to), std::move(message->body), false});
    }
    while (auto bulk = at(i).poll_bulk()) {
      WAGGLE_ASSERT(bulk->frame.size() <= 1024 * 1024);
      mix(bulk->frame);
      ++bulk_frames_;
      if (on_bulk_ && !on_bulk_(i, by_id_.at(bulk->to), bulk->frame)) continue;
      deliver(5ms, {i, by_id_.at(bulk->to), std::move(bulk->frame), true});
    }
    if (++steps_ % check_every_ == 0) at(i).check_invariants();
  }
  void mix(const Bytes& bytes) {
    for (const std::byte byte : bytes) {
      trace_ = (trace_ ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3ULL;
    }
  }
  void deliver(Duration delay, Delivery delivery) {
    deliveries_.emplace(now_ + delay, std::move(delivery));
  }

  /// Handles the next event, if it is due by `end`.
  bool step(TimePoint end) {
    std::optional<std::size_t> timer_of;
    TimePoint next = end + 1ns;
    for (std::size_t i = 0; i < size(); ++i) {
      if (!running(i)) continue;
      const auto deadline = at(i).poll_timeout();
      if (deadline && *deadline < next) {
        next = std::max(now_, *deadline);
        timer_of = i;
      }
    }
    if (!deliveries_.empty() && deliveries_.begin()->first < next) {
      now_ = deliveries_.begin()->first;
      const Delivery delivery = std::move(deliveries_.begin()->second);
      deliveries_.erase(deliveries_.begin());
      if (!connected(delivery.from, delivery.to)) return true;
      if (delivery.bulk) {
        at(delivery.to).handle_bulk(now_, id(delivery.from), delivery.bytes);
      } else {
        at(delivery.to).handle_message(now_, id(delivery.from), delivery.bytes);
      }
      pump(delivery.to);
      return true;
    }
    if (!timer_of) return false;
    now_ = next;
    at(*timer_of).handle_timeout(now_);
    pump(*timer_of);
    return true;
  }

 public:
  std::uint64_t check_every_ = 1;  ///< raised by tests with thousands of facts
  /// Sees every bulk frame (from, to, frame) that leaves, may change it, and says false to lose it.
  std::function<bool(std::size_t, std::size_t, Bytes&)> on_bulk_;

 private:
  Prng prng_;
  std::uint64_t seed_;
  double loss_;
  NodeOptions options_;
  TimePoint now_{};
  std::vector<Node> nodes_;
  std::map<NodeId, std::size_t> by_id_;
  std::map<NodeId, std::set<Digest>> written_;  // ever announced
  std::map<NodeId, std::set<Digest>> held_;  // announced by the present process and not withdrawn
  std::multimap<TimePoint, Delivery> deliveries_;
  std::size_t border_ = 0;
  std::uint64_t trace_ = 0xcbf29ce484222325ULL;
  std::uint64_t datagrams_ = 0;
  std::uint64_t bulk_frames_ = 0;
  std::uint64_t records_sent_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace waggle::gossip::test
