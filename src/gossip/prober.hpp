// Whom to ping next, and when a silent member counts as failed: SWIM's probe with Lifeguard's local
// health.
#pragma once

#include "base/ids.hpp"
#include "base/prng.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace waggle::gossip {

/// One probe per protocol period (1 s x (1 + health score)): direct ping, after 300 ms helpers, at
/// the period's end failed. Targets come in a shuffled round robin, so every member is probed
/// within N periods. Contract: on poll_timeout() call next_step(now) until it is empty.
/// @source Das, Gupta, Motivala 2002, section 4.3; Lifeguard section IV.A (score 0..7)
class Prober {
 public:
  Prober(TimePoint now, std::uint64_t seed);

  enum class StepKind {
    ping,         ///< send a PING to target
    ask_helpers,  ///< no direct ACK in time: PING_REQ to `helpers_wanted` members, and every other
                  ///< path
    failed,       ///< nobody reached the target: suspect it
  };
  struct Step {
    StepKind kind = StepKind::ping;
    NodeId target;
    std::uint64_t seq = 0;
  };
  static constexpr std::size_t helpers_wanted = 3;
  static constexpr Duration direct_timeout = std::chrono::milliseconds(300);
  static constexpr Duration period = std::chrono::seconds(1);
  static constexpr unsigned score_max = 7;

  /// At a random place of what is left of this round: probed before the round ends. O(1).
  /// @pre not a target
  void add(const NodeId& target);
  /// A probe of it under way ends without a verdict; no target: nothing. O(targets), no allocation.
  void remove(const NodeId& target);
  /// The next probe goes to it, also when it had its turn in this round; not a target: nothing.
  /// O(targets).
  void hurry(const NodeId& target);
  [[nodiscard]] std::optional<Step> next_step(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  /// `target` answered. True when that was the probe under way.
  bool handle_ack(std::uint64_t seq, const NodeId& target);
  /// A helper is alive, but its ping was not answered in time.
  void handle_nack(std::uint64_t seq);
  /// How many helpers were asked, for judging the own health by their NACKs.
  void set_helpers(std::size_t asked) {
    nacks_missing_ = asked;
    asked_ = asked > 0;
  }
  /// The probe under way proves nothing: this process was not running.
  void abandon();
  /// A suspicion against this node had to be refuted: it is probably slow itself.
  void note_refuted() { worsen(1); }

  /// Fresh sequence numbers for every PING of this node.
  [[nodiscard]] std::uint64_t take_seq() { return ++seq_; }
  [[nodiscard]] unsigned score() const { return score_; }
  [[nodiscard]] std::size_t target_count() const { return round_.size(); }
  void stop();  ///< no further probes

 private:
  [[nodiscard]] std::optional<Step> begin(TimePoint now);
  void worsen(std::size_t by);

  Prng prng_;
  std::vector<NodeId> round_;
  std::size_t next_ = 0;
  std::uint64_t seq_ = 0;
  unsigned score_ = 0;
  std::optional<Step> probe_;  ///< under way and unanswered
  std::size_t nacks_missing_ = 0;
  bool asked_ = false;
  std::optional<TimePoint> helpers_at_;
  std::optional<TimePoint> period_end_;
};

}  // namespace waggle::gossip
