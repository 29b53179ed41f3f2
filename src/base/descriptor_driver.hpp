// A file descriptor with an owner, and what errno says.
#pragma once

#include <boost/system/error_code.hpp>

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace waggle {

/// Why the last system call of this thread failed.
[[nodiscard]] inline boost::system::error_code last_system_error() {
  return {errno, boost::system::system_category()};
}

/// Closes its descriptor unless that was released; below 0 it holds none.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }

  [[nodiscard]] int get() const { return value_; }
  [[nodiscard]] bool is_open() const { return value_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(value_, -1); }
  void reset(int value = -1) {
    const int old = std::exchange(value_, value);
    if (old >= 0) ::close(old);
  }

 private:
  int value_;
};

}  // namespace waggle
