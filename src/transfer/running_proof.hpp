// The proof of a whole blob as it grows: midstates from the first chunk on, taken from verified
// links where possible
// and hashed otherwise. Used by the swarm.
#pragma once

#include "base/bitfield.hpp"
#include "base/blob_layout.hpp"
#include "base/digest.hpp"
#include "base/sha256.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace waggle::transfer {

/// Passes the contiguous prefix of present chunks. A chunk that was verified as a link from exactly
/// the state the
/// prefix has reached needs no hashing.
class RunningProof {
 public:
  enum class Verdict : std::uint8_t { open, proven, refuted };
  struct Job {
    ChunkIndex chunk{};
    Midstate begin;
  };

  RunningProof() = default;
  RunningProof(const Digest& digest, const BlobLayout& layout);

  /// The chunk is present and was verified as a link from `begin` to `end` (nullopt: to the
  /// digest).
  void add_link(ChunkIndex chunk, const Midstate& begin, std::optional<Midstate> end);
  /// Goes on as far as links reach; then, unless one is outstanding, the chunk to hash next if it
  /// is present.
  [[nodiscard]] std::optional<Job> advance(const Bitfield& have);
  /// The outstanding job's answer.
  void hashed(ChunkIndex chunk, std::optional<Midstate> end, std::optional<Digest> digest);

  [[nodiscard]] Verdict verdict() const { return verdict_; }
  [[nodiscard]] std::uint32_t prefix() const { return prefix_; }
  /// Entries so far in list form (proof.hpp); whole once proven.
  [[nodiscard]] std::span<const Midstate> midstates() const { return midstates_; }

 private:
  struct Link {
    Midstate begin;
    std::optional<Midstate> end;
  };
  void pass(std::optional<Midstate> end);

  Digest digest_;
  BlobLayout layout_;
  Verdict verdict_ = Verdict::open;
  std::uint32_t prefix_ = 0;  ///< chunks passed
  Midstate running_;
  std::vector<Midstate> midstates_;
  std::map<ChunkIndex, Link> links_;  ///< of chunks beyond the prefix
  bool hashing_ = false;
};

}  // namespace waggle::transfer
