// Which addresses the node may join through, and when to ask for a name again. A core: hints_driver
// asks the system's resolver and knows the time.
#pragma once

#include "base/endpoint.hpp"
#include "base/prng.hpp"
#include "base/time.hpp"
#include "node/join_hint.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace waggle::node {

/// What to look up.
struct HintQuery {
  std::size_t name = 0;  ///< for the answer
  std::string host;
  std::uint16_t port = 0;
};
/// The addresses to join through, at most limits::join_hints_max: the static ones first, of the
/// others a random choice.
struct HintList {
  std::vector<Endpoint> endpoints;
  bool more_expected = false;  ///< a name has not been answered yet
};
/// A name stopped or began to resolve: said once, not with each attempt.
struct HintNotice {
  std::string text;     ///< as in cluster.join
  std::string problem;  ///< empty: it resolves
  std::size_t addresses = 0;
};

/// A name is asked for again after 30 s; while this node is alone, or the name fails, after 1, 2, 4
/// ... 30 s. A name that fails keeps the addresses that it had. Contract: after any input drain
/// poll_query, poll_list and poll_notice, then re-read poll_timeout.
class HintBook {
 public:
  static constexpr Duration interval = std::chrono::seconds(30);
  static constexpr Duration backoff_min = std::chrono::seconds(1);

  /// The first list, of the static addresses, is there at once, and a query for each name.
  /// @param hints  addresses and names; others are ignored
  HintBook(TimePoint now, const std::vector<JoinHint>& hints, std::vector<Endpoint> own,
           std::uint64_t seed);

  // Inputs. An answer or failure follows each query, whenever it comes.
  void handle_answer(TimePoint now, std::size_t name, std::vector<Endpoint> addresses);
  void handle_failure(TimePoint now, std::size_t name, const std::string& problem);
  void handle_timeout(TimePoint now);
  /// No other member is live, or one is.
  void set_alone(TimePoint now, bool alone);
  /// Where this node itself can be reached: no hint.
  void set_own(std::vector<Endpoint> own);

  // Outputs.
  [[nodiscard]] std::optional<HintQuery> poll_query();
  [[nodiscard]] std::optional<HintList> poll_list();  ///< when there is something to say
  [[nodiscard]] std::optional<HintNotice> poll_notice();
  [[nodiscard]] std::optional<TimePoint> poll_timeout() const;

  [[nodiscard]] bool has_names() const { return !names_.empty(); }

 private:
  struct Name {
    JoinHint hint;
    std::optional<TimePoint> due;  ///< empty: being looked up
    Duration backoff = backoff_min;
    bool answered = false;
    bool failing = false;
    std::vector<Endpoint> addresses;
  };
  void settle(TimePoint now, Name& name, bool failed);
  void make_list();
  [[nodiscard]] bool is_own(const Endpoint& endpoint) const;
  void take(std::vector<Endpoint> from, std::vector<Endpoint>& into);

  Prng prng_;
  std::vector<Endpoint> fixed_;
  std::vector<Name> names_;
  std::vector<Endpoint> own_;
  bool alone_ = true;
  std::deque<HintQuery> queries_;
  std::optional<HintList> list_;
  std::deque<HintNotice> notices_;
};

}  // namespace waggle::node
