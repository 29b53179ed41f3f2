// A node joins a cluster of full members: the index comes as a snapshot, whatever happens to the
// members that give it or stand in it.
#include "announcement_network.hpp"
#include "base/limits.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <functional>
#include <set>
#include <vector>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

constexpr std::size_t members = limits::set_pulls_max + 2;
constexpr std::uint64_t each = limits::log_records_per_origin_max + 10;  // logs do not reach back
constexpr std::uint64_t shared = 20;                                     // of them, by all
constexpr std::uint64_t blobs = shared + members * (each - shared);
constexpr std::size_t joiner = members;

/// Number `n` of what member `i` holds.
std::uint64_t blob_of(std::size_t i, std::uint64_t n) {
  return n < shared ? n : shared + i * (each - shared) + n - shared;
}

/// Full members that agree, and a node that is about to join them.
struct Join {
  AnnouncementNetwork net;
  std::vector<SnapshotPart> parts;  ///< sent to the joiner
  std::size_t set_pulls = 0;        ///< by the joiner
  /// Sees what the joiner is sent (giver, frame), may change it, and says false to lose it.
  std::function<bool(std::size_t, Bytes&)> to_joiner;

  explicit Join(std::uint64_t seed) : net(members + 1, seed, 0, {BroadcastMode::relay, 4096}) {
    net.check_every_ = 20'011;
    net.stop(joiner);
    for (std::size_t i = 0; i < members; ++i) {
      for (std::uint64_t n = 0; n < each; ++n) net.announce(i, blob_of(i, n));
    }
    REQUIRE(net.run_until(60s, [&] { return net.roots_equal(); }));
    net.on_bulk_ = [this](std::size_t from, std::size_t to, Bytes& frame) {
      const auto message = decode_bulk(frame);
      REQUIRE(message.has_value());
      if (from == joiner && std::holds_alternative<SetPull>(*message)) ++set_pulls;
      if (to != joiner) return true;
      const auto* part = std::get_if<SnapshotPart>(&*message);
      if (part != nullptr) parts.push_back(*part);
      return !to_joiner || part == nullptr || to_joiner(from, frame);
    };
  }

  [[nodiscard]] const AnnouncementStats& stats() { return net.at(joiner).stats(); }
  [[nodiscard]] std::size_t digests() { return net.at(joiner).digest_count(); }
  [[nodiscard]] bool finish(Duration limit) {
    return net.run_until(limit, [&] { return stats().snapshots_taken > 0; });
  }
  /// Everybody agrees, and on the truth.
  void settle(Duration limit, std::uint64_t blob_count = blobs) {
    CHECK(net.run_until(limit, [&] { return net.roots_equal(); }));
    CHECK(net.is_exact(blob_count));
    for (std::size_t i = 0; i < net.size(); ++i) {
      if (net.running(i)) net.at(i).check_invariants();
    }
  }
};

/// The part in `frame` with change(holders) of each entry. @pre at most 64 rows
template <typename Change>
Bytes with_holders(const Bytes& frame, Change change) {
  auto part = std::get<SnapshotPart>(*decode_bulk(frame));
  SnapshotPacker packer(part.origin_count, limits::snapshot_part_bytes_max);
  SnapshotReader reader(part.entries, part.origin_count);
  while (const auto entry = reader.next()) {
    const std::uint64_t holders = change(entry->holders[0]);
    REQUIRE(packer.append({entry->definition, entry->id, {&holders, 1}}));
  }
  part.entries = packer.take();
  return encode_bulk(part);
}

}  // namespace

TEST_SUITE("gossip/snapshot_join") {
  TEST_CASE("a joiner gets the index of many full members without pulling one set") {
    Join join(1);
    for (std::uint64_t key = 1; key <= 300; ++key) join.net.name(key % 3, key, key, 1000 + key);
    join.net.run_for(10s);
    join.net.restart(joiner);
    CHECK(join.net.run_until(1s, [&] { return join.net.at(joiner).matched_root(); }));
    CHECK(join.set_pulls == 0);
    CHECK(join.stats().sets_pulled == 0);
    CHECK(join.stats().snapshots_taken == 1);
    CHECK(join.parts.size() > 20);
    std::size_t entries = 0;
    for (std::size_t i = 0; i < join.parts.size(); ++i) {
      CHECK(join.parts[i].origins.empty() == (i > 0));  // the table comes once
      entries += join.parts[i].entries.size();
    }
    CHECK(join.stats().snapshot_parts_taken == join.parts.size());
    CHECK(entries < blobs * 45);
    CHECK(join.digests() == blobs);
    CHECK(join.net.at(joiner).fact_count() == members * each);
    for (const std::uint64_t blob : {0UL, 19UL, 20UL, blobs - 1}) {
      CHECK(join.net.at(joiner).content_size(digest_of(blob)) == blob + 1);
    }
    for (std::uint64_t key = 1; key <= 300; ++key) {
      const auto name = join.net.at(joiner).find_name(key);
      REQUIRE(name.has_value());
      CHECK(name->digest == digest_of(key));
    }
    join.settle(5s);
  }

  TEST_CASE("own blobs stay, also those that the others hold too") {
    Join join(2);
    join.net.start_alone(joiner);
    join.net.announce(joiner, 3);
    join.net.announce(joiner, blobs);
    join.net.meet_all(joiner);
    CHECK(join.finish(2s));
    CHECK(join.set_pulls == 0);
    join.settle(5s, blobs + 1);
    CHECK(join.net.holders(0, blobs) == std::vector<NodeId>{join.net.id(joiner)});
  }

  TEST_CASE("when the giver dies another one goes on where it was, and nothing comes twice") {
    Join join(3);
    std::vector<std::size_t> givers;
    std::vector<SnapshotCursor> taken;
    join.to_joiner = [&](std::size_t from, Bytes& frame) {
      const bool new_giver = givers.empty() || givers.back() != from;
      if (new_giver && givers.size() < 3) givers.push_back(from);
      // The first two givers die with a part under way.
      if (taken.size() % 7 == 6 && givers.size() < 3 && givers.back() == from) return false;
      taken.push_back(std::get<SnapshotPart>(*decode_bulk(frame)).from);
      return true;
    };
    join.net.restart(joiner);
    REQUIRE(join.net.run_until(1s, [&] { return taken.size() == 6; }));
    join.net.run_for(20ms);
    join.net.stop(givers[0]);
    REQUIRE(join.net.run_until(1s, [&] { return taken.size() >= 13 || givers.size() == 2; }));
    CHECK(join.finish(20s));
    CHECK(givers.size() >= 2);
    CHECK(std::set(taken.begin(), taken.end()).size() == taken.size());
    CHECK(join.set_pulls == 0);
    CHECK(join.stats().snapshots_taken == 1);
    join.settle(5s);
    CHECK(join.digests() == blobs - (each - shared));  // the dead one's are gone
  }

  TEST_CASE("a silent giver is replaced after 5 s, at the same cursor") {
    Join join(4);
    std::size_t seen = 0;
    join.to_joiner = [&](std::size_t, Bytes&) { return ++seen != 5; };
    join.net.restart(joiner);
    join.net.run_for(4s);
    CHECK(join.stats().snapshot_parts_taken == 4);
    CHECK(join.finish(3s));
    CHECK(join.stats().snapshot_parts_taken == join.parts.size() - 1);
    CHECK(join.parts[4].from == join.parts[5].from);
    CHECK(join.set_pulls == 0);
    join.settle(5s);
  }

  TEST_CASE("origins may change while their facts are imported") {
    for (std::uint64_t seed = 5; seed <= 6; ++seed) {
      CAPTURE(seed);
      Join join(seed);
      std::uint64_t fresh = blobs;
      Prng prng(seed);
      join.to_joiner = [&](std::size_t, Bytes&) {
        for (int i = 0; i < 6; ++i) {
          const std::size_t member = prng.below(members);
          join.net.withdraw(member, blob_of(member, prng.below(each)));
          join.net.announce(member, blob_of(member, prng.below(each)));
          join.net.announce(prng.below(members), fresh++);
        }
        return true;
      };
      join.net.restart(joiner);
      CHECK(join.finish(3s));
      join.to_joiner = nullptr;
      CHECK(join.stats().refused_sets == 0);
      CHECK(join.stats().refused_parts == 0);
      join.settle(20s, fresh);
      CHECK(join.set_pulls == 0);
    }
  }

  TEST_CASE("an origin that writes more than its log keeps is pulled as a set afterwards") {
    Join join(8);
    join.to_joiner = [&](std::size_t, Bytes&) {
      if (join.parts.size() != 10) return true;
      for (std::uint64_t n = 0; n < 300; ++n) join.net.announce(4, blobs + n);
      return true;
    };
    join.net.restart(joiner);
    CHECK(join.finish(3s));
    join.settle(20s, blobs + 300);
    CHECK(join.stats().sets_pulled == 1);
  }

  TEST_CASE("a false set is refused and pulled singly") {
    Join join(9);
    join.to_joiner = [&](std::size_t, Bytes& frame) {
      if (join.parts.size() != 6) return true;
      // One member more is said to hold each blob that has one holder.
      frame = with_holders(frame, [](std::uint64_t holders) {
        return std::has_single_bit(holders) ? holders | 1 : holders;
      });
      return true;
    };
    join.net.restart(joiner);
    CHECK(join.finish(3s));
    CHECK(join.stats().refused_sets == 1);
    CHECK(join.set_pulls == 1);
    join.settle(10s);
  }

  TEST_CASE("a false set of an origin that changed is found when its records are there") {
    Join join(10);
    std::size_t lowest = 0;  // row 0
    for (std::size_t i = 1; i < members; ++i) {
      if (join.net.id(i) < join.net.id(lowest)) lowest = i;
    }
    join.to_joiner = [&](std::size_t, Bytes& frame) {
      if (join.parts.size() == 9) join.net.announce(lowest, blobs);
      if (join.parts.size() != 6) return true;
      frame = with_holders(frame, [](std::uint64_t holders) { return holders | 1; });
      return true;
    };
    join.net.restart(joiner);
    CHECK(join.finish(3s));
    CHECK(join.stats().refused_sets == 0);
    join.settle(20s, blobs + 1);
    CHECK(join.stats().refused_sets == 1);
    CHECK(join.stats().sets_pulled == 1);
  }

  TEST_CASE("a part that contradicts itself is refused, and another member is asked") {
    Join join(11);
    std::size_t liar = SIZE_MAX;
    join.to_joiner = [&](std::size_t from, Bytes& frame) {
      if (liar == SIZE_MAX) liar = from;
      if (from != liar || join.parts.size() < 4) return true;
      auto part = std::get<SnapshotPart>(*decode_bulk(frame));
      part.from.at += join.parts.size() % 2 == 0 ? 0 : 1;
      ++part.table_hash;
      frame = encode_bulk(part);
      return true;
    };
    join.net.restart(joiner);
    CHECK(join.finish(20s));
    CHECK(join.stats().refused_parts >= 1);
    CHECK(join.set_pulls == 0);
    join.settle(5s);
  }

  TEST_CASE("origins that go or restart during the import are not part of it") {
    for (std::uint64_t seed = 12; seed <= 13; ++seed) {
      CAPTURE(seed);
      Join join(seed);
      join.to_joiner = [&](std::size_t from, Bytes&) {
        const auto other = [&](std::size_t i) { return from == i ? i + 10 : i; };
        if (join.parts.size() == 8) join.net.stop(other(1));
        if (join.parts.size() == 12) join.net.stop(other(2));
        if (join.parts.size() == 16) {
          join.net.restart(other(2));
          join.net.restart(other(3));
          join.net.announce(other(3), blobs);
        }
        return true;
      };
      join.net.restart(joiner);
      CHECK(join.finish(3s));
      join.to_joiner = nullptr;
      for (std::size_t i = 0; i < join.net.size(); ++i) {
        if (join.net.running(i)) join.net.at(i).check_invariants();
      }
      CHECK(join.set_pulls == 0);
      join.net.run_for(61s);
      join.settle(20s, blobs + 1);
    }
  }

  TEST_CASE("when nobody gives anything the sets are pulled one by one") {
    Join join(15);
    join.to_joiner = [](std::size_t, Bytes&) { return false; };
    join.net.restart(joiner);
    join.net.run_for(4s);
    CHECK(join.digests() == 0);
    CHECK(join.net.run_until(45s, [&] { return join.net.at(joiner).matched_root(); }));
    CHECK(join.parts.size() == limits::snapshot_tries_max);
    CHECK(join.stats().snapshots_taken == 0);
    CHECK(join.stats().sets_pulled == members);
    join.settle(5s);
  }

  TEST_CASE("an import takes a minute at most") {
    Join join(16);
    // Every other answer is lost, and its giver waited for.
    join.to_joiner = [&](std::size_t, Bytes&) { return join.parts.size() % 2 == 1; };
    join.net.restart(joiner);
    join.net.run_for(59s);
    CHECK(join.set_pulls == 0);
    CHECK(join.stats().snapshot_parts_taken >= 10);
    CHECK(join.net.run_until(10s, [&] { return join.net.at(joiner).matched_root(); }));
    CHECK(join.stats().snapshots_taken == 0);
    join.settle(5s);
  }

  TEST_CASE("few missing sets are pulled one by one") {
    Join join(17);
    for (std::size_t i = limits::set_pulls_max; i < members; ++i) join.net.stop(i);
    join.net.run_for(61s);
    join.net.restart(joiner);
    CHECK(join.net.run_until(3s, [&] { return join.net.at(joiner).matched_root(); }));
    CHECK(join.parts.empty());
    CHECK(join.stats().sets_pulled == limits::set_pulls_max);
  }

  TEST_CASE("same seed, same import") {
    std::set<std::uint64_t> traces;
    for (int run = 0; run < 2; ++run) {
      Join join(18);
      join.net.restart(joiner);
      join.net.run_for(2s);
      traces.insert(join.net.trace());
    }
    CHECK(traces.size() == 1);
  }
}
