// What happened, one line per event: two runs of a seed must give the same lines.
#pragma once

#include "base/bytes.hpp"
#include "base/prng.hpp"
#include "base/time.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

namespace waggle::sim {

class Trace {
 public:
  static constexpr std::size_t tail_lines_max = 50;  ///< kept for a failure's report

  /// Keeps the whole text only when asked: long runs compare hashes.
  explicit Trace(bool keep) : keep_(keep) {}

  /// @param what  a string literal: only the pointer is kept
  void add(TimePoint at, std::uint32_t node, const char* what, std::uint64_t a = 0,
           std::uint64_t b = 0) {
    const Line line{at, node, what, a, b};
    tail_[lines_++ % tail_lines_max] = line;
    mix(static_cast<std::uint64_t>(at.time_since_epoch().count()));
    mix(node);
    for (const char* c = what; *c != 0; ++c) mix(static_cast<unsigned char>(*c));
    mix(a);
    mix(b);
    if (keep_) text_ += print(line);
    if (print_) std::fputs(print(line).c_str(), stdout);
  }
  /// The content of a message, so that a trace differs when one byte of it does.
  static std::uint64_t fingerprint(ByteView bytes) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const auto b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3U;
    return hash;
  }
  /// To stdout, as it happens.
  void print_all(bool print) { print_ = print; }
  [[nodiscard]] std::uint64_t lines() const { return lines_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] const std::string& text() const { return text_; }
  /// The last lines, oldest first.
  [[nodiscard]] std::string tail() const {
    std::string text;
    const std::uint64_t count = std::min<std::uint64_t>(lines_, tail_lines_max);
    for (std::uint64_t i = lines_ - count; i < lines_; ++i)
      text += print(tail_[i % tail_lines_max]);
    return text;
  }

 private:
  struct Line {
    TimePoint at;
    std::uint32_t node = 0;
    const char* what = "";
    std::uint64_t a = 0, b = 0;
  };
  static std::string print(const Line& line) {
    return std::to_string(line.at.time_since_epoch().count()) + " " + std::to_string(line.node) +
           " " + line.what + " " + std::to_string(line.a) + " " + std::to_string(line.b) + "\n";
  }
  void mix(std::uint64_t value) { hash_ = mix_seed(hash_ ^ value); }

  bool keep_;
  bool print_ = false;
  std::uint64_t lines_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325U;
  std::array<Line, tail_lines_max> tail_{};
  std::string text_;
};

}  // namespace waggle::sim
