// Packed entries of a snapshot: both forms of holders, limits, damage.
#include "gossip/snapshot_wire.hpp"

#include "base/prng.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;

namespace {

using Rows = std::vector<std::size_t>;

struct Packed {
  std::size_t origin_count;
  Bytes bytes;
};

std::vector<std::uint64_t> bits_of(std::size_t origin_count, const Rows& rows) {
  std::vector<std::uint64_t> words((origin_count + 63) / 64);
  for (const std::size_t row : rows) words[row / 64] |= std::uint64_t{1} << (row % 64);
  return words;
}
Rows rows_of(std::span<const std::uint64_t> words) {
  Rows rows;
  for (std::size_t row = 0; row < words.size() * 64; ++row) {
    if (((words[row / 64] >> (row % 64)) & 1U) != 0) rows.push_back(row);
  }
  return rows;
}
Packed pack(std::size_t origin_count, const Rows& rows) {
  SnapshotPacker packer(origin_count, 10'000);
  const auto words = bits_of(origin_count, rows);
  CHECK(packer.append({std::nullopt, Id64{0x0102030405060708}, words}));
  return {origin_count, packer.take()};
}
std::optional<Rows> unpack(const Packed& packed) {
  SnapshotReader reader(packed.bytes, packed.origin_count);
  const auto entry = reader.next();
  if (!entry) return std::nullopt;
  const Rows rows = rows_of(entry->holders);
  if (reader.next() || !reader.ok()) return std::nullopt;
  return rows;
}

}  // namespace

TEST_SUITE("gossip/snapshot_wire") {
  TEST_CASE("holders are a list while that is shorter than a bitmap") {
    CHECK(to_hex(pack(100, {3, 4, 90}).bytes) ==
          "00"
          "0807060504030201"
          "03"
          "030055");
    // 13 bytes of bitmap: 12 holders are the longest list.
    CHECK(pack(100, {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23}).bytes.size() == 9 + 13);
    CHECK(to_hex(pack(100, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 98, 99}).bytes) ==
          "80"
          "0807060504030201"
          "ff07000000000000000000000c");
    for (const std::size_t count : {1UL, 7UL, 8UL, 63UL, 64UL, 65UL, 1000UL, 8192UL}) {
      Prng prng(count);
      for (const double density : {0.01, 0.3, 1.0}) {
        Rows rows;
        for (std::size_t row = 0; row < count; ++row) {
          if (row + 1 == count || prng.chance(density)) rows.push_back(row);
        }
        CHECK(unpack(pack(count, rows)) == rows);
      }
    }
  }

  TEST_CASE("digests of both lengths come back, and their ids follow from them") {
    const IdKey key = IdKey::for_cluster("test");
    SnapshotPacker packer(3, 10'000);
    const auto words = bits_of(3, {1});
    const Definition shorter{Digest(DigestAlgorithm::sha256, Bytes(32, std::byte{1})), 300};
    const Definition longer{Digest(DigestAlgorithm::sha512, Bytes(64, std::byte{2})),
                            limits::blob_bytes_max};
    CHECK(packer.append({shorter, {}, words}));
    CHECK(packer.append({longer, {}, words}));
    const std::size_t size = packer.size();
    CHECK(packer.append({std::nullopt, Id64{7}, words}));
    packer.shrink_to(size);
    const Bytes bytes = packer.take();
    SnapshotReader reader(bytes, 3);
    CHECK(reader.next()->definition == shorter);
    const auto second = reader.next();
    REQUIRE(second.has_value());
    CHECK(second->definition == longer);
    CHECK(second->id64(key) == id64_of(key, longer.digest));
    CHECK_FALSE(reader.next().has_value());
    CHECK(reader.ok());
  }

  TEST_CASE("what does not fit is not begun") {
    SnapshotPacker packer(8, 25);
    const auto words = bits_of(8, {1});
    CHECK(packer.append({std::nullopt, Id64{1}, words}));
    CHECK(packer.size() == 10);
    CHECK(packer.append({std::nullopt, Id64{2}, words}));
    CHECK_FALSE(packer.append({std::nullopt, Id64{3}, words}));
    CHECK(packer.size() == 20);
  }

  TEST_CASE("entries that no packer writes are refused") {
    const auto refuses = [](std::size_t origin_count, const std::string& hex) {
      return !unpack({origin_count, *from_hex(hex)});
    };
    const std::string id = "0807060504030201";
    CHECK_FALSE(refuses(100, "00" + id + "0105"));
    CHECK(refuses(100, "00" + id + "00"));      // nobody holds it
    CHECK(refuses(100, "00" + id + "0164"));    // row 100 of 100
    CHECK(refuses(100, "00" + id + "020563"));  // 5 and then 105
    CHECK(refuses(100, "00" + id + "018500"));  // a number longer than needed
    CHECK(refuses(1, "00" + id + "020000"));    // more holders than rows
    CHECK(refuses(0, "00" + id + "0100"));      // an empty table
    CHECK(refuses(12, "80" + id + "0000"));     // an empty bitmap
    CHECK(refuses(12, "80" + id + "0110"));     // bit 12 of 12
    CHECK_FALSE(refuses(12, "80" + id + "0108"));
    CHECK(refuses(12, "03" + id + "0101"));  // no such kind
    CHECK(refuses(12, "40" + id + "0101"));
    const Bytes whole = *from_hex("00" + id + "03030055");
    for (std::size_t size = 1; size < whole.size(); ++size) {
      CHECK_FALSE(unpack({100, Bytes(whole.begin(), whole.begin() + static_cast<long>(size))}));
    }
  }

  TEST_CASE("noise never does more than fail") {
    Prng prng(5);
    std::size_t taken = 0;
    for (int round = 0; round < 20'000; ++round) {
      Bytes noise(prng.below(120));
      for (auto& byte : noise)
        byte = static_cast<std::byte>(prng.below(prng.chance(0.5) ? 4 : 256));
      const std::size_t origin_count = prng.below(80);
      SnapshotReader reader(noise, origin_count);
      while (const auto entry = reader.next()) {
        ++taken;
        for (const std::size_t row : rows_of(entry->holders)) REQUIRE(row < origin_count);
      }
    }
    CHECK(taken > 100);
  }
}
