// Stories of whole swarms on the small net: warm, cold, and what may go wrong.
#include "exchange_net.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::testing;
using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

TEST_SUITE("transfer/exchange") {
  TEST_CASE("one holder: a warm pull takes every chunk from it and nothing from upstream") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(20 * MiB + 5);
    net.give(0, blob);
    net.pull(1, blob);
    CHECK(net.run_until([&] { return net.is_complete(1, blob); }, 5s));
    CHECK(net.origin().bytes_out == 0);
    CHECK(net.exchange(1).stats().peer_bytes == blob.size);
    CHECK(net.exchange(0).stats().upload_bytes == blob.size);
    CHECK(net.now() < TimePoint{} + 200ms);
  }

  TEST_CASE("small and empty blobs come warm and cold") {
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 700 * KiB, MiB}) {
      CAPTURE(size);
      Net net({.nodes = 3});
      const Blob blob = net.make_blob(size);
      net.pull(0, blob);
      CHECK(net.run_until([&] { return net.is_complete(0, blob); }, 5s));
      CHECK(net.origin().bytes_out == size);
      net.run_for(1s);
      net.pull(1, blob);
      CHECK(net.run_until([&] { return net.is_complete(1, blob); }, 5s));
      CHECK(net.origin().bytes_out == size);
    }
  }

  TEST_CASE("a cold pull by many nodes takes each byte from upstream once") {
    for (const std::size_t nodes : {1UL, 5UL, 16UL}) {
      CAPTURE(nodes);
      Net net({.nodes = nodes});
      const Blob blob = net.make_blob(100 * MiB);
      for (std::size_t n = 0; n < nodes; ++n) net.pull(n, blob);
      CHECK(net.run_until([&] { return net.all_complete(blob); }, 30s));
      CHECK(net.origin().bytes_out == blob.size);
      MESSAGE(nodes, " nodes: ", to_seconds(net.now() - TimePoint{}), " s");
    }
  }
}
