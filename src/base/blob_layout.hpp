// How a blob is cut: chunks (verified units), blocks (pull requests) and extents (upstream ranges).
#pragma once

#include "base/ids.hpp"
#include "base/limits.hpp"

#include <cstdint>

namespace waggle {

/// The cut of a blob of known size; a pure function of the size, so every node computes the same.
/// chunk = clamp(pow2floor(size / 512), 256 KiB, 4 MiB); a blob below 1 MiB is one chunk; an empty
/// blob has one chunk of 0 bytes.
class BlobLayout {
 public:
  BlobLayout() = default;
  /// @pre size <= limits::blob_bytes_max
  explicit BlobLayout(std::uint64_t size);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t chunk_bytes() const { return chunk_bytes_; }
  [[nodiscard]] std::uint32_t chunk_count() const { return chunk_count_; }
  [[nodiscard]] std::uint64_t chunk_offset(ChunkIndex chunk) const;
  /// Bytes of this chunk: chunk_bytes() except for the last.
  [[nodiscard]] std::uint64_t chunk_size(ChunkIndex chunk) const;
  /// The chunk that holds byte `offset`. @pre offset < size(), or size() == 0
  [[nodiscard]] ChunkIndex chunk_at(std::uint64_t offset) const;

  [[nodiscard]] std::uint32_t extent_count() const;
  [[nodiscard]] std::uint64_t extent_offset(ExtentIndex extent) const;
  [[nodiscard]] std::uint64_t extent_size(ExtentIndex extent) const;
  [[nodiscard]] ExtentIndex extent_of(ChunkIndex chunk) const;
  /// Chunks [first, first + count) of an extent; extents are whole chunks.
  [[nodiscard]] ChunkIndex extent_first_chunk(ExtentIndex extent) const;
  [[nodiscard]] std::uint32_t extent_chunk_count(ExtentIndex extent) const;
  bool operator==(const BlobLayout&) const = default;

 private:
  std::uint64_t size_ = 0;
  std::uint64_t chunk_bytes_ = limits::chunk_bytes_min;
  std::uint32_t chunk_count_ = 1;
};

}  // namespace waggle
