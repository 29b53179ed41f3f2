// Blocks of chunks on their way.
#include "transfer/downloads.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::transfer;

namespace {

constexpr std::uint32_t block = limits::block_bytes;
constexpr SessionId ann{1};
constexpr SessionId bob{2};
constexpr ChunkIndex seven{7};

TimePoint at(int seconds) { return TimePoint{} + std::chrono::seconds(seconds); }

}  // namespace

TEST_SUITE("transfer/downloads") {
  TEST_CASE("blocks are asked once, in order, and the last one that comes completes the chunk") {
    Downloads downloads;
    downloads.start(ann, {}, seven, 2 * block + 5, at(0), at(1));
    CHECK(downloads.next_request(ann)->offset == 0);
    CHECK(downloads.next_request(ann)->offset == block);
    const auto last = downloads.next_request(ann);
    CHECK(last->offset == 2 * block);
    CHECK(last->length == 5);
    CHECK_FALSE(downloads.next_request(ann));
    CHECK(downloads.block(ann, seven, 2 * block, 5) == Downloads::Block::stored);
    CHECK(downloads.block(ann, seven, 0, block) == Downloads::Block::stored);
    CHECK(downloads.block(ann, seven, 0, block) == Downloads::Block::unwanted);
    CHECK(downloads.block(ann, seven, block, block) == Downloads::Block::complete);
    CHECK(downloads.block(ann, seven, block, block) == Downloads::Block::unwanted);
    downloads.check_invariants();
  }

  TEST_CASE("blocks nobody asked for and blocks of another shape are unwanted") {
    Downloads downloads;
    downloads.start(ann, {}, seven, 2 * block, at(0), at(1));
    CHECK(downloads.block(ann, seven, 0, block) == Downloads::Block::unwanted);
    (void)downloads.next_request(ann);
    CHECK(downloads.block(bob, seven, 0, block) == Downloads::Block::unwanted);
    CHECK(downloads.block(ann, ChunkIndex{8}, 0, block) == Downloads::Block::unwanted);
    CHECK(downloads.block(ann, seven, 1, block) == Downloads::Block::unwanted);
    CHECK(downloads.block(ann, seven, 0, block - 1) == Downloads::Block::unwanted);
    CHECK(downloads.block(ann, seven, block, block) == Downloads::Block::unwanted);
    CHECK(downloads.block(ann, seven, 0, block) == Downloads::Block::stored);
  }

  TEST_CASE("a late download frees its chunk and still takes what comes") {
    Downloads downloads;
    downloads.start(ann, {}, seven, 2 * block, at(0), at(1));
    (void)downloads.next_request(ann);
    (void)downloads.next_request(ann);
    CHECK(downloads.block(ann, seven, 0, block) == Downloads::Block::stored);
    CHECK(downloads.overdue(at(0)).empty());
    REQUIRE(downloads.overdue(at(1)).size() == 1);
    CHECK(downloads.make_late(ann, seven) == 1);
    CHECK(downloads.live_sources_of(seven) == 0);
    downloads.start(bob, {}, seven, 2 * block, at(1), at(2));
    CHECK(downloads.sources_of(seven).size() == 2);
    CHECK(downloads.bytes() == 4 * block);
    CHECK(downloads.block(ann, seven, block, block) == Downloads::Block::complete);
    CHECK(downloads.erase(ann, seven) == 0);
    CHECK(downloads.erase(bob, seven) == 0);
    CHECK(downloads.empty());
    CHECK(downloads.bytes() == 0);
    downloads.check_invariants();
  }
}
