// The cut of blobs at the sizes where the rule changes.
#include "base/blob_layout.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::limits;

TEST_SUITE("base/blob_layout") {
  TEST_CASE("chunk size follows clamp(pow2floor(size/512), 256 KiB, 4 MiB)") {
    CHECK(BlobLayout(0).chunk_count() == 1);
    CHECK(BlobLayout(0).chunk_size(ChunkIndex{0}) == 0);
    CHECK(BlobLayout(MiB - 1).chunk_count() == 1);
    CHECK(BlobLayout(MiB).chunk_bytes() == 256 * KiB);
    CHECK(BlobLayout(MiB).chunk_count() == 4);
    CHECK(BlobLayout(256 * MiB - 1).chunk_bytes() == 256 * KiB);
    CHECK(BlobLayout(256 * MiB).chunk_bytes() == 512 * KiB);
    CHECK(BlobLayout(512 * MiB).chunk_bytes() == MiB);
    CHECK(BlobLayout(100 * GiB).chunk_bytes() == 4 * MiB);
  }

  TEST_CASE("chunks and extents cover the blob once") {
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, MiB - 1, MiB, MiB + 1,
                                     16 * MiB, 16 * MiB + 1, 100 * MiB + 7, 3 * GiB + 5}) {
      const BlobLayout layout(size);
      std::uint64_t total = 0;
      for (std::uint32_t i = 0; i < layout.chunk_count(); ++i) {
        CHECK(layout.chunk_offset(ChunkIndex{i}) == total);
        total += layout.chunk_size(ChunkIndex{i});
      }
      CHECK(total == size);
      std::uint32_t chunks = 0;
      for (std::uint32_t i = 0; i < layout.extent_count(); ++i) {
        CHECK(to_value(layout.extent_first_chunk(ExtentIndex{i})) == chunks);
        chunks += layout.extent_chunk_count(ExtentIndex{i});
      }
      CHECK(chunks == layout.chunk_count());
    }
  }
}
