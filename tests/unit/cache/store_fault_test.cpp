// The store when things go wrong: every operation fails once, every operation is the last before a power cut, and long
// random lives against a model.
#include "base/limits.hpp"
#include "memory_file_ops.hpp"
#include "store_fixture.hpp"

#include <algorithm>

using namespace waggle;
using namespace waggle::cache;

namespace {

const std::string root = "/d";

/// Everything the store calls complete must hold exactly its digest's bytes.
void check_complete(StoreDriver& store, const std::vector<StoredBlob>& found) {
  for (const auto& blob : found) {
    const auto bytes = read_whole(store, blob.digest);
    REQUIRE(bytes);
    REQUIRE(sha256_of(*bytes) == blob.digest);
  }
}

bool lists(const Recovered& found, const Digest& digest) {
  return std::any_of(found.blobs.begin(), found.blobs.end(),
                     [&](const auto& blob) { return blob.digest == digest; });
}

struct Outcome {
  bool committed = false;
};

/// A life: start, resume what is there, store `blob`, remove `doomed`. Goes on after errors as the node would.
Outcome live_through(StoreDriver& store, const TestBlob& blob, const TestBlob& doomed) {
  Outcome outcome;
  static_cast<void>(store.recover());
  const auto partial = store.begin(blob.digest, test_origin, blob.bytes.size());
  if (partial) {
    for (std::uint32_t i = 0; i < blob.chunk_count(); ++i) {
      if (write(*partial, blob, i)) static_cast<void>((*partial)->add_link(ChunkIndex{i}, blob.midstate(i)));
    }
    static_cast<void>((*partial)->read_chunk(ChunkIndex{0}));
    outcome.committed = store.commit(*partial, blob.midstates).has_value();
  }
  static_cast<void>(store.set_pinned(blob.digest, true));
  static_cast<void>(store.remove(doomed.digest));
  static_cast<void>(store.read_midstates(blob.digest));
  static_cast<void>(store.disk_stats());
  return outcome;
}

/// Ends with `blob` complete, whatever happened before; a damaged or corrupt partial costs one more round.
void must_finish(StoreDriver& store, const TestBlob& blob) {
  for (int round = 0; round < 3; ++round) {
    const auto partial = store.begin(blob.digest, test_origin, blob.bytes.size());
    if (!partial) {
      REQUIRE(partial.error() == CacheError::already_stored);
      break;
    }
    REQUIRE(write_missing(*partial, blob));
    if (store.commit(*partial, blob.midstates)) break;
    REQUIRE_FALSE((*partial)->take_dropped().empty());
  }
  REQUIRE(read_whole(store, blob.digest) == blob.bytes);
}

}  // namespace

TEST_SUITE("cache/store_faults") {
  TEST_CASE("whichever operation fails: nothing wrong is complete, nothing committed is lost, the next try succeeds") {
    const TestBlob old_blob(3000, 1);
    const TestBlob doomed(2000, 2);
    const TestBlob blob(limits::MiB + 5, 3);
    for (const auto error : {CacheError::io, CacheError::disk_full}) {
      for (std::uint64_t ordinal = 0;; ++ordinal) {
        CAPTURE(ordinal);
        MemoryFileOps ops;
        {
          const auto store = must_open(root, ops);
          REQUIRE(store_whole(*store, old_blob));
          REQUIRE(store_whole(*store, doomed));
          // A partial to resume, so that its path fails too.
          REQUIRE(write(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob, 2));
        }
        ops.fail_at(ordinal, error);
        {
          const auto store = StoreDriver::open(root, ops);
          if (store) {
            const Outcome outcome = live_through(**store, blob, doomed);
            const bool happened = ops.fault_happened();
            ops.clear_faults();
            if (outcome.committed) REQUIRE(read_whole(**store, blob.digest) == blob.bytes);
            REQUIRE(read_whole(**store, old_blob.digest) == old_blob.bytes);
            must_finish(**store, blob);
            if (!happened) {
              REQUIRE(ordinal > 40);  // the life is long enough to mean something
              break;
            }
          }
          ops.clear_faults();
        }
        REQUIRE(ops.open_count() == 0);
        const auto store = must_open(root, ops);
        const auto found = store->recover();
        REQUIRE(found);
        check_complete(*store, found->blobs);
        REQUIRE(lists(*found, old_blob.digest));
        must_finish(*store, blob);
      }
    }
  }

  TEST_CASE("whenever the power goes: what is complete is right, what was committed is there, the rest can be finished") {
    const TestBlob old_blob(3000, 1);
    const TestBlob doomed(2000, 2);
    const TestBlob blob(limits::MiB + 5, 3);
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      bool ended = false;
      for (std::uint64_t ordinal = 0; !ended; ++ordinal) {
        CAPTURE(seed);
        CAPTURE(ordinal);
        Prng prng(mix_seed(seed * 1000 + ordinal));
        MemoryFileOps ops;
        {
          const auto store = must_open(root, ops);
          REQUIRE(store_whole(*store, old_blob));
          REQUIRE(store_whole(*store, doomed));
          REQUIRE(write(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob, 2));
        }
        ops.halt_at(ordinal);
        Outcome outcome;
        {
          const auto store = StoreDriver::open(root, ops);
          if (store) outcome = live_through(**store, blob, doomed);
          ended = !ops.fault_happened();
          ops.crash(prng);
        }
        const auto store = must_open(root, ops);
        const auto found = store->recover();
        REQUIRE(found);
        check_complete(*store, found->blobs);
        REQUIRE(lists(*found, old_blob.digest));
        if (outcome.committed) REQUIRE(lists(*found, blob.digest));
        for (const auto& partial : found->partials) REQUIRE(partial.digest == blob.digest);
        must_finish(*store, blob);
        REQUIRE(store->read_midstates(blob.digest)->midstates == blob.midstates);
      }
    }
  }

  TEST_CASE("a failed sync of the data damages the partial for good: its bytes are never committed") {
    const TestBlob blob(limits::MiB, 4);
    MemoryFileOps ops;
    const auto store = must_open(root, ops);
    const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
    REQUIRE(write_missing(*partial, blob));
    ops.fail_at(0, CacheError::io);  // commit's first operation: every chunk was written by this process
    CHECK(store->commit(*partial, blob.midstates).error() == CacheError::io);
    CHECK(store->commit(*partial, blob.midstates).error() == CacheError::closed);
    CHECK(store->begin(blob.digest, test_origin, blob.bytes.size()));  // anew, though the old handle is alive
    CHECK(store->recover()->blobs.empty());
  }

  TEST_CASE("a full disk fails the chunk, keeps the others, and the same chunk fits once there is room") {
    const TestBlob blob(limits::MiB, 5);
    MemoryFileOps ops;
    const auto store = must_open(root, ops);
    const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
    REQUIRE(write(*partial, blob, 0));
    for (const std::uint64_t ordinal : {0U, 1U}) {  // the data, then the journal record
      ops.fail_at(ordinal, CacheError::disk_full);
      CHECK(write(*partial, blob, 1).error() == CacheError::disk_full);
      CHECK((*partial)->held().count() == 1);
      CHECK((*partial)->read_chunk(ChunkIndex{1}).error() == CacheError::not_held);
    }
    ops.clear_faults();
    CHECK(write(*partial, blob, 1));
    CHECK(*(*partial)->read_chunk(ChunkIndex{1}) == to_bytes(blob.chunk(1)));
    CHECK(store->recover()->partials.at(0).held.count() == 2);  // the journal has no gap
  }

  TEST_CASE("behind a broken journal record nothing comes back, not even when the same record is written again") {
    const TestBlob blob(2 * limits::MiB, 7);
    const std::string journal = StorePaths(root).partial(blob.digest, test_origin) + "/journal";
    MemoryFileOps ops;
    {
      const auto store = must_open(root, ops);
      REQUIRE(write_missing(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob));
    }
    ops.rot(journal, ops.stat(journal)->size / 2);
    std::uint32_t held = 0;
    {
      const auto store = must_open(root, ops);
      const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
      held = static_cast<std::uint32_t>((*partial)->held().count());
      REQUIRE(held + 2 < blob.chunk_count());
      REQUIRE(write(*partial, blob, held));
    }
    const auto store = must_open(root, ops);
    CHECK(store->recover()->partials.at(0).held.count() == held + 1);
  }

  TEST_CASE("a chunk that was rewritten while its rotten bytes were being checked stays") {
    const TestBlob blob(limits::MiB, 8);
    MemoryFileOps ops;
    {
      const auto store = must_open(root, ops);
      REQUIRE(write_missing(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob));
    }
    ops.rot(StorePaths(root).partial(blob.digest, test_origin) + "/data", 5);
    const auto store = must_open(root, ops);
    const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
    ops.after_next_read([&] { REQUIRE(write(*partial, blob, 0)); });
    CHECK(*(*partial)->read_chunk(ChunkIndex{0}) == to_bytes(blob.chunk(0)));
    CHECK((*partial)->take_dropped().empty());
  }

  TEST_CASE("an I/O error while a resumed chunk is checked gives the chunk up, so that it can be fetched again") {
    const TestBlob blob(limits::MiB, 9);
    MemoryFileOps ops;
    {
      const auto store = must_open(root, ops);
      REQUIRE(write_missing(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob));
    }
    const auto store = must_open(root, ops);
    const auto partial = store->begin(blob.digest, test_origin, blob.bytes.size());
    ops.fail_at(0, CacheError::io);
    CHECK((*partial)->read_chunk(ChunkIndex{2}).error() == CacheError::io);
    CHECK((*partial)->take_dropped() == std::vector{ChunkIndex{2}});
    ops.clear_faults();
    REQUIRE(write(*partial, blob, 2));
    REQUIRE(store->commit(*partial, blob.midstates));
  }

  TEST_CASE("another origin's partial of a blob that is complete by now is a leftover") {
    const TestBlob blob(limits::MiB, 10);
    MemoryFileOps ops;
    {
      const auto store = must_open(root, ops);
      REQUIRE(write(*store->begin(blob.digest, "other", blob.bytes.size()), blob, 0));
      REQUIRE(store_whole(*store, blob));
    }
    const auto store = must_open(root, ops);
    const auto found = store->recover();
    CHECK(found->blobs.size() == 1);
    CHECK(found->partials.empty());
    CHECK(found->removed == 1);
  }

  TEST_CASE("two origins may complete the same blob; the second changes nothing for its readers") {
    const TestBlob blob(limits::MiB, 11);
    MemoryFileOps ops;
    const auto store = must_open(root, ops);
    const auto slow = store->begin(blob.digest, "other", blob.bytes.size());
    REQUIRE(write_missing(*slow, blob));
    REQUIRE(store_whole(*store, blob));
    const auto reader = store->open_blob(blob.digest);
    REQUIRE(store->commit(*slow, blob.midstates));
    Bytes out(blob.bytes.size());
    REQUIRE((*reader)->read(0, out));
    CHECK(out == blob.bytes);
    CHECK(read_whole(*store, blob.digest) == blob.bytes);
  }

  TEST_CASE("the journal of a partial whose data file was never sized is a leftover") {
    const TestBlob blob(limits::MiB, 6);
    MemoryFileOps ops;
    {
      const auto store = must_open(root, ops);
      REQUIRE(write(*store->begin(blob.digest, test_origin, blob.bytes.size()), blob, 0));
    }
    const std::string directory = StorePaths(root).partial(blob.digest, test_origin);
    const auto data = ops.open(directory + "/data", OpenMode::update);
    REQUIRE(ops.truncate(*data, 17));
    ops.close(*data);
    const auto store = must_open(root, ops);
    const auto found = store->recover();
    CHECK(found->partials.empty());
    CHECK(found->removed == 1);
    CHECK(ops.open(directory + "/journal", OpenMode::read).error() == CacheError::not_found);
  }
}
