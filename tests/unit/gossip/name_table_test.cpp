// Newest name wins, bounds, and names of an author.
#include "gossip/name_table.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;

namespace {

std::shared_ptr<const SignedName> name_of(std::uint64_t key64, std::uint8_t author,
                                          std::uint64_t hlc_ms) {
  auto name = std::make_shared<SignedName>();
  name->record.key64 = key64;
  name->record.size = hlc_ms;
  name->author.bytes[0] = std::byte{author};
  name->hlc_ms = hlc_ms;
  return name;
}

}  // namespace

TEST_SUITE("gossip/name_table") {
  TEST_CASE("the newer name wins, a tie goes to the higher author, in any order") {
    NameTable table;
    CHECK(table.insert(name_of(7, 2, 100)));
    CHECK_FALSE(table.insert(name_of(7, 9, 99)));
    CHECK_FALSE(table.insert(name_of(7, 1, 100)));
    CHECK_FALSE(table.insert(name_of(7, 2, 100)));
    CHECK(table.insert(name_of(7, 3, 100)));
    CHECK(table.find(7)->author.bytes[0] == std::byte{3});
    CHECK(table.insert(name_of(7, 1, 101)));
    CHECK(table.find(7)->hlc_ms == 101);
    CHECK(table.find(8) == nullptr);
    CHECK(table.size() == 1);
    CHECK(table.names_of(name_of(0, 3, 0)->author).empty());
    table.check_invariants();
  }

  TEST_CASE("beyond an author's limit its oldest written name goes, not another author's") {
    NameTable table;
    table.insert(name_of(1'000'000, 9, 1));
    for (std::uint64_t key = 0; key <= limits::names_per_origin_max; ++key) {
      table.insert(name_of(key, 1, key + 1));
    }
    CHECK(table.find(0) == nullptr);
    CHECK(table.find(1) != nullptr);
    CHECK(table.find(1'000'000) != nullptr);
    CHECK(table.names_of(name_of(0, 1, 0)->author).size() == limits::names_per_origin_max);
    CHECK(table.size() == limits::names_per_origin_max + 1);
    table.check_invariants();
  }

  TEST_CASE("beyond the limit of all the oldest written name goes") {
    NameTable table;
    for (std::uint64_t key = 0; key <= limits::names_max; ++key) {
      table.insert(name_of(key, static_cast<std::uint8_t>(key % 200), 5));
    }
    CHECK(table.size() == limits::names_max);
    CHECK(table.find(0) == nullptr);
    CHECK(table.find(1) != nullptr);
    table.check_invariants();
  }

  TEST_CASE("names come by key, in pieces") {
    NameTable table;
    for (const std::uint64_t key : {9, 3, 7, 5}) CHECK(table.insert(name_of(key, 1, key)));
    const auto keys = [&](std::uint64_t from, std::size_t count) {
      std::vector<std::uint64_t> out;
      for (const auto& name : table.names_from(from, count)) out.push_back(name->record.key64);
      return out;
    };
    CHECK(keys(0, 9) == std::vector<std::uint64_t>{3, 5, 7, 9});
    CHECK(keys(4, 2) == std::vector<std::uint64_t>{5, 7});
    CHECK(keys(9, 2) == std::vector<std::uint64_t>{9});
    CHECK(keys(10, 2).empty());
  }
}
