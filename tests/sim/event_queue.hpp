// Virtual time: events in order of (time, number), nothing else decides what happens next.
#pragma once

#include "base/time.hpp"

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace waggle::sim {

class EventQueue {
 public:
  using Action = std::function<void()>;

  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] std::uint64_t executed() const { return executed_; }
  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }
  [[nodiscard]] TimePoint next_time() const { return heap_.top().at; }

  void at(TimePoint time, Action action) {
    heap_.push({std::max(time, now_), next_++, std::move(action)});
  }
  void after(Duration delay, Action action) { at(now_ + delay, std::move(action)); }

  /// Runs the earliest event. @pre !empty()
  void step() {
    // top() is const: the action is taken out before the entry goes.
    Entry entry = std::move(const_cast<Entry&>(heap_.top()));
    heap_.pop();
    now_ = entry.at;
    ++executed_;
    entry.action();
  }
  /// Moves the clock when nothing is left before `time`.
  void advance_to(TimePoint time) { now_ = std::max(now_, time); }

 private:
  struct Entry {
    TimePoint at;
    std::uint64_t number = 0;
    Action action;
    bool operator<(const Entry& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };

  std::priority_queue<Entry> heap_;
  TimePoint now_{};
  std::uint64_t next_ = 0;
  std::uint64_t executed_ = 0;
};

}  // namespace waggle::sim
