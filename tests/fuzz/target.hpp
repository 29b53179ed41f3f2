// What a fuzz target is: a name, a function over bytes from outside, and the inputs to start from.
// One source file each; fuzz_main.cpp gives one to libFuzzer, replay_main.cpp runs kept inputs
// through all. Page: docs/testing.md, "Fuzzing".
#pragma once

#include "base/bytes.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace waggle::fuzz {

/// Registers itself. A target returns normally on every input, or it has found a bug: it may be
/// called any number of times and leaves nothing behind.
struct Target {
  using Run = void (*)(ByteView input);
  using Seeds = std::vector<Bytes> (*)();
  Target(std::string_view name, Run run, Seeds seeds);

  std::string_view name;
  Run run;
  Seeds seeds;  ///< valid inputs, as the unit tests' golden vectors are

  /// All linked into this program, by name.
  [[nodiscard]] static std::vector<const Target*> all();
};

/// Ends the process when a property of the decoder does not hold.
void expect(bool holds, const char* property);

/// Reads an input as a list of choices and byte strings; past its end everything is zero or empty.
class Input {
 public:
  explicit Input(ByteView bytes) : rest_(bytes) {}
  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] std::uint8_t byte() { return integer<std::uint8_t>(); }
  template <typename T>
  [[nodiscard]] T integer() {
    const ByteView raw = take(sizeof(T));
    return raw.size() == sizeof(T) ? load_le<T>(raw) : T{};
  }
  /// The next `size` bytes, or as many as there are.
  [[nodiscard]] ByteView take(std::size_t size) {
    const ByteView out = rest_.first(size < rest_.size() ? size : rest_.size());
    rest_ = rest_.subspan(out.size());
    return out;
  }
  /// A byte string with its length (u16) before it.
  [[nodiscard]] ByteView string() { return take(integer<std::uint16_t>()); }
  [[nodiscard]] ByteView rest() { return take(rest_.size()); }

 private:
  ByteView rest_;
};

/// What Input::string() reads back.
inline void append_string(Bytes& out, ByteView bytes) {
  append_le(out, static_cast<std::uint16_t>(bytes.size()));
  append(out, bytes);
}

[[nodiscard]] inline Bytes bytes_of(std::string_view text) { return to_bytes(as_bytes(text)); }

}  // namespace waggle::fuzz
