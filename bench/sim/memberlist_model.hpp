// A model of hashicorp/memberlist with its LAN defaults, to stand beside the rows of sim_gossip:
// how fast its broadcasts and its failure detection are at sizes that its real code cannot run
// here.
#pragma once

#include "base/prng.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <queue>
#include <vector>

namespace waggle::bench {

/// DefaultLANConfig() of memberlist 0.5. Sizes are those of its msgpack messages without
/// encryption.
struct MemberlistConfig {
  std::size_t nodes = 100;
  std::uint64_t seed = 1;
  double loss = 0.01;
  Duration delay_min = std::chrono::microseconds(100), delay_max = std::chrono::microseconds(400);
  Duration probe_interval = std::chrono::seconds(1);
  Duration gossip_interval = std::chrono::milliseconds(200);
  Duration push_pull_interval = std::chrono::seconds(30);
  std::size_t gossip_nodes = 3;
  std::size_t retransmit_mult = 4;
  std::size_t suspicion_mult = 4;
  std::size_t suspicion_max_mult = 6;
  std::size_t packet_bytes = 1400;
};

/// What it has: probes in shuffled rounds with a verdict after the probe interval; suspicion timers
/// that confirmations shorten (Lifeguard); gossip of queued broadcasts, fewest transmissions first,
/// retransmit_mult * ceil(log10(N + 1)) times each, also on probes; push/pull of member states in
/// intervals that grow with log2(N). What it leaves out, each in memberlist's favour: a node that
/// lives always answers within the probe interval (TCP and helpers make up for loss), nobody is
/// overloaded, acks carry as much news as gossip does. Broadcasts are not repaired by push/pull:
/// memberlist leaves that to its user.
class MemberlistModel {
 public:
  explicit MemberlistModel(const MemberlistConfig& config);

  /// A user message of `bytes` from `node`, queued there.
  std::uint32_t broadcast(std::uint32_t node, std::size_t bytes);
  void kill(std::uint32_t node);
  void run_for(Duration duration);

  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] std::size_t up_count() const { return up_count_; }
  /// How many nodes have the broadcast, its origin included.
  [[nodiscard]] std::size_t reached(std::uint32_t message) const {
    return messages_[message].reached;
  }
  /// How many live nodes hold `node` for dead.
  [[nodiscard]] std::size_t gone_from(std::uint32_t node) const { return nodes_[node].gone_from; }
  [[nodiscard]] Prng& choices() { return prng_; }

 private:
  enum class Kind : std::uint8_t { user, suspect, dead };
  enum class State : std::uint8_t { alive, suspect, dead };
  struct Message {
    Kind kind = Kind::user;
    std::uint32_t subject = 0;
    std::uint32_t from = 0;
    std::size_t bytes = 0;
    std::size_t reached = 0;
    std::vector<bool> has;  ///< of user messages
  };
  struct Queued {
    std::uint32_t message = 0;
    std::size_t transmits = 0;
  };
  struct Suspicion {
    TimePoint began;
    std::vector<std::uint32_t> confirmers;
  };
  struct Node {
    bool up = true;
    std::vector<State> views;
    std::map<std::uint32_t, Suspicion> suspicions;
    std::vector<Queued> queue;
    std::vector<std::uint32_t> round;  ///< probe order
    std::size_t next_probe = 0;
    std::size_t gone_from = 0;  ///< live nodes that hold it for dead
  };
  enum class What : std::uint8_t { gossip, probe, verdict, packet, suspicion, push_pull };
  struct Event {
    TimePoint at;
    std::uint64_t number = 0;
    What what = What::gossip;
    std::uint32_t node = 0;
    std::uint32_t subject = 0;
    std::vector<std::uint32_t> messages;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };

  void at(TimePoint time, What what, std::uint32_t node, std::uint32_t subject = 0,
          std::vector<std::uint32_t> messages = {});
  void handle(Event& event);
  void gossip(std::uint32_t node);
  void probe(std::uint32_t node);
  void push_pull(std::uint32_t node);
  void merge(std::uint32_t node, const Node& other);
  void receive(std::uint32_t node, std::uint32_t message);
  void suspect(std::uint32_t node, std::uint32_t subject, std::uint32_t from);
  void declare_dead(std::uint32_t node, std::uint32_t subject);
  void queue(std::uint32_t node, Message message);
  void queue(std::uint32_t node, std::uint32_t message);
  void send(std::uint32_t to, std::vector<std::uint32_t> messages);
  [[nodiscard]] std::vector<std::uint32_t> take(std::uint32_t node, std::size_t room);
  [[nodiscard]] Duration suspicion_time(std::size_t confirmations) const;
  [[nodiscard]] Duration push_pull_time() const;
  [[nodiscard]] std::optional<std::uint32_t> random_other(std::uint32_t node);

  MemberlistConfig config_;
  Prng prng_;
  std::vector<Node> nodes_;
  std::vector<Message> messages_;
  std::priority_queue<Event> events_;
  TimePoint now_{};
  std::uint64_t next_ = 0;
  std::size_t up_count_ = 0;
};

}  // namespace waggle::bench
