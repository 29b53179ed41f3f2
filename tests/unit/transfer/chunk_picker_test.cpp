// Properties of the pick order.
#include "transfer/chunk_picker.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string_view>

using namespace waggle;
using namespace waggle::transfer;

namespace {

/// One digit per chunk: how many peers have it.
Availability counts(std::string_view digits) {
  Availability availability(static_cast<std::uint32_t>(digits.size()));
  for (std::uint32_t i = 0; i < digits.size(); ++i) {
    for (char n = '0'; n < digits[i]; ++n) availability.add(ChunkIndex{i});
  }
  return availability;
}

/// 'x' marks a position of the set.
Bitfield marked(std::string_view marks) {
  Bitfield field(marks.size());
  for (std::size_t i = 0; i < marks.size(); ++i) {
    if (marks[i] == 'x') field.set(i);
  }
  return field;
}

const ChunkPicker::Allowed everything = [](ChunkIndex) { return true; };

std::uint32_t picked(const ChunkPicker& picker, std::string_view open, std::string_view digits,
                     std::uint64_t seed = 1) {
  Prng prng(seed);
  return to_value(picker.pick(marked(open), everything, counts(digits), prng).value());
}

}  // namespace

TEST_SUITE("transfer/chunk_picker") {
  TEST_CASE("without a reader the rarest open chunk is picked") {
    const ChunkPicker picker;
    CHECK(picked(picker, "xxxxxx", "332132") == 3);
    CHECK(picked(picker, "xxx xx", "332132") != 3);
    Prng prng(1);
    CHECK_FALSE(picker.pick(marked("      "), everything, counts("111111"), prng));
    CHECK_FALSE(
        picker.pick(marked("xxxxxx"), [](ChunkIndex) { return false; }, counts("111111"), prng));
  }

  TEST_CASE("ties are drawn evenly, and the same seed draws the same") {
    const ChunkPicker picker;
    std::map<std::uint32_t, int> seen;
    for (std::uint64_t seed = 0; seed < 600; ++seed) {
      const std::uint32_t chunk = picked(picker, "xxxxxx", "211211", seed);
      CHECK(chunk == picked(picker, "xxxxxx", "211211", seed));
      ++seen[chunk];
    }
    REQUIRE(seen.size() == 4);
    for (const auto& [chunk, times] : seen) CHECK(times > 100);
  }

  TEST_CASE("the urgent part goes in order, then the window by rarity, then the rest") {
    ChunkPicker picker;
    picker.set_windows({{.first = 2, .urgent = 4, .end = 6}});
    CHECK(picked(picker, "xxxxxxxx", "11999911") == 2);
    CHECK(picked(picker, "xx xxxxx", "11999911") == 3);
    CHECK(picked(picker, "xx  xxxx", "11998911") == 4);
    CHECK(picked(picker, "xx   xxx", "11998911") == 5);
    CHECK(picked(picker, "xx    xx", "21998922") == 1);
  }

  TEST_CASE("the window is 16 MiB, at least 8 chunks, and ends with the blob") {
    const BlobLayout small(8 * limits::MiB);  // 32 chunks of 256 KiB
    const PlaybackWindow all = PlaybackWindow::at(small, 0);
    CHECK(all.first == 0);
    CHECK(all.urgent == 2);
    CHECK(all.end == 32);
    const BlobLayout big(8 * limits::GiB);  // chunks of 4 MiB
    const PlaybackWindow middle = PlaybackWindow::at(big, 100 * limits::MiB);
    CHECK(middle.first == 25);
    CHECK(middle.end == 33);
    const PlaybackWindow past = PlaybackWindow::at(small, small.size());
    CHECK(past.first == past.end);
  }
}

TEST_SUITE("transfer/availability") {
  TEST_CASE("counts follow peers that come, learn and go") {
    Availability availability(4);
    availability.add(marked("xx  "));
    availability.add(marked(" xx "));
    availability.add_complete();
    CHECK(availability.count(ChunkIndex{0}) == 2);
    CHECK(availability.count(ChunkIndex{1}) == 3);
    CHECK(availability.count(ChunkIndex{3}) == 1);
    availability.add(ChunkIndex{3});
    CHECK(availability.count(ChunkIndex{3}) == 2);
    availability.remove(marked("xx x"));
    availability.remove_complete();
    CHECK(availability == counts("0110"));
  }
}

TEST_SUITE("transfer/chunk_picker_scarce") {
  TEST_CASE("from a scarce source only what no partial peer has is asked") {
    const ChunkPicker picker;
    Availability availability = counts("010100");
    availability.add_complete();
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      Prng prng(seed);
      const auto chunk =
          picker.pick_scarce(marked("xxxx  "), everything, availability, 10, prng).value();
      CHECK((chunk == ChunkIndex{0} || chunk == ChunkIndex{2}));
    }
    Prng prng(1);
    CHECK_FALSE(picker.pick_scarce(marked(" x x  "), everything, availability, 10, prng));
  }

  TEST_CASE("many askers rarely ask the same: about one of them takes the urgent part") {
    ChunkPicker picker;
    picker.set_windows({{.first = 0, .urgent = 2, .end = 4}});
    Availability availability(64);
    availability.add_complete();
    int urgent = 0;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
      Prng prng(seed);
      const auto chunk = picker.pick_scarce(Bitfield(64, true), everything, availability, 19, prng);
      if (to_value(chunk.value()) < 2) ++urgent;
    }
    CHECK(urgent > 100);
    CHECK(urgent < 400);
  }
}
