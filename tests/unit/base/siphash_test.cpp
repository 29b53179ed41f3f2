// SipHash vectors and the HRW order.
#include "base/siphash.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;

TEST_SUITE("base/siphash") {
  TEST_CASE("the vector of the SipHash paper, appendix A") {
    IdKey key;
    Bytes message;
    for (unsigned i = 0; i < 16; ++i) key.bytes[i] = static_cast<std::byte>(i);
    for (unsigned i = 0; i < 15; ++i) message.push_back(static_cast<std::byte>(i));
    CHECK(siphash(key, message) == 0xa129ca6149be45e5U);
  }

  TEST_CASE(
      "hrw_top does not depend on the order of the nodes, and losing one moves only its share") {
    const IdKey key = IdKey::for_cluster("waggle");
    std::vector<NodeId> nodes(20);
    for (std::size_t i = 0; i < nodes.size(); ++i)
      nodes[i].bytes[0] = static_cast<std::byte>(i + 1);
    const auto top = hrw_top(key, nodes, "blob:", as_bytes("x"), 3);
    std::reverse(nodes.begin(), nodes.end());
    CHECK(hrw_top(key, nodes, "blob:", as_bytes("x"), 3) == top);
    std::erase(nodes, top[1]);
    const auto after = hrw_top(key, nodes, "blob:", as_bytes("x"), 3);
    CHECK(after[0] == top[0]);
    CHECK(after[1] == top[2]);
    CHECK(hrw_top(key, {}, "blob:", as_bytes("x"), 3).empty());
  }
}
