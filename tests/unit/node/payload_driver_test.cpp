// Partials that are closed and opened again while the workers are still at it.
#include "node/payload_driver.hpp"
#include "base/prng.hpp"
#include "base/sha256.hpp"

#include <doctest/doctest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdlib>
#include <filesystem>
#include <string>

using namespace waggle;
using namespace waggle::node;

namespace {

constexpr std::uint64_t blob_bytes = 3'000'000;  // three chunks
const Digest blob_digest = sha256_of(Bytes(8));  // any: nothing here is proven
constexpr const char* origin = "https://registry.example:443";
constexpr int rounds = 100;  // the workers' interleavings differ from round to round

/// A store in a directory of its own, and the driver over it with two workers.
class Fixture {
 public:
  Fixture() : payload_(loop_.get_executor(), *store_, 2) {}
  ~Fixture() { std::filesystem::remove_all(path_); }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  PayloadDriver& payload() { return payload_; }
  void create(SwarmId swarm, std::function<void(std::optional<std::size_t>)> done) {
    payload_.create_blob({swarm, {blob_digest, origin}, blob_bytes}, [done](auto held) {
      done(held ? std::optional(held->size()) : std::nullopt);
    });
  }
  /// Handles one result after the other until `ready`.
  template <typename Ready>
  void run_until(Ready ready) {
    while (!ready()) loop_.run_one();
  }
  /// The chunks that a new create_blob finds held; nullopt when the store refuses it.
  std::optional<std::size_t> create_and_wait(SwarmId swarm) {
    std::optional<std::optional<std::size_t>> answer;
    create(swarm, [&](auto held) { answer = held; });
    run_until([&] { return answer.has_value(); });
    return *answer;
  }
  transfer::ChunkVerdict store_first_chunk(SwarmId swarm) {
    return store_first_chunk(payload_.partial(swarm));
  }
  transfer::ChunkVerdict store_first_chunk(const cache::PartialHandle& partial) {
    std::optional<transfer::ChunkVerdict> verdict;
    payload_.store_chunk(partial, ChunkIndex{0},
                         std::make_shared<const Bytes>(BlobLayout(blob_bytes).chunk_bytes()), {},
                         [&](auto stored) { verdict = stored; });
    run_until([&] { return verdict.has_value(); });
    return *verdict;
  }

 private:
  static std::string make_directory() {
    std::string pattern = "/tmp/waggle-payload-XXXXXX";
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    return pattern;
  }
  static std::unique_ptr<cache::StoreDriver> open(const std::string& path) {
    auto store = cache::StoreDriver::open(path);
    REQUIRE(store);
    return *std::move(store);
  }

  std::string path_ = make_directory();
  std::unique_ptr<cache::StoreDriver> store_ = open(path_);
  boost::asio::io_context loop_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> working_{
      loop_.get_executor()};
  PayloadDriver payload_;
};

}  // namespace

TEST_SUITE("node/payload_driver") {
  TEST_CASE("a swarm that begins anew gets an empty file, whatever the workers' order") {
    Fixture fixture;
    SwarmId swarm{1};
    for (int i = 0; i < rounds; ++i) {
      REQUIRE(fixture.create_and_wait(swarm) == 0U);
      REQUIRE(fixture.store_first_chunk(swarm) == transfer::ChunkVerdict::ok);
      fixture.payload().close_blob({swarm, true});
    }
    CHECK(fixture.create_and_wait(swarm) == 0U);
  }

  TEST_CASE("a swarm that ends while its file is being opened does not keep it") {
    Fixture fixture;
    for (int i = 0; i < rounds; ++i) {
      const SwarmId swarm{static_cast<std::uint64_t>(i) + 1};
      int answers = 0;
      fixture.create(swarm, [&](auto /*held*/) { ++answers; });
      fixture.payload().close_blob({swarm, i % 2 == 0});
      CHECK(fixture.payload().partial(swarm) == nullptr);
      REQUIRE(fixture.create_and_wait(SwarmId{1000}).has_value());
      CHECK(answers == 1);
      fixture.payload().close_blob({SwarmId{1000}, i % 3 == 0});
    }
  }

  TEST_CASE("what was under way when its blob began anew is void") {
    Fixture fixture;
    const SwarmId swarm{1};
    const Bytes chunk(BlobLayout(blob_bytes).chunk_bytes(), std::byte{7});
    const Digest hash = sha256_of(chunk);
    transfer::CrecProof proof;
    std::copy(hash.bytes().begin(), hash.bytes().end(), proof.sha256.begin());
    REQUIRE(fixture.create_and_wait(swarm) == 0U);
    for (int i = 0; i < rounds; ++i) {
      fixture.payload().receive_block(swarm, ChunkIndex{0}, SessionId{1}, 0, chunk);
      int answers = 0;
      fixture.payload().verify_chunk(
          {swarm, ChunkIndex{0}, SessionId{1}, proof, {}, false},
          [&](auto /*verdict*/, auto /*hash*/, auto /*blocks*/) { ++answers; });
      fixture.payload().hash_link({swarm, ChunkIndex{0}, sha256_initial_midstate()},
                                  [&](auto /*end*/, auto /*digest*/) { ++answers; });
      const auto old = fixture.payload().partial(swarm);
      fixture.payload().close_blob({swarm, true});
      REQUIRE(fixture.create_and_wait(swarm) == 0U);
      CHECK(fixture.store_first_chunk(old) == transfer::ChunkVerdict::store_failed);
      CHECK(answers == 0);
      fixture.payload().close_blob({swarm, false});
      CHECK(fixture.create_and_wait(swarm) == 0U);  // nothing came into the new file
    }
  }

  TEST_CASE("blocks written to their places make a chunk, no block makes a place") {
    Fixture fixture;
    const SwarmId swarm{1};
    const auto size = static_cast<std::uint32_t>(BlobLayout(blob_bytes).chunk_bytes());
    const auto half = size / 2;
    Bytes chunk(size, std::byte{7});
    std::fill(chunk.begin() + half, chunk.end(), std::byte{8});
    const Digest hash = sha256_of(chunk);
    transfer::CrecProof proof;
    std::copy(hash.bytes().begin(), hash.bytes().end(), proof.sha256.begin());
    REQUIRE(fixture.create_and_wait(swarm) == 0U);
    PayloadDriver& payload = fixture.payload();
    const ChunkIndex index{0};
    CHECK(payload.block_place(swarm, index, SessionId{1}, 0, half).empty());
    payload.receive_block(swarm, index, SessionId{1}, 0, ByteView(chunk).first(half));
    CHECK(payload.block_place(swarm, index, SessionId{2}, 0, half).empty());
    CHECK(payload.block_place(swarm, ChunkIndex{1}, SessionId{1}, 0, half).empty());
    CHECK(payload.block_place(swarm, index, SessionId{1}, size, 1).empty());
    CHECK(payload.block_place(swarm, index, SessionId{1}, half + 1, half).empty());
    CHECK(payload.block_place(swarm, index, SessionId{1}, UINT32_MAX, UINT32_MAX).empty());
    const MutableByteView place = payload.block_place(swarm, index, SessionId{1}, half, half);
    REQUIRE(place.size() == half);
    std::copy(chunk.begin() + half, chunk.end(), place.begin());
    payload.receive_block(swarm, index, SessionId{1}, half, place);
    std::optional<transfer::ChunkVerdict> verdict;
    payload.verify_chunk({swarm, index, SessionId{1}, proof, {}, false},
                         [&](auto found, auto /*hash*/, auto /*blocks*/) { verdict = found; });
    CHECK(payload.block_place(swarm, index, SessionId{1}, half, half).empty());
    fixture.run_until([&] { return verdict.has_value(); });
    CHECK(verdict == transfer::ChunkVerdict::ok);
    const auto stored = payload.partial(swarm)->read_chunk(index);
    REQUIRE(stored.has_value());
    CHECK((*stored == chunk));
  }

  TEST_CASE("blocks that come before their blob's file is open are kept") {
    Fixture fixture;
    const SwarmId swarm{1};
    const Bytes chunk(BlobLayout(blob_bytes).chunk_bytes(), std::byte{7});
    const Digest hash = sha256_of(chunk);
    transfer::CrecProof proof;
    std::copy(hash.bytes().begin(), hash.bytes().end(), proof.sha256.begin());
    bool is_open = false;
    fixture.create(swarm, [&](auto held) { is_open = held.has_value(); });
    fixture.payload().receive_block(swarm, ChunkIndex{0}, SessionId{1}, 0, chunk);
    CHECK(fixture.payload().block_place(swarm, ChunkIndex{0}, SessionId{1}, 0, 1).size() == 1);
    REQUIRE(!is_open);
    fixture.run_until([&] { return is_open; });
    std::optional<transfer::ChunkVerdict> verdict;
    fixture.payload().verify_chunk(
        {swarm, ChunkIndex{0}, SessionId{1}, proof, {}, false},
        [&](auto found, auto /*hash*/, auto /*blocks*/) { verdict = found; });
    fixture.run_until([&] { return verdict.has_value(); });
    CHECK(verdict == transfer::ChunkVerdict::ok);
  }

  TEST_CASE("a pause keeps the chunks, and an old handle still reads them") {
    Fixture fixture;
    REQUIRE(fixture.create_and_wait(SwarmId{1}) == 0U);
    REQUIRE(fixture.store_first_chunk(SwarmId{1}) == transfer::ChunkVerdict::ok);
    const auto old = fixture.payload().partial(SwarmId{1});
    fixture.payload().close_blob({SwarmId{1}, false});
    CHECK(fixture.create_and_wait(SwarmId{2}) == 1U);
    Bytes bytes(100);
    CHECK(old->read(0, bytes));
    CHECK(old->write_chunk(ChunkIndex{1}, Bytes(BlobLayout(blob_bytes).chunk_bytes()),
                           cache::ProofKind::own, {})
              .error() == cache::CacheError::closed);
  }
}
