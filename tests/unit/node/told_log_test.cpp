// The file of what was told: changes add up, damage costs its end only.
#include "node/told_log.hpp"

#include "base/limits.hpp"
#include "base/prng.hpp"
#include "node/state_files_driver.hpp"
#include "node/told_log_driver.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

using namespace waggle;
using namespace waggle::node;
using gossip::LogTold;

namespace {

struct Directory {
  std::string path = std::filesystem::temp_directory_path() / "waggle-told-test";
  Directory() {
    std::filesystem::remove_all(path);
    std::filesystem::create_directory(path);
  }
  ~Directory() { std::filesystem::remove_all(path); }
};

std::vector<Id64> ids(std::initializer_list<std::uint64_t> numbers) {
  std::vector<Id64> out;
  for (const std::uint64_t number : numbers) out.push_back(Id64{number});
  return out;
}

const LogTold first{100, 3, true, ids({1, 2, 3}), {}};
const LogTold second{100, 5, false, ids({4}), ids({2})};
const LogTold reopened{200, 1, false, {}, {}};

}  // namespace

TEST_SUITE("node/told_log") {
  TEST_CASE("changes add up to what the next process opens with") {
    ToldLogState state;
    CHECK_FALSE(state.log());
    state.apply(first);
    state.apply(second);
    CHECK(state.log()->seq == 5);
    CHECK(state.log()->ids == ids({1, 3, 4}));
    state.apply(reopened);
    CHECK(state.log()->incarnation == 200);
    CHECK(state.log()->seq == 1);
    CHECK(state.log()->ids == ids({1, 3, 4}));
    ToldLogState copy;
    copy.apply(state.whole());
    CHECK(copy.log()->ids == state.log()->ids);
    state.apply({300, 9, true, ids({7}), {}});
    CHECK(state.log()->ids == ids({7}));
  }

  TEST_CASE("a torn or damaged end is left out, at every length and with every flipped byte") {
    Bytes file = encode_told(first);
    const std::size_t first_bytes = file.size();
    append(file, encode_told(second));
    for (std::size_t size = 0; size <= file.size(); ++size) {
      const ToldFile told = read_told(ByteView(file).first(size));
      const std::uint64_t seq = size == file.size() ? 5 : 3;
      CHECK(told.state.log().has_value() == (size >= first_bytes));
      if (size >= first_bytes) CHECK(told.state.log()->seq == seq);
      CHECK(told.good_bytes <= size);
    }
    for (std::size_t at = 0; at < file.size(); ++at) {
      Bytes damaged = file;
      damaged[at] ^= std::byte{0x20};
      const ToldFile told = read_told(damaged);
      const auto log = told.state.log();
      CHECK(log.has_value() == (at >= first_bytes));
      if (log) CHECK(log->seq == 3);
    }
    Bytes huge;
    append_le(huge, std::uint64_t{0});
    append_le(huge, std::uint32_t{0xffffffff});
    CHECK(read_told(huge).good_bytes == 0);
  }

  TEST_CASE("the file survives its process, is rewritten as it grows, and belongs to one cluster") {
    const Directory directory;
    {
      auto file = ToldLogFile::open(directory.path, "a");
      REQUIRE(file.has_value());
      CHECK_FALSE(file->log());
      REQUIRE(file->append(first).has_value());
      REQUIRE(file->append(second).has_value());
    }
    {
      std::ofstream torn(directory.path + "/told", std::ios::app | std::ios::binary);
      torn << "half a change";
    }
    {
      auto file = ToldLogFile::open(directory.path, "a");
      REQUIRE(file.has_value());
      CHECK(file->log()->seq == 5);
      REQUIRE(file->append(reopened).has_value());
      for (std::uint64_t i = 0; i < 20'000; ++i) {
        REQUIRE(file->append({200, 2 + i, false, ids({1000 + i % 10}), {}}).has_value());
      }
    }
    CHECK(std::filesystem::file_size(directory.path + "/told") < 512 * limits::KiB);
    auto file = ToldLogFile::open(directory.path, "a");
    REQUIRE(file.has_value());
    CHECK(file->log()->seq == 20'001);
    CHECK(file->log()->ids.size() == 13);
    auto other = ToldLogFile::open(directory.path, "b");
    REQUIRE(other.has_value());
    CHECK_FALSE(other->log());
  }

  TEST_CASE("a directory that is not there is an error, a file too long counts as none") {
    CHECK_FALSE(ToldLogFile::open("/nonexistent/waggle", "a").has_value());
    const Directory directory;
    std::ofstream(directory.path + "/told") << std::string(limits::told_file_bytes_max + 1, 'x');
    auto file = ToldLogFile::open(directory.path, "a");
    REQUIRE(file.has_value());
    CHECK_FALSE(file->log());
  }
}
