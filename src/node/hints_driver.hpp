// Runs the hint book: looks names up on threads of their own, keeps its timer, writes its log
// lines. Owned by the node driver.
#pragma once

#include "base/endpoint.hpp"
#include "base/time.hpp"
#include "node/hint_book.hpp"
#include "node/join_hint.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace waggle::node {

struct HintsDeps {
  std::function<TimePoint()> now;
  std::function<bool()> alone;                 ///< no other member is live
  std::function<std::vector<Endpoint>()> own;  ///< where this node can be reached now
  std::function<void(HintList)> apply;
};

class HintsDriver {
 public:
  /// @param executor  its context must accept work from other threads
  HintsDriver(boost::asio::any_io_executor executor, const std::vector<JoinHint>& hints,
              std::uint64_t seed, HintsDeps deps);
  /// Does not wait for lookups under way: their answers are dropped.
  ~HintsDriver();
  HintsDriver(const HintsDriver&) = delete;
  HintsDriver& operator=(const HintsDriver&) = delete;

  /// Applies the static addresses and looks names up from now on.
  void start();
  /// Others came or went: a node that is alone now asks at once. Cheap.
  void note_members();

 private:
  struct Mailbox;
  void pump();
  void look_up(const HintQuery& query);
  boost::asio::awaitable<void> wait_timer();

  boost::asio::any_io_executor executor_;
  HintsDeps deps_;
  HintBook book_;
  std::shared_ptr<Mailbox> mailbox_;
  boost::asio::steady_timer timer_;
};

}  // namespace waggle::node
