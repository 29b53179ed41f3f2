// Long random lives of the store against a model of what it must hold, with restarts and power cuts between.
#include "base/limits.hpp"
#include "memory_file_ops.hpp"
#include "store_fixture.hpp"

#include <map>
#include <set>

using namespace waggle;
using namespace waggle::cache;

namespace {

const std::string root = "/d";

/// What the store must hold. After a power cut a fact may be lost (chunks) or undone (removals), never invented.
class Life {
 public:
  explicit Life(std::uint64_t seed) : prng_(seed) {
    for (std::uint64_t i = 0; i < 5; ++i) {
      static constexpr std::uint64_t sizes[] = {0, 700, limits::MiB, limits::MiB + 1, 2 * limits::MiB};
      blobs_.emplace_back(sizes[i], seed * 10 + i);
    }
    start();
  }

  void step() {
    const std::size_t which = prng_.below(blobs_.size());
    const TestBlob& blob = blobs_[which];
    switch (prng_.below(16)) {
      case 0: return restart(false);
      case 1: return prng_.chance(0.3) ? restart(true) : void();
      case 2: return remove(which);
      case 3: return abandon(which);
      case 4: handles_.erase(which); return;
      case 5: return check_midstates(blob);
      case 6:
      case 7: return commit(which);
      case 8: return read_random(which);
      case 9: return touch_or_pin(which);
      default: return write_some(which);
    }
  }

  void check() {
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
      const auto bytes = read_whole(*store_, blobs_[i].digest);
      REQUIRE(bytes.has_value() == complete_.contains(i));
      if (bytes) REQUIRE(*bytes == blobs_[i].bytes);
    }
  }

 private:
  void start() {
    store_ = must_open(root, ops_);
    const auto found = store_->recover();
    REQUIRE(found);
    std::set<std::size_t> complete;
    std::map<std::size_t, std::set<std::uint32_t>> held;
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
      for (const auto& blob : found->blobs) {
        if (blob.digest == blobs_[i].digest) complete.insert(i);
      }
      for (const auto& partial : found->partials) {
        if (partial.digest != blobs_[i].digest) continue;
        held[i];
        for (std::uint32_t c = 0; c < blobs_[i].chunk_count(); ++c) {
          if (partial.held.test(c)) held[i].insert(c);
        }
      }
    }
    compare(complete, held);
    complete_ = complete;
    held_ = held;
  }

  void compare(const std::set<std::size_t>& complete,
               const std::map<std::size_t, std::set<std::uint32_t>>& held) {
    if (!crashed_) {
      REQUIRE(complete == complete_);
      REQUIRE(held == held_);
      return;
    }
    for (const auto i : complete_) REQUIRE(complete.contains(i));
    for (const auto i : complete) REQUIRE((complete_.contains(i) || removed_.contains(i)));
    for (const auto& [i, chunks] : held) {
      for (const auto c : chunks) REQUIRE(ever_written_[i].contains(c));
    }
  }

  void restart(bool crash) {
    handles_.clear();
    // The power goes while the store still runs; only then is it torn down.
    if (crash) ops_.crash(prng_);
    store_.reset();
    crashed_ = crash;
    start();
    if (crash) removed_.clear();
    crashed_ = false;
  }

  PartialHandle handle(std::size_t which) {
    if (const auto found = handles_.find(which); found != handles_.end()) return found->second;
    const TestBlob& blob = blobs_[which];
    const auto partial = store_->begin(blob.digest, test_origin, blob.bytes.size());
    REQUIRE(partial.has_value() != complete_.contains(which));
    if (!partial) return nullptr;
    REQUIRE((*partial)->held().count() == held_[which].size());
    for (const auto& chunk : (*partial)->take_resumed()) {
      REQUIRE(held_[which].contains(to_value(chunk.chunk)));
      REQUIRE(chunk.proof == blob.proof(to_value(chunk.chunk)));
    }
    handles_[which] = *partial;
    return *partial;
  }

  void drop_corrupt(std::size_t which, const PartialHandle& partial) {
    for (const auto chunk : partial->take_dropped()) held_[which].erase(to_value(chunk));
  }

  void write_some(std::size_t which) {
    const auto partial = handle(which);
    if (!partial) return;
    for (int i = 0; i < 3; ++i) {
      const auto chunk = static_cast<std::uint32_t>(prng_.below(blobs_[which].chunk_count()));
      REQUIRE(write(partial, blobs_[which], chunk));
      held_[which].insert(chunk);
      ever_written_[which].insert(chunk);
      if (prng_.chance(0.5)) REQUIRE(partial->add_link(ChunkIndex{chunk}, blobs_[which].midstate(chunk)));
    }
  }

  void read_random(std::size_t which) {
    const auto partial = handle(which);
    if (!partial) return;
    const TestBlob& blob = blobs_[which];
    const std::uint64_t offset = prng_.below(blob.bytes.size() + 1);
    Bytes out(prng_.below(std::min<std::uint64_t>(blob.bytes.size() - offset, 600'000) + 1));
    const auto read = partial->read(offset, out);
    drop_corrupt(which, partial);
    if (read) {
      REQUIRE(std::equal(out.begin(), out.end(), blob.bytes.begin() + static_cast<std::ptrdiff_t>(offset)));
    } else {
      REQUIRE((read.error() == CacheError::not_held || read.error() == CacheError::corrupt));
    }
  }

  void commit(std::size_t which) {
    const auto partial = handle(which);
    if (!partial) return;
    if (prng_.chance(0.5)) {
      REQUIRE(write_missing(partial, blobs_[which]));
      for (std::uint32_t c = 0; c < blobs_[which].chunk_count(); ++c) {
        held_[which].insert(c);
        ever_written_[which].insert(c);
      }
    }
    const auto committed = store_->commit(partial, blobs_[which].midstates);
    drop_corrupt(which, partial);
    if (!committed) {
      REQUIRE(held_[which].size() < blobs_[which].chunk_count());
      return;
    }
    REQUIRE(held_[which].size() == blobs_[which].chunk_count());
    handles_.erase(which);
    held_.erase(which);
    complete_.insert(which);
  }

  void abandon(std::size_t which) {
    const auto partial = handle(which);
    if (!partial) return;
    REQUIRE(store_->abandon(partial));
    handles_.erase(which);
    held_.erase(which);
  }

  void remove(std::size_t which) {
    const auto removed = store_->remove(blobs_[which].digest);
    REQUIRE(removed.has_value() == complete_.contains(which));
    if (complete_.erase(which) > 0) removed_.insert(which);
  }

  void check_midstates(const TestBlob& blob) {
    const auto list = store_->read_midstates(blob.digest);
    if (list) REQUIRE(list->midstates == blob.midstates);
  }

  void touch_or_pin(std::size_t which) {
    REQUIRE(store_->touch(blobs_[which].digest).has_value() == complete_.contains(which));
    REQUIRE(store_->set_pinned(blobs_[which].digest, prng_.chance(0.5)));
  }

  Prng prng_;
  MemoryFileOps ops_;
  std::vector<TestBlob> blobs_;
  std::unique_ptr<StoreDriver> store_;
  std::map<std::size_t, PartialHandle> handles_;
  std::set<std::size_t> complete_;
  std::set<std::size_t> removed_;  // since the last power cut: the next may bring them back
  std::map<std::size_t, std::set<std::uint32_t>> held_;
  std::map<std::size_t, std::set<std::uint32_t>> ever_written_;
  bool crashed_ = false;
};

}  // namespace

TEST_SUITE("cache/store_model") {
  TEST_CASE("random lives with restarts and power cuts never lose a commit nor show a wrong byte") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(seed);
      Life life(seed);
      for (int step = 0; step < 150; ++step) {
        CAPTURE(step);
        life.step();
        if (step % 10 == 9) life.check();
      }
    }
  }
}
