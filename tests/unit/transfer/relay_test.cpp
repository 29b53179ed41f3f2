// Fresh chunks handed on down chains, and what becomes of them when a hop does not play along.
#include "exchange_net.hpp"
#include "fixed_view.hpp"

#include "base/limits.hpp"
#include "transfer/relay.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::testing;
using namespace std::chrono_literals;
using limits::KiB;
using limits::MiB;

namespace {

std::uint64_t sum(Net& net, std::uint64_t ExchangeStats::*field) {
  std::uint64_t total = 0;
  for (std::size_t n = 0; n < net.size(); ++n) total += net.exchange(n).stats().*field;
  return total;
}

}  // namespace

TEST_SUITE("transfer/relay") {
  TEST_CASE("rings: each has all others once, and who knows the same others has the same rings") {
    const SwarmTag tag{};
    std::vector<NodeId> nodes;
    for (std::uint32_t i = 1; i <= 12; ++i) nodes.push_back(identity_of(i).node_id());
    std::sort(nodes.begin(), nodes.end());
    for (const NodeId& self : nodes) {
      std::vector<NodeId> others = nodes;
      std::erase(others, self);
      RelayRings rings(tag, self);
      rings.set_others(others);
      for (std::size_t ring = 0; ring < RelayRings::count; ++ring) {
        const auto chain = rings.chain(ring);
        CHECK(std::set<NodeId>(chain.begin(), chain.end()) ==
              std::set<NodeId>(others.begin(), others.end()));
        // The chain of the node after this one goes on where this one's does.
        std::vector<NodeId> next_others = nodes;
        std::erase(next_others, chain.front());
        RelayRings next(tag, chain.front());
        next.set_others(next_others);
        CHECK(std::equal(chain.begin() + 1, chain.end(), next.chain(ring).begin()));
        CHECK(next.chain(ring).back() == self);
      }
      CHECK(rings.successors().size() >= 4);
    }
  }

  TEST_CASE("a cold blob: nearly all that the others get of a chunk comes down chains, once") {
    for (const std::size_t nodes : {2U, 8U, 16U}) {
      CAPTURE(nodes);
      Net net({.nodes = nodes});
      const Blob blob = net.make_blob(48 * MiB);
      for (std::size_t n = 0; n < nodes; ++n) net.pull(n, blob);
      REQUIRE(net.run_until([&] { return net.all_complete(blob); }, 60s));
      const std::uint64_t received = (nodes - 1) * blob.size;
      MESSAGE(nodes, " nodes: relayed ", sum(net, &ExchangeStats::relayed_bytes) * 100 / received,
              " %, repaired blocks ", sum(net, &ExchangeStats::relay_repairs), ", duplicates ",
              sum(net, &ExchangeStats::duplicate_blocks), ", uploads ",
              sum(net, &ExchangeStats::upload_bytes) * 100 / received, " %");
      CHECK(net.origin().bytes_out == blob.size);
      CHECK(sum(net, &ExchangeStats::relayed_bytes) >= received * 9 / 10);
      CHECK(sum(net, &ExchangeStats::upload_bytes) <= received * 105 / 100);
      for (std::size_t n = 0; n < nodes; ++n) net.exchange(n).check_invariants();
    }
  }

  TEST_CASE("a hop that dies, stands still or passes on wrong bytes: all others are done in time") {
    enum class Fault { none, dies, freezes, corrupts };
    std::optional<Duration> undisturbed;
    for (const Fault fault : {Fault::none, Fault::dies, Fault::freezes, Fault::corrupts}) {
      CAPTURE(static_cast<int>(fault));
      constexpr std::size_t hop = 3;
      Net net({.nodes = 8});
      const Blob blob = net.make_blob(96 * MiB);
      for (std::size_t n = 0; n < net.size(); ++n) net.pull(n, blob);
      if (fault == Fault::corrupts) net.make_liar(hop, 9);
      net.run_for(400ms);
      if (fault == Fault::dies) net.kill(hop);
      if (fault == Fault::freezes) net.freeze(hop);
      REQUIRE(net.run_until(
          [&] {
            for (std::size_t n = 0; n < net.size(); ++n) {
              if (n != hop && !net.is_complete(n, blob)) return false;
            }
            return true;
          },
          60s));
      const Duration took = net.now() - TimePoint{};
      if (fault == Fault::none) undisturbed = took;
      MESSAGE("took ", to_seconds(took), " s, repaired ", sum(net, &ExchangeStats::relay_repairs),
              " blocks, wrong chunks ", sum(net, &ExchangeStats::relay_failures), ", uploads ",
              sum(net, &ExchangeStats::upload_bytes) * 100 / (7 * blob.size), " %, origin ",
              net.origin().bytes_out * 100 / blob.size, " %");
      CHECK(took <= *undisturbed + 5s);
      // Whoever vouched for wrong bytes is found out by those it gave them to, and nobody else is.
      std::size_t convicted_by = 0;
      for (std::size_t n = 0; n < net.size(); ++n) {
        const auto banned = net.exchange(n).banned(net.now());
        const bool is_liar = fault == Fault::corrupts && n != hop;
        CHECK(banned.size() <= (is_liar ? 1U : 0U));
        if (!banned.empty()) CHECK(banned.front() == net.identity(hop).node_id());
        convicted_by += banned.size();
      }
      if (fault == Fault::corrupts) CHECK(convicted_by >= 5);
      CHECK(net.origin().bytes_out <= blob.size + 2 * limits::extent_bytes);
    }
  }
}
