// What happened, one line per event: two runs of a seed must give the same bytes.
#pragma once

#include "base/bytes.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <string>

namespace waggle::sim {

class Trace {
 public:
  /// Keeps the text only when asked: long runs compare hashes.
  explicit Trace(bool keep) : keep_(keep) {}

  void add(TimePoint at, std::uint32_t node, const char* what, std::uint64_t a = 0,
           std::uint64_t b = 0) {
    ++lines_;
    std::string line = std::to_string(at.time_since_epoch().count()) + " " + std::to_string(node) +
                       " " + what + " " + std::to_string(a) + " " + std::to_string(b) + "\n";
    for (const char c : line)
      hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3U;  // FNV-1a
    if (keep_) text_ += line;
  }
  /// The content of a message, so that a trace differs when one byte of it does.
  static std::uint64_t fingerprint(ByteView bytes) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const auto b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3U;
    return hash;
  }
  [[nodiscard]] std::uint64_t lines() const { return lines_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool keep_;
  std::uint64_t lines_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325U;
  std::string text_;
};

}  // namespace waggle::sim
