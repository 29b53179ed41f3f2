// Memory for many small blocks without holes: freeing moves the last block of its size into the
// gap. Part of the content index.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Blocks of 64 sizes, each size dense in chunks of 16 KiB. Sets that grow in step leave
/// their old sizes behind: malloc keeps such holes, here the chunks go to the sizes that need them.
/// The price: whoever owns the moved block is told, and follows it.
class BlockPool {
 public:
  static constexpr std::size_t chunk_bytes = 16 * 1024;
  static constexpr std::size_t header_bytes = 4;  ///< of each block: its owner
  static constexpr std::size_t size_classes = 64;

  /// A block: position in the dense array of its size class.
  struct Place {
    std::uint8_t size_class = 0;
    std::uint32_t index = 0;
  };
  struct Moved {
    std::uint32_t owner;
    Place to;
  };

  BlockPool();
  /// The smallest class with room for `bytes`. @pre bytes <= room_of(size_classes - 1)
  [[nodiscard]] static std::uint8_t class_for(std::size_t bytes);
  /// Bytes that a block of a class holds.
  [[nodiscard]] static std::size_t room_of(std::uint8_t size_class);

  /// Bytes as the last user left them. Places of other blocks stay.
  [[nodiscard]] Place allocate(std::uint8_t size_class, std::uint32_t owner);
  /// Frees a block. The block that took its place, unless it was the last.
  [[nodiscard]] std::optional<Moved> release(Place place);
  [[nodiscard]] std::span<std::byte> bytes(Place place) {
    std::byte* const block = address(place);
    return {block + header_bytes, classes_[place.size_class].block_bytes - header_bytes};
  }
  [[nodiscard]] std::span<const std::byte> bytes(Place place) const {
    return const_cast<BlockPool*>(this)->bytes(place);
  }
  [[nodiscard]] std::uint32_t owner(Place place) const;
  /// Blocks of one class: indices 0..count-1.
  [[nodiscard]] std::uint32_t count(std::uint8_t size_class) const {
    return classes_[size_class].count;
  }
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  struct SizeClass {
    std::uint32_t block_bytes = 0;
    std::uint32_t per_chunk = 0;
    std::uint32_t count = 0;
    std::vector<std::unique_ptr<std::byte[]>> chunks;
  };
  [[nodiscard]] std::byte* address(Place place) const {
    const SizeClass& of = classes_[place.size_class];
    return of.chunks[place.index / of.per_chunk].get() +
           std::size_t{place.index % of.per_chunk} * of.block_bytes;
  }

  std::array<SizeClass, size_classes> classes_;
  std::vector<std::unique_ptr<std::byte[]>> spare_;  // chunks that a class gave back
};

}  // namespace waggle::gossip
