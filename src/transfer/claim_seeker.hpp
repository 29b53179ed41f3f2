// The wanter's side of one cold swarm: asks the registrars for extents, confirms by majority, keeps
// claims alive.
#pragma once

#include "base/ids.hpp"
#include "base/prng.hpp"
#include "base/time.hpp"
#include "base/timer_table.hpp"
#include "transfer/claim_wire.hpp"
#include "transfer/claims.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

namespace waggle::transfer {

/// Contract as of Claims, of which it is a part: after each input drain poll_output and re-read
/// poll_timeout. Phases: idle -> asking (a registrar for extents) -> waiting (it will push) or
/// confirming (at the others) -> idle.
class ClaimSeeker {
 public:
  struct Send {
    NodeId to;
    ClaimBody body;
  };
  /// A permit of the host is wanted for this extent: asked for while the others vote. Not needed:
  /// they voted no.
  struct Permit {
    ExtentIndex extent{};
    bool needed = false;
  };
  using Output = std::variant<Send, Permit, ClaimsEvent>;

  /// @param is_brisk  asks for news more often at first
  ClaimSeeker(const SwarmTag& tag, std::uint64_t incarnation, std::uint64_t seed, bool is_brisk);

  /// The trio in rank order, self possibly among it. A changed trio hears of everything anew.
  void set_registrars(TimePoint now, std::vector<NodeId> ranked);
  void want(TimePoint now, const WantState& state);
  void unwant(bool completed);
  void size_known(TimePoint now, std::uint64_t size, bool whole_stream);
  void progress(TimePoint now, ExtentIndex extent, std::uint64_t bytes);
  void end_claim(ExtentIndex extent, bool done);
  void handle(TimePoint now, const NodeId& from, const ClaimBody& body);
  void handle_timeout(TimePoint now);

  [[nodiscard]] std::optional<Output> poll_output();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const { return timers_.next(); }
  [[nodiscard]] const WantState& state() const { return state_; }
  /// Of the extent, which is the whole blob when that is streamed; 0: not known.
  [[nodiscard]] std::uint64_t claim_bytes(ExtentIndex extent) const;
  /// Or about to.
  [[nodiscard]] bool holds(ExtentIndex extent) const {
    return held_.contains(extent) || pending_.contains(extent);
  }
  [[nodiscard]] std::size_t held_count() const { return held_.size(); }
  [[nodiscard]] std::uint64_t granted() const { return granted_; }
  [[nodiscard]] std::uint64_t waited() const { return waited_; }
  void check_invariants() const;

 private:
  enum class Phase : std::uint8_t { idle, asking, waiting, confirming };
  enum class Timer : std::uint8_t { want, ask, progress, count };
  struct Held {
    std::uint32_t attempt = 0;
    std::uint64_t bytes = 0;
    std::set<NodeId> deniers;
  };
  struct Pending {  ///< granted by the leader, being confirmed
    std::uint32_t attempt = 0;
    std::set<NodeId> yes;
    std::set<NodeId> no;
  };

  void send(const NodeId& to, ClaimBody body) { outputs_.push_back(Send{to, std::move(body)}); }
  void send_all(const ClaimBody& body);
  void send_want(TimePoint now);
  void send_progress(TimePoint now);
  void repeat_done();
  void start_asking(TimePoint now);
  void ask(TimePoint now);
  void stop_asking();
  void next_rank(TimePoint now);
  void ask_timeout(TimePoint now);
  void handle_grant(TimePoint now, const NodeId& from, const GrantMessage& message);
  void handle_vote(TimePoint now, const NodeId& from, const VoteMessage& message);
  void send_confirm(TimePoint now);
  void settle_pending(TimePoint now, bool accept_silence);
  void back_off(TimePoint now);
  [[nodiscard]] std::size_t majority() const;
  [[nodiscard]] bool is_registrar(const NodeId& node) const;

  SwarmTag tag_;
  std::uint64_t incarnation_;
  Prng prng_;
  std::vector<NodeId> registrars_;
  std::map<NodeId, TimePoint>
      silent_until_;  ///< registrars that did not answer: asked last for a while
  bool is_brisk_;
  std::size_t wants_sent_ = 0;
  WantState state_;
  bool wanting_ = false;
  bool whole_stream_ = false;
  Phase phase_ = Phase::idle;
  std::uint64_t request_ = 0;
  std::size_t rank_ = 0;
  std::size_t attempts_at_rank_ = 0;
  std::size_t ranks_tried_ = 0;
  NodeId leader_;
  TimePoint asking_since_;
  bool heard_ = false;  ///< some registrar answered since asking_since_
  std::map<ExtentIndex, Pending> pending_;
  std::size_t confirm_rounds_ = 0;
  std::map<ExtentIndex, Held> held_;
  std::map<ExtentIndex, int> repeats_;  ///< completed extents -> how often to say so again
  TimerTable<Timer> timers_;
  std::deque<Output> outputs_;
  std::uint64_t granted_ = 0;
  std::uint64_t waited_ = 0;
  std::uint64_t waited_request_ = 0;  ///< the last one counted in waited_
};

}  // namespace waggle::transfer
