// Lets a coroutine await one callback-style operation of a port, with a deadline.
#pragma once

#include "mirror/error.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace waggle::mirror {

inline constexpr auto no_throw =
    boost::asio::as_tuple(boost::asio::use_awaitable);  // errors arrive as values

/// Contract: one thread; callback() is handed to one operation, wait() is awaited once. The
/// callback may run before wait(), during it, or never; later ones change nothing.
template <typename T>
class CallbackGate {
 public:
  using TimePointSteady = std::chrono::steady_clock::time_point;

  explicit CallbackGate(const boost::asio::any_io_executor& executor)
      : state_(std::make_shared<State>(executor)) {}

  [[nodiscard]] std::function<void(Result<T>)> callback() const {
    return [state = state_](Result<T> result) { state->set(std::move(result)); };
  }
  /// Ends the wait with MirrorError::canceled; may outlive the gate.
  [[nodiscard]] std::function<void()> canceler() const {
    return [weak = std::weak_ptr<State>(state_)] {
      if (const auto state = weak.lock()) state->set(MirrorError::canceled);
    };
  }

  /// The callback's result, or MirrorError::timeout at `deadline`.
  boost::asio::awaitable<Result<T>> wait(TimePointSteady deadline) {
    const auto state = state_;
    if (!state->result) {
      state->timer.expires_at(deadline);
      co_await state->timer.async_wait(no_throw);
    }
    if (!state->result) state->result.emplace(MirrorError::timeout);
    co_return std::move(*state->result);
  }

 private:
  struct State {
    explicit State(const boost::asio::any_io_executor& executor) : timer(executor) {}
    void set(Result<T> value) {
      if (result) return;
      result.emplace(std::move(value));
      timer.cancel();
    }
    boost::asio::steady_timer timer;
    std::optional<Result<T>> result;
  };
  std::shared_ptr<State> state_;
};

}  // namespace waggle::mirror
