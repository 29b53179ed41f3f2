// One timer that is moved only when a deadline comes closer; later deadlines are noticed when it
// fires.
#include "mirror/watchdog_driver.hpp"

namespace waggle::mirror {

using SteadyTime = std::chrono::steady_clock::time_point;

struct Watchdog::State {
  State(const boost::asio::any_io_executor& executor, std::function<void()> expired_in)
      : timer(executor), expired(std::move(expired_in)) {}
  boost::asio::steady_timer timer;
  std::function<void()> expired;
  SteadyTime deadline = SteadyTime::max();
  bool waiting = false;
};

Watchdog::Watchdog(const boost::asio::any_io_executor& executor, std::function<void()> expired)
    : state_(std::make_shared<State>(executor, std::move(expired))) {}

Watchdog::~Watchdog() {
  state_->expired = nullptr;
  state_->timer.cancel();
}

void Watchdog::arm(std::chrono::nanoseconds timeout) {
  state_->deadline = std::chrono::steady_clock::now() + timeout;
  if (!state_->waiting) {
    wait(state_);
  } else if (state_->timer.expiry() > state_->deadline) {
    state_->timer.cancel();  // its handler waits again, for the new deadline
  }
}

void Watchdog::disarm() { state_->deadline = SteadyTime::max(); }

void Watchdog::wait(const std::shared_ptr<State>& state) {
  state->waiting = true;
  state->timer.expires_at(state->deadline);
  state->timer.async_wait([weak = std::weak_ptr<State>(state)](boost::system::error_code) {
    const auto current = weak.lock();
    if (!current) return;
    current->waiting = false;
    if (!current->expired || current->deadline == SteadyTime::max()) return;
    if (std::chrono::steady_clock::now() < current->deadline) return wait(current);
    current->deadline = SteadyTime::max();
    const auto expired = current->expired;  // it may destroy the watchdog
    expired();
  });
}

}  // namespace waggle::mirror
