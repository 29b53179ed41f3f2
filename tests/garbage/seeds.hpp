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
enum class Kind { random, truncated, flipped, replayed, oversized, silent };

[[nodiscard]] Kind kind_of(const std::string& name);

/// A file of records: 'd' (datagram) or 's' (start of a dialled stream), u16 length, bytes.
struct Seeds {
  std::vector<Blob> datagrams;
  std::vector<Blob> streams;

  [[nodiscard]] static Seeds load(const std::string& path);
  void save(const std::string& path) const;
};

/// Fills `out` with garbage of a kind, made from one of `seeds`.
/// @param most  bytes of random garbage
void make(Kind kind, const std::vector<Blob>& seeds, std::size_t most, std::mt19937_64& random,
          Blob& out);

}  // namespace waggle::garbage
