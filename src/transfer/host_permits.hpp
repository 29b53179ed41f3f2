// Permits and pauses of registry hosts, both sides: this node asks the host's trio before it sends
// a claimed extent's request, and keeps the books of the hosts whose trio it belongs to. Format:
// docs/wire-claims.md.
#pragma once

#include "base/ids.hpp"
#include "base/prng.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "transfer/claim_wire.hpp"
#include "transfer/host_book.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace waggle::transfer {

struct HostPermitsConfig {
  NodeId self;
  std::uint64_t incarnation = 1;
  IdKey id_key;
  std::uint64_t seed = 1;
  std::uint32_t in_flight_max = 64;  ///< requests of the whole cluster per host; 0 counts as 1
};

/// Contract as of Claims, of which it is a part: after each input drain poll_output and re-read
/// poll_timeout. The trio of a host = HRW top 3 by "host:" and its tag. Rank 0 grants; it is asked
/// twice (50, 100 ms), then the next rank; all silent: this node grants itself as many as its share
/// of the limit, and asks again after 5 s. Liveness beats the limit: nothing waits for longer
/// because somebody is gone than these half a second.
/// @source DESIGN section 6, "Pacing"; decision D-165
class HostPermits {
 public:
  struct Send {
    NodeId to;  ///< self, too
    SwarmTag host;
    ClaimBody body;
  };
  struct Granted {
    PermitId permit;
  };
  /// Somebody was told to leave the host alone; who uses this credential should.
  struct Paused {
    std::string host;
    HostPause pause;
  };
  using Output = std::variant<Send, Granted, Paused>;

  explicit HostPermits(const HostPermitsConfig& config) : config_(config), prng_(config.seed) {}

  [[nodiscard]] static SwarmTag tag_of(const std::string& host);

  // Inputs.
  void set_members(TimePoint now, std::span<const NodeId> candidates);
  void member_gone(TimePoint now, const NodeId& node);
  void handle(TimePoint now, const NodeId& from, const SwarmTag& host, const ClaimBody& body);
  void handle_timeout(TimePoint now);
  /// This process was stopped for a while.
  void excuse(TimePoint now);
  /// Asks for a permit, unless that was done. Answer: Granted, at once or later, or never after
  /// end().
  void ask(TimePoint now, const std::string& host, const PermitId& permit, bool reader_waits);
  /// What came so far under a permit.
  /// @param total  0: not known
  void progress(TimePoint now, const PermitId& permit, std::uint64_t bytes, std::uint64_t total,
                std::uint64_t chunk_bytes);
  /// Done, given back, or not needed any more.
  void end(TimePoint now, const PermitId& permit);
  void end_all(TimePoint now, const SwarmTag& blob);
  /// The host told this node to leave it alone.
  void paused(TimePoint now, const std::string& host, std::uint64_t credential, Duration remaining);

  // Outputs.
  [[nodiscard]] std::optional<Output> poll_output();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  // Memory reads.
  [[nodiscard]] bool holds(const PermitId& permit) const;
  [[nodiscard]] std::vector<NodeId> registrars(const std::string& host) const;
  void check_invariants() const;

 private:
  struct Own {
    bool held = false;
    bool reader_waits = false;
    // While it waits.
    std::uint64_t request = 0;
    std::optional<NodeId> leader;  ///< who was asked; nobody: all are silent
    bool answered = false;         ///< told to wait
    std::size_t attempts = 0;
    TimePoint ask_at{};
    // While it is held.
    TimePoint since{};
    std::uint64_t bytes = 0, total = 0, chunk_bytes = 0;
  };
  struct Host {
    std::string name;
    std::vector<NodeId> trio;
    std::map<PermitId, Own> own;
    std::map<NodeId, TimePoint> silent_until;
    std::vector<PermitHoldMessage::Item> ended;  ///< since the last HOLD
    std::map<std::uint64_t, TimePoint> pauses;   ///< what the host told this node
    std::map<std::uint64_t, TimePoint> told;     ///< pauses this node knows of
    std::optional<TimePoint> hold_at;
    TimePoint last_use{};
    bool held_last = false;  ///< the last HOLD listed something: one more has to follow
  };

  [[nodiscard]] std::vector<NodeId> trio(const SwarmTag& host) const;
  [[nodiscard]] Host& host_of(TimePoint now, const std::string& name);
  [[nodiscard]] Host* find(const PermitId& permit);
  void send_ask(TimePoint now, const SwarmTag& tag, const PermitId& permit, Own& own);
  void choose_leader(TimePoint now, const SwarmTag& tag, Host& host, const PermitId& permit,
                     Own& own);
  void take_locally(TimePoint now, Host& host);
  void granted(TimePoint now, const PermitId& permit, Host& host, Own& own);
  void ask_timeout(TimePoint now, const SwarmTag& tag, Host& host, const PermitId& permit,
                   Own& own);
  void end_own(TimePoint now, const SwarmTag& tag, Host& host,
               std::map<PermitId, Own>::iterator own);
  void send_hold(TimePoint now, const SwarmTag& tag, Host& host);
  [[nodiscard]] PermitHoldMessage::Item item_of(TimePoint now, const PermitId& permit,
                                                const Own& own) const;
  void handle_answer(TimePoint now, const NodeId& from, const SwarmTag& tag,
                     const PermitAnswerMessage& message);
  void note_pauses(TimePoint now, Host& host, const std::vector<HostPause>& pauses);
  HostBook& book_of(TimePoint now, const SwarmTag& tag);
  void send_answers(const SwarmTag& tag, const std::vector<HostBook::Answer>& answers);
  void spread_pauses(TimePoint now, const SwarmTag& tag, const HostBook& book);
  void forget_idle(TimePoint now);

  HostPermitsConfig config_;
  Prng prng_;
  std::vector<NodeId> candidates_;
  std::map<SwarmTag, Host> hosts_;      ///< that this node fetches from
  std::map<SwarmTag, HostBook> books_;  ///< that it keeps
  std::map<PermitId, SwarmTag> where_;  ///< own permits -> host
  std::uint64_t serial_ = 0;            ///< of HOLDs, over all hosts
  std::deque<Output> outputs_;
};

}  // namespace waggle::transfer
