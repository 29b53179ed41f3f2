// What the blaster starts from: datagrams and dialled streams that a real cluster exchanged, and
// the garbage made of them.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace waggle::garbage {

using Blob = std::vector<unsigned char>;

/// What garbage may be.
enum class Kind { random, truncated, flipped, replayed, late, oversized, silent };

/// Of a dialled stream: preamble, length and first handshake message, which prove the key.
inline constexpr std::size_t proof_bytes = 6 + 2 + 48;

[[nodiscard]] Kind kind_of(const std::string& name);

/// A file of records: 'd' (datagram) or 's' (start of a dialled stream), u16 length, bytes.
struct Seeds {
  std::vector<Blob> datagrams;
  std::vector<Blob> streams;

  [[nodiscard]] static Seeds load(const std::string& path);
  void save(const std::string& path) const;
};

/// Fills `out` with garbage of a kind, made from one of `seeds`.
/// @param spoilt  how far from the start truncation and flipped bits reach: no proof survives
/// @param most    bytes of random garbage
struct Reach {
  std::size_t spoilt;
  std::size_t most;
};
void make(Kind kind, const std::vector<Blob>& seeds, const Reach& reach, std::mt19937_64& random,
          Blob& out);

}  // namespace waggle::garbage
