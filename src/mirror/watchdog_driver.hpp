// A deadline over a socket's current operation: arming is a store, so it can be done for every read
// and write.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>

namespace waggle::mirror {

/// Runs `expired` once per armed deadline that passes, on the executor's one thread; never after
/// the destructor.
class Watchdog {
 public:
  Watchdog(const boost::asio::any_io_executor& executor, std::function<void()> expired);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void arm(std::chrono::nanoseconds timeout);
  void disarm();

 private:
  struct State;
  static void wait(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace waggle::mirror
