// Size classes and dense arrays of blocks.
#include "gossip/block_pool.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace waggle::gossip {
namespace {

constexpr std::size_t spare_max = 8;  // further chunks go back to malloc

/// Steps of 8 bytes up to 128, then of an eighth to a sixteenth of the size.
constexpr std::array<std::uint32_t, BlockPool::size_classes> block_sizes = [] {
  std::array<std::uint32_t, BlockPool::size_classes> sizes{};
  std::uint32_t size = 16;
  for (auto& of_class : sizes) {
    of_class = size;
    std::uint32_t step = 8;
    while (step * 16 <= size) step *= 2;
    size += step;
  }
  return sizes;
}();

}  // namespace

BlockPool::BlockPool() {
  for (std::size_t i = 0; i < size_classes; ++i) {
    classes_[i].block_bytes = block_sizes[i];
    classes_[i].per_chunk = static_cast<std::uint32_t>(chunk_bytes / block_sizes[i]);
  }
}

std::uint8_t BlockPool::class_for(std::size_t bytes) {
  const auto found = std::lower_bound(block_sizes.begin(), block_sizes.end(), bytes + header_bytes);
  WAGGLE_ASSERT(found != block_sizes.end());
  return static_cast<std::uint8_t>(found - block_sizes.begin());
}

std::size_t BlockPool::room_of(std::uint8_t size_class) {
  return block_sizes[size_class] - header_bytes;
}

BlockPool::Place BlockPool::allocate(std::uint8_t size_class, std::uint32_t owner) {
  SizeClass& of = classes_[size_class];
  if (of.count == of.chunks.size() * of.per_chunk) {
    if (spare_.empty()) {
      of.chunks.emplace_back(new std::byte[chunk_bytes]);  // not cleared: pages come when used
    } else {
      of.chunks.push_back(std::move(spare_.back()));
      spare_.pop_back();
    }
  }
  const Place place{size_class, of.count++};
  std::memcpy(address(place), &owner, sizeof(owner));
  return place;
}

std::optional<BlockPool::Moved> BlockPool::release(Place place) {
  SizeClass& of = classes_[place.size_class];
  WAGGLE_ASSERT(place.index < of.count);
  const Place last{place.size_class, of.count - 1};
  std::optional<Moved> moved;
  if (last.index != place.index) {
    std::memcpy(address(place), address(last), of.block_bytes);
    moved = Moved{owner(place), place};
  }
  --of.count;
  if (of.count + std::size_t{of.per_chunk} <= of.chunks.size() * of.per_chunk) {
    if (spare_.size() < spare_max) spare_.push_back(std::move(of.chunks.back()));
    of.chunks.pop_back();
  }
  return moved;
}

std::uint32_t BlockPool::owner(Place place) const {
  std::uint32_t owner = 0;
  std::memcpy(&owner, address(place), sizeof(owner));
  return owner;
}

std::size_t BlockPool::memory_bytes() const {
  std::size_t chunks = spare_.size();
  std::size_t pointers = spare_.capacity();
  for (const SizeClass& of : classes_) {
    chunks += of.chunks.size();
    pointers += of.chunks.capacity();
  }
  return chunks * chunk_bytes + pointers * sizeof(std::unique_ptr<std::byte[]>);
}

}  // namespace waggle::gossip
