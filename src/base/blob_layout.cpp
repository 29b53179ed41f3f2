// The chunk and extent arithmetic.
#include "base/blob_layout.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <bit>

namespace waggle {

BlobLayout::BlobLayout(std::uint64_t size) : size_(size) {
  WAGGLE_ASSERT(size <= limits::blob_bytes_max);
  if (size < limits::single_chunk_below) {
    chunk_bytes_ = limits::single_chunk_below;
  } else {
    chunk_bytes_ =
        std::clamp(std::bit_floor(size / 512), limits::chunk_bytes_min, limits::chunk_bytes_max);
  }
  chunk_count_ = static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, (size + chunk_bytes_ - 1) / chunk_bytes_));
}

std::uint64_t BlobLayout::chunk_offset(ChunkIndex chunk) const {
  return std::uint64_t{to_value(chunk)} * chunk_bytes_;
}

std::uint64_t BlobLayout::chunk_size(ChunkIndex chunk) const {
  WAGGLE_ASSERT(to_value(chunk) < chunk_count_);
  return std::min(chunk_bytes_, size_ - chunk_offset(chunk));
}

ChunkIndex BlobLayout::chunk_at(std::uint64_t offset) const {
  WAGGLE_ASSERT(offset < size_ || size_ == 0);
  return ChunkIndex{static_cast<std::uint32_t>(offset / chunk_bytes_)};
}

std::uint32_t BlobLayout::extent_count() const {
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, (size_ + limits::extent_bytes - 1) / limits::extent_bytes));
}

std::uint64_t BlobLayout::extent_offset(ExtentIndex extent) const {
  return std::uint64_t{to_value(extent)} * limits::extent_bytes;
}

std::uint64_t BlobLayout::extent_size(ExtentIndex extent) const {
  WAGGLE_ASSERT(to_value(extent) < extent_count());
  return std::min(limits::extent_bytes, size_ - extent_offset(extent));
}

ExtentIndex BlobLayout::extent_of(ChunkIndex chunk) const {
  return ExtentIndex{static_cast<std::uint32_t>(chunk_offset(chunk) / limits::extent_bytes)};
}

ChunkIndex BlobLayout::extent_first_chunk(ExtentIndex extent) const {
  return ChunkIndex{static_cast<std::uint32_t>(extent_offset(extent) / chunk_bytes_)};
}

std::uint32_t BlobLayout::extent_chunk_count(ExtentIndex extent) const {
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, (extent_size(extent) + chunk_bytes_ - 1) / chunk_bytes_));
}

}  // namespace waggle
