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
      for (std::size_t n = 0; nodes > 1 && n < nodes; ++n) {
        CHECK(net.exchange(n).stats().peer_bytes >= blob.size / 4);
      }
    }
  }

  TEST_CASE(
      "several cold blobs at once through one upstream: 1.0x, and most bytes come from peers") {
    for (const std::size_t nodes : {5UL, 16UL}) {
      CAPTURE(nodes);
      Net net({.nodes = nodes});
      std::vector<Blob> blobs;
      std::uint64_t total = 0;
      for (const std::uint64_t size : {40 * MiB, 33 * MiB + 7, 3 * MiB, 100 * KiB}) {
        blobs.push_back(net.make_blob(size));
        total += size;
      }
      for (const Blob& blob : blobs) {
        for (std::size_t n = 0; n < nodes; ++n) net.pull(n, blob);
      }
      for (const Blob& blob : blobs) {
        CHECK(net.run_until([&] { return net.all_complete(blob); }, 30s));
      }
      CHECK(net.origin().bytes_out == total);
      std::uint64_t from_peers = 0;
      for (std::size_t n = 0; n < nodes; ++n) from_peers += net.exchange(n).stats().peer_bytes;
      CHECK(from_peers == (nodes - 1) * total);
    }
  }

  TEST_CASE("a reader's chunks come first, in order at its position") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(200 * MiB);
    net.give(0, blob);
    net.pull(1, blob);
    CHECK(net.run_until([&] { return net.ready(1).size() >= 60; }, 5s));
    // The window is 64 chunks of 256 KiB ahead of a reader that moves on as they come.
    for (std::size_t i = 0; i < 30; ++i) CHECK(to_value(net.ready(1)[i].first) < 64 + 30);
    CHECK(to_value(net.ready(1)[0].first) < 4);
  }

  TEST_CASE("a holder that dies is replaced by the other, or by upstream") {
    for (const bool second : {true, false}) {
      CAPTURE(second);
      Net net({.nodes = 3, .link_rate = 50e6});
      const Blob blob = net.make_blob(30 * MiB);
      net.give(0, blob);
      if (second) net.give(2, blob);
      net.pull(1, blob);
      net.run_for(200ms);
      CHECK_FALSE(net.is_complete(1, blob));
      const std::uint64_t had = net.exchange(1).stats().peer_bytes;
      CHECK(had > 0);
      net.kill(0);
      CHECK(net.run_until([&] { return net.is_complete(1, blob); }, 20s));
      CHECK((net.origin().bytes_out == 0) == second);
      CHECK(net.origin().bytes_out <= blob.size);
    }
  }

  TEST_CASE("a holder that hangs is given up on") {
    Net net({.nodes = 3, .link_rate = 50e6});
    const Blob blob = net.make_blob(30 * MiB);
    net.give(0, blob);
    net.pull(1, blob);
    net.run_for(200ms);
    net.freeze(0);
    CHECK(net.run_until([&] { return net.is_complete(1, blob); }, 20s));
    CHECK(net.exchange(1).stats().request_timeouts > 0);
    CHECK(net.origin().bytes_out < blob.size);
  }

  TEST_CASE("a claimant that dies costs at most its extent again") {
    Net net({.nodes = 5, .upstream_rate = 40e6});
    const Blob blob = net.make_blob(100 * MiB);
    for (std::size_t n = 0; n < 5; ++n) net.pull(n, blob);
    net.run_for(300ms);
    net.kill(2);
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 60s));
    CHECK(net.origin().bytes_out <= blob.size + limits::extent_bytes);
  }

  TEST_CASE("a liar among five sources is banned and the others finish") {
    Net net({.nodes = 6});
    const Blob blob = net.make_blob(40 * MiB);
    for (std::size_t n = 0; n < 4; ++n) net.give(n, blob);
    net.make_liar(2, 9);
    net.pull(4, blob);
    net.pull(5, blob);
    CHECK(net.run_until([&] { return net.all_complete(blob, 4); }, 10s));
    CHECK(net.exchange(4).stats().bans == 1);
    CHECK(net.exchange(4).stats().verify_failures_peer > 0);
    CHECK(net.origin().bytes_out == 0);
    net.run_for(2s);
  }

  TEST_CASE("a liar in a cold swarm is banned and the others finish") {
    Net net({.nodes = 5});
    const Blob blob = net.make_blob(64 * MiB);
    net.make_liar(1, 9);
    for (std::size_t n = 0; n < 5; ++n) net.pull(n, blob);
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 60s));
    std::uint64_t bans = 0;
    for (const std::size_t n : {0UL, 2UL, 3UL, 4UL}) bans += net.exchange(n).stats().bans;
    CHECK(bans >= 1);
    CHECK(net.exchange(1).stats().bans == 0);
    // Who passed its wrong bytes on in good faith is not convicted, whatever came later.
    for (const std::size_t n : {0UL, 2UL, 3UL, 4UL}) {
      for (const NodeId& banned : net.exchange(n).banned(net.now())) {
        CHECK(banned == net.identity(1).node_id());
      }
    }
    CHECK(net.origin().bytes_out <= 2 * blob.size);
  }

  TEST_CASE("a liar that holds a single chunk is convicted by the digest") {
    Net net({.nodes = 3});
    const Blob blob = net.make_blob(300 * KiB);
    net.give(0, blob);
    net.make_liar(0, 9);
    net.pull(1, blob);
    CHECK(net.run_until([&] { return net.is_complete(1, blob); }, 10s));
    CHECK(net.exchange(1).stats().bans == 1);
    CHECK(net.origin().bytes_out == blob.size);
  }

  TEST_CASE("a wrong midstate list is dropped, another prover's taken, and its signer banned") {
    Net net({.nodes = 4});
    const Blob blob = net.make_blob(40 * MiB);
    net.give(0, blob);
    net.make_list_liar(0);
    net.give(1, blob);
    net.give(2, blob);
    net.pull(3, blob);
    CHECK(net.run_until([&] { return net.is_complete(3, blob); }, 10s));
    CHECK(net.exchange(3).stats().bans <= 1);
    CHECK(net.origin().bytes_out <= 2 * limits::extent_bytes);
  }

  TEST_CASE("upstream's refusals end a swarm with their name") {
    const std::vector<std::pair<unsigned, SwarmError>> answers = {{404, SwarmError::not_found},
                                                                  {401, SwarmError::unauthorized},
                                                                  {500, SwarmError::unreachable},
                                                                  {429, SwarmError::unreachable}};
    for (const auto& [status, error] : answers) {
      CAPTURE(status);
      Net net({.nodes = 3});
      const Blob blob = net.make_blob(5 * MiB);
      net.origin().status = status;
      const TimePoint start = net.now();
      net.pull(0, blob);
      net.pull(1, blob);
      CHECK(net.run_until([&] { return net.error(0, blob) && net.error(1, blob); }, 30s));
      CHECK(net.error(0, blob) == error);
      CHECK(net.error(1, blob) == error);
      CHECK(net.now() - start < 10s);
      CHECK(net.origin().requests <= 60);
    }
  }

  TEST_CASE("one node's credential is enough for all") {
    Net net({.nodes = 4});
    const Blob blob = net.make_blob(60 * MiB);
    net.origin().refused = {0, 1, 3};
    for (std::size_t n = 0; n < 4; ++n) net.pull(n, blob);
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 30s));
    CHECK(net.origin().bytes_out == blob.size);
  }

  TEST_CASE("a node that was denied asks again when a client brings another way") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(20 * MiB);
    net.origin().refused = {0, 1};
    net.pull(0, blob);
    net.pull(1, blob);
    net.run_for(500ms);
    const auto asked = net.origin().requests;
    CHECK(asked > 0);
    CHECK_FALSE(net.error(0, blob));
    net.origin().refused.clear();
    net.run_for(300ms);
    CHECK(net.origin().requests == asked);
    net.retry_upstream(0, blob);
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 10s));
  }

  TEST_CASE(
      "a lazy reader's chunk is fetched at once, wherever it lies, and the swarm outlives it") {
    Net net({.nodes = 1, .upstream_rate = 20e6});
    const Blob blob = net.make_blob(200 * MiB);
    const SwarmId swarm = net.read_at(0, blob, blob.size - 1);
    const ChunkIndex last = blob.layout.chunk_at(blob.size - 1);
    CHECK(net.run_until([&] { return net.exchange(0).has_chunk(swarm, last); }, 1s));
    net.stop_reading(0, blob);
    net.run_for(5s);
    REQUIRE(net.exchange(0).status(swarm).has_value());
    CHECK(net.exchange(0).status(swarm)->have_bytes >= 16 * MiB);
    const auto asked = net.origin().requests;
    net.read_at(0, blob, blob.size / 2);
    CHECK(net.run_until(
        [&] { return net.exchange(0).has_chunk(swarm, blob.layout.chunk_at(blob.size / 2)); }, 1s));
    CHECK(net.origin().requests >= asked + 1);
    net.stop_reading(0, blob);
    net.run_for(60s);
    CHECK_FALSE(net.exchange(0).status(swarm));
  }

  TEST_CASE("an upstream that recovers is used again") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(20 * MiB);
    net.origin().status = 503;
    net.pull(0, blob);
    net.pull(1, blob);
    net.run_for(2s);
    net.origin().status = 200;
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 20s));
    CHECK(net.origin().bytes_out <=
          blob.size + MiB);  // readers that waited 3 s may have helped themselves
  }

  TEST_CASE("without Range one claimant streams the blob for all") {
    Net net({.nodes = 5});
    const Blob blob = net.make_blob(60 * MiB);
    net.origin().has_range = false;
    for (std::size_t n = 0; n < 5; ++n) net.pull(n, blob);
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 30s));
    CHECK(net.origin().bytes_out == blob.size);
    CHECK(net.origin().requests == 1);
  }

  TEST_CASE("readers that leave between proof and commit free nothing for a second fetch") {
    Net net({.nodes = 16, .link_rate = 5e6, .commit_time = 200ms});
    const Blob blob = net.make_blob(900 * KiB);
    for (std::size_t n = 0; n < 16; ++n) {
      net.pull(n, blob);
      net.run_for(3ms);
    }
    CHECK(net.run_until([&] { return net.all_complete(blob); }, 30s));
    CHECK(net.origin().bytes_out == blob.size);
    CHECK(net.origin().requests == 1);
  }

  TEST_CASE("without a length the blob is unsupported") {
    Net net({.nodes = 1});
    const Blob blob = net.make_blob(60 * MiB);
    net.origin().has_length = false;
    net.pull(0, blob);
    CHECK(net.run_until([&] { return net.error(0, blob).has_value(); }, 5s));
    CHECK(net.error(0, blob) == SwarmError::unsupported);
  }

  TEST_CASE("sha512 digests are unsupported at once") {
    Net net({.nodes = 1});
    Blob blob = net.make_blob(MiB);
    blob.key.digest = Digest(DigestAlgorithm::sha512, Bytes(64));
    const auto id = net.exchange(0).open(net.now(), blob.key);
    REQUIRE(id);
    const auto failed = net.exchange(0).poll_output();
    REQUIRE(failed);
    CHECK(std::get<SwarmFailed>(*failed).error == SwarmError::unsupported);
    CHECK_FALSE(net.exchange(0).status(*id));
  }

  TEST_CASE("chunks held over a restart are not fetched again") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(40 * MiB);
    net.hold(0, blob, 100);
    net.pull(0, blob);
    CHECK(net.run_until([&] { return net.is_complete(0, blob); }, 20s));
    CHECK(net.origin().bytes_out <= blob.size - 80 * 256 * KiB);
    CHECK(net.ready(0).size() == blob.layout.chunk_count());
  }

  TEST_CASE("wrong upstream bytes: one fresh start, then bad_upstream") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(5 * MiB);
    net.origin().variant = 3;
    net.pull(0, blob);
    CHECK(net.run_until([&] { return net.error(0, blob).has_value(); }, 20s));
    CHECK(net.error(0, blob) == SwarmError::bad_upstream);
    CHECK(net.origin().bytes_out == 2 * blob.size);
    CHECK(net.exchange(0).stats().bans == 0);
  }

  TEST_CASE("wrong upstream bytes once: the fresh start is proven and commits") {
    Net net({.nodes = 1});
    const Blob blob = net.make_blob(5 * MiB);
    net.origin().variant = 3;
    net.pull(0, blob);
    CHECK(net.run_until([&] { return net.origin().bytes_out == blob.size; }, 20s));
    net.origin().variant = 0;
    CHECK(net.run_until([&] { return net.is_complete(0, blob); }, 20s));
    CHECK(net.origin().bytes_out == 2 * blob.size);
  }

  TEST_CASE(
      "who signed poisoned chunks is banned once upstream's own bytes tell, and nobody else") {
    Net net({.nodes = 4});
    const Blob blob = net.make_blob(64 * MiB);
    net.poison(1, 5);
    for (std::size_t n = 0; n < 4; ++n) net.pull(n, blob);
    const auto honest_done = [&] {
      return net.is_complete(0, blob) && net.is_complete(2, blob) && net.is_complete(3, blob);
    };
    CHECK(net.run_until(honest_done, 60s));
    for (const std::size_t n : {0UL, 2UL, 3UL}) CHECK(net.exchange(n).stats().bans == 1);
    CHECK(net.run_until([&] { return net.error(1, blob).has_value(); }, 60s));
    CHECK(net.error(1, blob) == SwarmError::bad_upstream);
    CHECK_FALSE(net.is_complete(1, blob));
  }

  TEST_CASE("a swarm without readers ends and leaves nothing under way") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(100 * MiB);
    net.pull(0, blob);
    net.run_for(200ms);
    net.stop_reading(0, blob);
    const std::uint64_t begun = net.origin().bytes_out;
    net.run_for(40s);
    CHECK(net.exchange(0).swarms().empty());
    CHECK(net.origin().bytes_out <= begun + 2 * limits::extent_bytes);
  }

  TEST_CASE("idle sessions are closed") {
    Net net({.nodes = 2});
    const Blob blob = net.make_blob(4 * MiB);
    net.give(0, blob);
    net.pull(1, blob);
    net.run_for(1s);
    net.stop_reading(1, blob);
    net.run_for(120s);
    CHECK(net.session_count() == 0);
  }

  TEST_CASE("the same seed gives the same outputs") {
    const auto run = [](std::uint64_t seed) {
      Net net({.nodes = 6, .seed = seed});
      const Blob blob = net.make_blob(50 * MiB);
      for (std::size_t n = 0; n < 6; ++n) net.pull(n, blob);
      net.run_for(2s);
      CHECK(net.all_complete(blob));
      return net.trace();
    };
    CHECK(run(1) == run(1));
    CHECK(run(1) != run(2));
  }

  TEST_CASE("under random deaths, hangs, liars and leaving readers the others finish") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(seed);
      Prng prng(seed);
      Net net({.nodes = 8, .seed = seed, .link_rate = 60e6, .upstream_rate = 60e6});
      const Blob first = net.make_blob(20 * MiB + prng.below(20 * MiB));
      const Blob second = net.make_blob(1 + prng.below(6 * MiB));
      if (prng.chance(0.5)) net.give(7, first);
      if (prng.chance(0.3)) net.make_liar(6, 9);
      for (std::size_t n = 0; n < 6; ++n) {
        net.pull(n, first);
        if (prng.chance(0.7)) net.pull(n, second);
        net.run_for(std::chrono::milliseconds(prng.below(100)));
      }
      net.kill(5);
      net.run_for(std::chrono::milliseconds(prng.below(300)));
      if (prng.chance(0.5)) net.freeze(7);
      if (!net.is_complete(4, first)) net.stop_reading(4, first);
      const auto done = [&] {
        for (std::size_t n = 0; n < 4; ++n) {
          if (!net.is_complete(n, first)) return false;
        }
        return true;
      };
      CHECK(net.run_until(done, 60s));
      CHECK(net.origin().bytes_out <= 2 * (first.size + second.size));
      net.run_for(1s);
    }
  }
}
