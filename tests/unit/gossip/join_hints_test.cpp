// Which hints are tried first, and the limits of the list.
#include "gossip/join_hints.hpp"

#include "base/limits.hpp"
#include "samples.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

std::vector<Endpoint> endpoints_of(unsigned first, unsigned count) {
  std::vector<Endpoint> endpoints;
  for (unsigned n = first; n < first + count; ++n) endpoints.push_back(endpoint_of(n));
  return endpoints;
}

}  // namespace

TEST_SUITE("gossip/join_hints") {
  TEST_CASE("repeats and own addresses are left out, what is beyond the limit is dropped") {
    JoinHints hints;
    CHECK(hints.set(std::vector{endpoint_of(1), endpoint_of(0), endpoint_of(1)},
                    std::vector{endpoint_of(0)}));
    CHECK(hints.size() == 1);
    CHECK_FALSE(hints.set(std::vector{endpoint_of(1)}, {}));
    CHECK(hints.set(endpoints_of(0, limits::join_hints_max + 1), {}));
    CHECK(hints.size() == limits::join_hints_max);
    CHECK(hints.set({}, {}));
    CHECK(hints.empty());
  }

  TEST_CASE("hints that lead to no live member come first, each in random order") {
    JoinHints hints;
    Prng prng(3);
    (void)hints.set(endpoints_of(1, 6), {});
    hints.add_member(std::vector{endpoint_of(2), endpoint_of(9)});
    hints.add_member(std::vector{endpoint_of(2), endpoint_of(5)});
    CHECK(hints.members_at(endpoint_of(2)) == 2);
    CHECK(hints.members_at(endpoint_of(9)) == 0);
    std::set<Endpoint> first;
    for (int i = 0; i < 200; ++i) {
      const auto picked = hints.pick(prng, 5);
      REQUIRE(picked.size() == 5);
      first.insert(picked.front());
      CHECK((picked.back() == endpoint_of(2) || picked.back() == endpoint_of(5)));
    }
    CHECK(first.size() == 4);
    hints.remove_member(std::vector{endpoint_of(2)});
    CHECK(hints.members_at(endpoint_of(2)) == 1);
    CHECK(hints.pick(prng, 100).size() == 6);
  }
}
