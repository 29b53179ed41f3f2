// What this node told others that it holds, as a file of changes: a restart goes on from there, so
// that nobody has to be told again. Format: docs/cache-format.md.
#pragma once

#include "base/bytes.hpp"
#include "gossip/records.hpp"

#include <cstdint>
#include <optional>
#include <set>

namespace waggle::node {

/// The changes added up.
class ToldLogState {
 public:
  void apply(const gossip::LogTold& change);
  /// For the next process; nullopt while nothing was told.
  [[nodiscard]] std::optional<gossip::ToldLog> log() const;
  /// As one change that holds everything.
  [[nodiscard]] gossip::LogTold whole() const;

 private:
  std::uint64_t incarnation_ = 0;
  std::uint64_t seq_ = 0;
  std::set<Id64> ids_;
};

/// A change as it stands in the file.
[[nodiscard]] Bytes encode_told(const gossip::LogTold& change);

struct ToldFile {
  ToldLogState state;
  std::size_t good_bytes = 0;  ///< up to here whole changes with true checksums were read
};
/// Reads what it can: a torn or damaged end is left out, and with it what came after it.
[[nodiscard]] ToldFile read_told(ByteView file);

}  // namespace waggle::node
