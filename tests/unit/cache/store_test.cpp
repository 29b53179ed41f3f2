// The store on a real directory: what users of the API see.
#include "base/limits.hpp"
#include "memory_file_ops.hpp"
#include "store_fixture.hpp"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

using namespace waggle;
using namespace waggle::cache;
namespace fs = std::filesystem;

namespace {

/// A directory that goes with the test.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = fs::temp_directory_path() / "waggle-cache-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() { fs::remove_all(path_); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string data() const { return path_ + "/data"; }

 private:
  std::string path_;
};

std::unique_ptr<StoreDriver> open_real(const ScratchDirectory& scratch) {
  return must_open(scratch.data(), posix_file_ops());
}

std::size_t files_below(const std::string& directory) {
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) ++count;
  }
  return count;
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_SUITE("cache/store_driver") {
  TEST_CASE(
      "a blob of any size goes in chunk by chunk, in any order, and comes out whole and "
      "read-only") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    for (const std::uint64_t size : {0ULL, 1ULL, 1000ULL, 1ULL << 20U, (3ULL << 20U) + 17}) {
      CAPTURE(size);
      const TestBlob blob(size, size + 1);
      const auto partial = store->begin(blob.digest, test_origin, size);
      REQUIRE(partial);
      CHECK((*partial)->take_resumed().empty());
      for (std::uint32_t i = blob.chunk_count(); i-- > 0;) REQUIRE(write(*partial, blob, i));
      CHECK((*partial)->held().all());
      REQUIRE(store->commit(*partial, blob.midstates));
      CHECK(read_whole(*store, blob.digest) == blob.bytes);
      const std::string hex = blob.digest.hex();
      const std::string path = scratch.data() + "/blobs/sha256/" + hex.substr(0, 2) + "/" + hex;
      struct stat info {};
      REQUIRE(::stat(path.c_str(), &info) == 0);
      CHECK((info.st_mode & 0777U) == 0444U);
      CHECK(store->read_midstates(blob.digest)->midstates == blob.midstates);
      CHECK(store->begin(blob.digest, test_origin, size).error() == CacheError::already_stored);
      CHECK(store->begin(blob.digest, "other", size).error() == CacheError::already_stored);
    }
    CHECK(files_below(scratch.data() + "/partial") == 0);
  }

  TEST_CASE(
      "a restart finds blobs, pins, and the chunks of a partial with their proofs and links") {
    const ScratchDirectory scratch;
    const TestBlob whole(5000, 1);
    const TestBlob started(2 * limits::MiB, 2);
    {
      const auto store = open_real(scratch);
      REQUIRE(store_whole(*store, whole));
      REQUIRE(store->set_pinned(whole.digest, true));
      const auto partial = store->begin(started.digest, test_origin, started.bytes.size());
      REQUIRE(partial);
      for (const std::uint32_t i : {1U, 4U, 6U}) REQUIRE(write(*partial, started, i));
      REQUIRE((*partial)->add_link(ChunkIndex{4}, started.midstate(4)));
      CHECK((*partial)->add_link(ChunkIndex{2}, started.midstate(2)).error() ==
            CacheError::not_held);
    }
    const auto store = open_real(scratch);
    const auto found = store->recover();
    REQUIRE(found);
    REQUIRE(found->blobs.size() == 1);
    CHECK(found->blobs[0].digest == whole.digest);
    CHECK(found->blobs[0].size == 5000);
    CHECK(found->blobs[0].pinned);
    CHECK(found->blobs[0].last_use > 1'600'000'000);
    CHECK(found->pins == std::vector{whole.digest});
    REQUIRE(found->partials.size() == 1);
    CHECK(found->partials[0].digest == started.digest);
    CHECK(found->partials[0].origin == test_origin);
    CHECK(found->partials[0].held_bytes == 3 * 256 * limits::KiB);
    CHECK(found->removed == 0);

    const auto partial = store->begin(started.digest, test_origin, started.bytes.size());
    REQUIRE(partial);
    const auto resumed = (*partial)->take_resumed();
    REQUIRE(resumed.size() == 3);
    CHECK((*partial)->take_resumed().empty());
    CHECK(resumed[1].chunk == ChunkIndex{4});
    CHECK(resumed[1].kind == ProofKind::crec);
    CHECK(resumed[1].proof == started.proof(4));
    CHECK(resumed[1].end == started.midstate(4));
    CHECK_FALSE(resumed[0].end);
    const std::uint64_t chunk_bytes = started.layout.chunk_bytes();
    CHECK_FALSE((*partial)->is_checked(4 * chunk_bytes, 1));
    CHECK((*partial)->check(4 * chunk_bytes, chunk_bytes));
    CHECK((*partial)->is_checked(4 * chunk_bytes, chunk_bytes));
    CHECK_FALSE((*partial)->is_checked(4 * chunk_bytes, chunk_bytes + 1));
    CHECK((*partial)->check(4 * chunk_bytes, chunk_bytes + 1).error() == CacheError::not_held);
    CHECK(*(*partial)->read_chunk(ChunkIndex{6}) == to_bytes(started.chunk(6)));
    REQUIRE(write_missing(*partial, started));
    REQUIRE(store->commit(*partial, started.midstates));
    CHECK(read_whole(*store, started.digest) == started.bytes);
  }

  TEST_CASE(
      "a chunk that rotted while the daemon was down is dropped at its first read, and can be "
      "written again") {
    const ScratchDirectory scratch;
    const TestBlob blob(2 * limits::MiB, 3);
    const auto data_path = [&] {
      for (const auto& entry : fs::recursive_directory_iterator(scratch.data() + "/partial")) {
        if (entry.path().filename() == "data") return entry.path().string();
      }
      return std::string();
    };
    {
      const auto store = open_real(scratch);
      const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
      REQUIRE(partial);
      REQUIRE(write_missing(*partial, blob));
    }
    {
      std::fstream file(data_path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(2 * 256 * 1024 + 5);
      file.put('\x7f');
      file.seekp(5 * 256 * 1024 + 5);
      file.put('\x7f');
    }
    const auto store = open_real(scratch);
    const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
    REQUIRE(partial);
    CHECK((*partial)->held().all());
    Bytes out(3);
    CHECK((*partial)->read(2 * 256 * limits::KiB - 1, out).error() == CacheError::corrupt);
    CHECK((*partial)->take_dropped() == std::vector{ChunkIndex{2}});
    CHECK((*partial)->read(2 * 256 * limits::KiB - 1, out).error() == CacheError::not_held);
    REQUIRE(write(*partial, blob, 2));
    REQUIRE((*partial)->read(2 * 256 * limits::KiB - 1, out));
    CHECK(out == to_bytes(ByteView(blob.bytes).subspan(2 * 256 * limits::KiB - 1, 3)));
    // Nobody read chunk 5: commit does.
    CHECK(store->commit(*partial, blob.midstates).error() == CacheError::corrupt);
    CHECK((*partial)->take_dropped() == std::vector{ChunkIndex{5}});
    CHECK(store->commit(*partial, blob.midstates).error() == CacheError::incomplete);
    REQUIRE(write(*partial, blob, 5));
    REQUIRE(store->commit(*partial, blob.midstates));
    CHECK(read_whole(*store, blob.digest) == blob.bytes);
  }

  TEST_CASE("a dropped chunk stays dropped after the next restart") {
    MemoryFileOps ops;
    const TestBlob blob(limits::MiB, 4);
    const std::string data = StorePaths("/d").partial(blob.digest, test_origin) + "/data";
    {
      const auto store = must_open("/d", ops);
      REQUIRE(write_missing(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob));
    }
    ops.rot(data, 300'000);
    {
      const auto store = must_open("/d", ops);
      const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
      CHECK((*partial)->read_chunk(ChunkIndex{1}).error() == CacheError::corrupt);
    }
    const auto store = must_open("/d", ops);
    CHECK(store->recover()->partials.at(0).held.count() == 3);
  }

  TEST_CASE("two daemons cannot share a data directory") {
    const ScratchDirectory scratch;
    auto first = open_real(scratch);
    CHECK(StoreDriver::open(scratch.data()).error() == CacheError::locked);
    first.reset();
    CHECK(StoreDriver::open(scratch.data()));
  }

  TEST_CASE("one handle per partial at a time; another origin is another partial") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const TestBlob blob(100, 5);
    auto first = store->begin(blob.digest, "a", 100);
    REQUIRE(first);
    CHECK(store->begin(blob.digest, "a", 100).error() == CacheError::busy);
    CHECK(store->remove_partial(blob.digest, "a").error() == CacheError::busy);
    CHECK(store->begin(blob.digest, "b", 100));
    first->reset();
    CHECK(store->begin(blob.digest, "a", 100));
    CHECK(store->remove_partial(blob.digest, "a"));
    CHECK(store->remove_partial(blob.digest, "a").error() == CacheError::not_found);
  }

  TEST_CASE("arguments that fit no blob are refused") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const TestBlob blob(limits::MiB, 6);
    CHECK(store->begin(blob.digest, std::string(limits::origin_bytes_max + 1, 'o'), 1).error() ==
          CacheError::invalid);
    CHECK(store->begin(blob.digest, "o", limits::blob_bytes_max + 1).error() ==
          CacheError::invalid);
    const auto partial =
        store->begin(blob.digest, std::string(limits::origin_bytes_max, 'o'), limits::MiB);
    REQUIRE(partial);
    const ByteView chunk = blob.chunk(0);
    const Bytes proof(limits::journal_proof_bytes_max + 1);
    CHECK((*partial)->write_chunk(ChunkIndex{4}, chunk, ProofKind::own, {}).error() ==
          CacheError::invalid);
    CHECK((*partial)->write_chunk(ChunkIndex{0}, chunk.first(9), ProofKind::own, {}).error() ==
          CacheError::invalid);
    CHECK((*partial)->write_chunk(ChunkIndex{0}, chunk, ProofKind::own, proof).error() ==
          CacheError::invalid);
    CHECK(
        (*partial)->write_chunk(ChunkIndex{0}, chunk, ProofKind::own, ByteView(proof).first(256)));
    Bytes out(2);
    CHECK((*partial)->read(limits::MiB - 1, out).error() == CacheError::invalid);
    CHECK((*partial)->read(UINT64_MAX, out).error() == CacheError::invalid);
    CHECK((*partial)->read(limits::MiB, MutableByteView()));
    CHECK((*partial)->read_chunk(ChunkIndex{4}).error() == CacheError::invalid);
    CHECK((*partial)->read_chunk(ChunkIndex{1}).error() == CacheError::not_held);
    CHECK((*partial)->add_link(ChunkIndex{4}, {}).error() == CacheError::invalid);
    CHECK(store->commit(*partial, {}).error() == CacheError::incomplete);
    REQUIRE(write_missing(*partial, blob));
    CHECK(store->commit(*partial, std::vector<Midstate>(5)).error() == CacheError::invalid);
    CHECK(store->write_midstates({blob.digest, 3, std::vector<Midstate>(2)}).error() ==
          CacheError::invalid);
  }

  TEST_CASE("an abandoned partial leaves nothing and its handles say closed") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const TestBlob blob(limits::MiB, 7);
    const auto partial = store->begin(blob.digest, test_origin, limits::MiB);
    REQUIRE(write(*partial, blob, 0));
    REQUIRE(store->abandon(*partial));
    CHECK(files_below(scratch.data() + "/partial") == 0);
    CHECK(write(*partial, blob, 1).error() == CacheError::closed);
    CHECK((*partial)->read_chunk(ChunkIndex{0}).error() == CacheError::closed);
    CHECK(store->commit(*partial, {}).error() == CacheError::closed);
    const auto again = store->begin(blob.digest, test_origin, limits::MiB);
    REQUIRE(again);
    CHECK((*again)->held().none());
    CHECK(store->abandon(
        *partial));  // the old handle once more: it must not take the new one's files
    REQUIRE(write_missing(*again, blob));
    REQUIRE(store->commit(*again, blob.midstates));
    CHECK(read_whole(*store, blob.digest) == blob.bytes);
  }

  TEST_CASE("a committed handle goes on reading and writes nothing more") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const TestBlob blob(limits::MiB, 8);
    const auto partial = store->begin(blob.digest, test_origin, limits::MiB);
    REQUIRE(write_missing(*partial, blob));
    REQUIRE(store->commit(*partial, blob.midstates));
    CHECK(*(*partial)->read_chunk(ChunkIndex{3}) == to_bytes(blob.chunk(3)));
    CHECK(write(*partial, blob, 1));  // it is held
    CHECK((*partial)->add_link(ChunkIndex{0}, {}).error() == CacheError::closed);
    CHECK(store->commit(*partial, {}).error() == CacheError::closed);
    CHECK(store->abandon(*partial).error() == CacheError::closed);
    CHECK(read_whole(*store, blob.digest) == blob.bytes);
  }

  TEST_CASE("a partial of another size is replaced") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const TestBlob blob(limits::MiB, 9);
    REQUIRE(write(*store->begin(blob.digest, test_origin, limits::MiB), blob, 0));
    const auto partial = store->begin(blob.digest, test_origin, 2 * limits::MiB);
    REQUIRE(partial);
    CHECK((*partial)->held().none());
    CHECK((*partial)->held().size() == 8);
  }

  TEST_CASE("a removed blob is gone, its open readers and its midstates are not") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const TestBlob blob(limits::MiB, 10);
    REQUIRE(store_whole(*store, blob));
    const auto reader = store->open_blob(blob.digest);
    REQUIRE(store->touch(blob.digest));
    REQUIRE(store->remove(blob.digest));
    CHECK(store->remove(blob.digest).error() == CacheError::not_found);
    CHECK(store->touch(blob.digest).error() == CacheError::not_found);
    CHECK(store->open_blob(blob.digest).error() == CacheError::not_found);
    Bytes out(limits::MiB);
    REQUIRE((*reader)->read(0, out));
    CHECK(out == blob.bytes);
    CHECK((*reader)->read(1, out).error() == CacheError::invalid);
    CHECK(store->read_midstates(blob.digest)->midstates == blob.midstates);
    CHECK(store->recover()->blobs.empty());
    REQUIRE(store_whole(*store, blob));
    CHECK(read_whole(*store, blob.digest) == blob.bytes);
  }

  TEST_CASE(
      "recovery trusts nothing that was not renamed into place, and leaves alone what is not "
      "ours") {
    const ScratchDirectory scratch;
    const TestBlob blob(5000, 11);
    { REQUIRE(store_whole(*open_real(scratch), blob)); }
    const std::string root = scratch.data();
    const std::string hex = sha256_of(as_bytes("x")).hex();
    const std::string prefix = root + "/blobs/sha256/" + hex.substr(0, 2);
    fs::create_directories(prefix + "/" + hex);  // a directory where a blob would be
    write_text(prefix + "/readme", "hello");     // not a digest
    fs::create_directories(root + "/blobs/sha256/zz");
    write_text(root + "/blobs/sha256/zz/" + hex, "x");  // a digest in the wrong place
    fs::create_directories(root + "/partial/" + hex + "-" + std::string(32, '0'));  // no journal
    fs::create_directories(root + "/partial/notes");
    write_text(root + "/midstates/" + hex + ".tmp7", "half");
    const auto store = open_real(scratch);
    const auto found = store->recover();
    REQUIRE(found);
    REQUIRE(found->blobs.size() == 1);
    CHECK(found->blobs[0].digest == blob.digest);
    CHECK(found->partials.empty());
    CHECK(found->removed == 2);
    CHECK(fs::exists(prefix + "/readme"));
    CHECK(fs::exists(root + "/partial/notes"));
    CHECK_FALSE(fs::exists(root + "/midstates/" + hex + ".tmp7"));
    CHECK(store->open_blob(sha256_of(as_bytes("x"))).error() == CacheError::corrupt);
  }

  TEST_CASE(
      "a blob whose size is not the proven one is removed at start; a broken sidecar at its first "
      "read") {
    const ScratchDirectory scratch;
    const TestBlob shortened(5000, 12);
    const TestBlob other(5000, 13);
    {
      const auto store = open_real(scratch);
      REQUIRE(store_whole(*store, shortened));
      REQUIRE(store_whole(*store, other));
    }
    const auto blob_path = [&](const TestBlob& blob) {
      return scratch.data() + "/blobs/sha256/" + blob.digest.hex().substr(0, 2) + "/" +
             blob.digest.hex();
    };
    fs::resize_file(blob_path(shortened), 4999);
    fs::resize_file(scratch.data() + "/midstates/" + other.digest.hex(), 40);
    const auto store = open_real(scratch);
    const auto found = store->recover();
    REQUIRE(found->blobs.size() == 1);
    CHECK(found->blobs[0].digest == other.digest);
    CHECK(found->removed == 1);
    CHECK(store->read_midstates(other.digest).error() == CacheError::corrupt);
    CHECK(store->read_midstates(other.digest).error() == CacheError::not_found);
    REQUIRE(store->write_midstates({other.digest, 5000, {}}));
    CHECK(store->read_midstates(other.digest)->size == 5000);
  }

  TEST_CASE("pins come, go and survive a restart, also of blobs that are not there yet") {
    const ScratchDirectory scratch;
    const TestBlob blob(10, 14);
    {
      const auto store = open_real(scratch);
      REQUIRE(store->set_pinned(blob.digest, true));
      REQUIRE(store->set_pinned(sha256_of({}), true));
      REQUIRE(store->set_pinned(sha256_of({}), false));
      REQUIRE(store->set_pinned(sha256_of({}), false));
    }
    const auto store = open_real(scratch);
    CHECK(store->recover()->pins == std::vector{blob.digest});
    REQUIRE(store_whole(*store, blob));
    CHECK(store->recover()->blobs.at(0).pinned);
    REQUIRE(store->remove(blob.digest));
    CHECK(store->recover()->pins.empty());
  }

  TEST_CASE("sha512 blobs live beside sha256 ones") {
    const ScratchDirectory scratch;
    const Digest digest(DigestAlgorithm::sha512, random_bytes(64, 15));
    {
      const auto store = open_real(scratch);
      const auto partial = store->begin(digest, test_origin, 3);
      REQUIRE((*partial)->write_chunk(ChunkIndex{0}, as_bytes("abc"), ProofKind::own, {}));
      REQUIRE(store->commit(*partial, {}));
    }
    const auto store = open_real(scratch);
    CHECK(store->recover()->blobs.at(0).digest == digest);
    CHECK(read_whole(*store, digest) == to_bytes(as_bytes("abc")));
  }

  TEST_CASE("threads write and read chunks of the same and of different blobs at once") {
    const ScratchDirectory scratch;
    const auto store = open_real(scratch);
    const std::vector<TestBlob> blobs = {{4 * limits::MiB, 16}, {4 * limits::MiB, 17}};
    std::vector<PartialHandle> partials;
    for (const auto& blob : blobs)
      partials.push_back(*store->begin(blob.digest, test_origin, blob.bytes.size()));
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint32_t i = 0; i < 16; ++i) {
          // Two threads meet on every chunk of a blob: the second finds it held, or being written.
          const std::uint32_t index = t < 2 ? i : 15 - i;
          const auto written = write(partials[t % 2], blobs[t % 2], index);
          if (!written && written.error() != CacheError::busy) ++failures;
          if (!written) continue;
          const auto read = partials[t % 2]->read_chunk(ChunkIndex{index});
          if (!read || *read != to_bytes(blobs[t % 2].chunk(index))) ++failures;
          if (!partials[t % 2]->add_link(ChunkIndex{index}, blobs[t % 2].midstate(index)))
            ++failures;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(failures == 0);
    for (std::size_t b = 0; b < blobs.size(); ++b) {
      REQUIRE(store->commit(partials[b], blobs[b].midstates));
      CHECK(read_whole(*store, blobs[b].digest) == blobs[b].bytes);
    }
  }

  TEST_CASE("disk statistics are the file system's") {
    const ScratchDirectory scratch;
    const auto stats = open_real(scratch)->disk_stats();
    REQUIRE(stats);
    CHECK(stats->total_bytes > 0);
    CHECK(stats->free_bytes <= stats->total_bytes);
  }

  TEST_CASE("a data directory that cannot be made is an error, not a crash") {
    const ScratchDirectory scratch;
    CHECK(StoreDriver::open(scratch.path() + "/no/such/parent").error() == CacheError::not_found);
    write_text(scratch.path() + "/file", "x");
    CHECK(StoreDriver::open(scratch.path() + "/file").error() == CacheError::io);
  }
}
