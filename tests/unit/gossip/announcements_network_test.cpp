// Whole clusters of Announcements in virtual time: what everybody knows in the end, and how soon.
#include "announcement_network.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

TEST_SUITE("gossip/announcements_network") {
  TEST_CASE("one announcement reaches all 30 nodes within 50 ms without loss") {
    AnnouncementNetwork net(30, 1);
    net.run_for(1s);
    net.announce(7, 1);
    CHECK(net.run_until(50ms, [&] { return net.all_know(7, 1); }));
    CHECK(net.holders(7, 1).empty());
    CHECK(net.at(7).content_size(digest_of(1)) == 2);
    CHECK(net.run_until(5s, [&] { return net.roots_equal(); }));
  }

  TEST_CASE("with 20 % loss everybody knows everything after a few repair rounds") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      CAPTURE(seed);
      AnnouncementNetwork net(30, seed, 0.2);
      net.run_for(1s);
      for (std::uint64_t blob = 0; blob < 60; ++blob) net.announce(blob % 30, blob);
      CHECK(net.run_until(20s, [&] {
        for (std::uint64_t blob = 0; blob < 60; ++blob) {
          if (!net.all_know(blob % 30, blob)) return false;
        }
        return net.roots_equal();
      }));
      net.check_facts(60);
    }
  }

  TEST_CASE("a withdrawn blob leaves every index, also with loss") {
    AnnouncementNetwork net(10, 3, 0.2);
    net.announce(2, 5);
    net.announce(3, 5);
    REQUIRE(net.run_until(12s, [&] { return net.all_know(2, 5) && net.all_know(3, 5); }));
    net.withdraw(2, 5);
    CHECK(net.run_until(12s, [&] {
      for (std::size_t i = 0; i < net.size(); ++i) {
        const auto known = net.holders(i, 5);
        if (std::binary_search(known.begin(), known.end(), net.id(2))) return false;
      }
      return net.roots_equal();
    }));
    CHECK(net.all_know(3, 5));
    net.withdraw(3, 5);
    CHECK(net.run_until(12s, [&] {
      for (std::size_t i = 0; i < net.size(); ++i) {
        if (net.at(i).digest_count() != 0) return false;
      }
      return true;
    }));
  }

  TEST_CASE("a joiner pulls the 5,000 blobs of its peer as a set") {
    AnnouncementNetwork net(3, 4);
    net.check_every_ = 997;
    net.stop(2);
    for (std::uint64_t blob = 0; blob < 5000; ++blob) net.announce(0, blob);
    net.run_for(5s);
    CHECK(net.at(1).digest_count() == 5000);
    net.restart(2);
    CHECK(net.run_until(2s, [&] { return net.at(2).matched_root(); }));
    CHECK(net.at(2).digest_count() == 5000);
    CHECK(net.at(2).content_size(digest_of(4999)) == 5000);
    CHECK(net.holders(2, 77) == std::vector<NodeId>{net.id(0)});
    CHECK(net.at(2).stats().sets_pulled >= 1);
    net.at(2).check_invariants();
  }

  TEST_CASE("the sides of a partition agree again after it heals") {
    AnnouncementNetwork net(12, 5, 0.05);
    net.run_for(2s);
    net.announce(0, 1);
    net.announce(11, 2);
    REQUIRE(net.run_until(12s, [&] { return net.all_know(0, 1) && net.all_know(11, 2); }));
    net.partition(6);
    CHECK(net.holders(11, 1).empty());  // masked at once
    CHECK(net.holders(0, 2).empty());
    net.announce(1, 3);
    net.announce(10, 4);
    net.withdraw(0, 1);
    net.run_for(20s);
    net.heal();
    CHECK(net.run_until(15s, [&] { return net.roots_equal(); }));
    CHECK(net.all_know(1, 3));
    CHECK(net.all_know(10, 4));
    CHECK(net.all_know(11, 2));
    CHECK(net.holders(11, 1).empty());
    net.check_facts(5);
  }

  TEST_CASE("facts of a dead node are masked at once and cleared after 60 s") {
    AnnouncementNetwork net(4, 6);
    net.announce(0, 1);
    REQUIRE(net.run_until(5s, [&] { return net.all_know(0, 1); }));
    net.stop(0);
    CHECK(net.holders(1, 1).empty());
    CHECK(net.at(1).fact_count() == 1);
    net.run_for(61s);
    CHECK(net.at(1).fact_count() == 0);
    CHECK(net.at(1).content_size(digest_of(1)) == std::nullopt);
    CHECK(net.roots_equal());
  }

  TEST_CASE("a restarted node that announces the same set is never missing from the index") {
    AnnouncementNetwork net(6, 7, 0.1);
    for (std::uint64_t blob = 0; blob < 40; ++blob) net.announce(0, blob);
    REQUIRE(net.run_until(12s, [&] { return net.all_know(0, 39); }));
    REQUIRE(net.run_until(12s, [&] { return net.roots_equal(); }));
    net.restart(0);
    for (std::uint64_t blob = 0; blob < 40; ++blob) {
      net.announce(0, blob);
      const bool kept = !net.run_until(100ms, [&] {
        for (std::size_t i = 1; i < net.size(); ++i) {
          for (std::uint64_t b = 0; b < 40; ++b) {
            if (net.holders(i, b).size() != 1) return true;
          }
        }
        return false;
      });
      CHECK(kept);
    }
    CHECK(net.run_until(12s, [&] { return net.roots_equal(); }));
    CHECK(net.all_know(0, 17));
    for (std::size_t i = 1; i < net.size(); ++i) CHECK(net.at(i).fact_count() == 40);
  }

  TEST_CASE(
      "a restart goes on from what was told: nothing leaves an index, only differences travel") {
    AnnouncementNetwork net(50, 11, 0.01);
    net.check_every_ = 997;
    net.run_for(2s);
    std::set<std::uint64_t> blobs;
    for (std::uint64_t blob = 0; blob < 2000; ++blob) {
      net.announce(7, blob);
      blobs.insert(blob);
    }
    REQUIRE(net.run_until(30s, [&] { return net.all_know(7, 1999) && net.roots_equal(); }));
    net.run_for(3s);
    for (int round = 0; round < 3; ++round) {
      const auto frames = net.bulk_frames();
      blobs.erase(static_cast<std::uint64_t>(round));
      blobs.insert(static_cast<std::uint64_t>(5000 + round));
      net.restart_with(7, blobs);
      const bool kept = !net.run_until(5s, [&] {
        for (std::size_t i = 0; i < net.size(); ++i) {
          if (i != 7 && net.holders(i, 77).size() != 1) return true;
        }
        return false;
      });
      CHECK(kept);
      CHECK(net.run_until(10s, [&] { return net.roots_equal(); }));
      CHECK(net.bulk_frames() == frames);  // nobody had to pull the set
      CHECK(net.all_know(7, static_cast<std::uint64_t>(5000 + round)));
      CHECK(net.holders(3, static_cast<std::uint64_t>(round)).empty());
      CHECK(net.at(3).fact_count() == 2000);
    }
  }

  TEST_CASE("a restart that remembers less than it told makes others pull its set, and no more") {
    AnnouncementNetwork net(6, 12);
    for (std::uint64_t blob = 0; blob < 10; ++blob) net.announce(0, blob);
    net.run_for(3s);
    net.forget_told(0, 4);
    net.restart_with(0, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    CHECK(net.run_until(15s, [&] { return net.roots_equal() && net.all_know(0, 9); }));
    for (std::size_t i = 1; i < 6; ++i) CHECK(net.at(i).fact_count() == 10);
  }

  TEST_CASE("a restarted node that lost its blobs leaves the index 10 s later") {
    AnnouncementNetwork net(4, 8);
    net.announce(0, 1);
    net.announce(0, 2);
    net.run_for(3s);
    net.restart(0);
    net.announce(0, 2);
    net.run_for(5s);
    CHECK(net.holders(1, 1).size() == 1);
    net.run_for(6s);
    CHECK(net.holders(1, 1).empty());
    CHECK(net.holders(1, 2).size() == 1);
    net.restart(0);  // and with nothing at all
    net.run_for(11s);
    CHECK(net.at(1).fact_count() == 0);
    CHECK(net.roots_equal());
  }

  TEST_CASE("a raised incarnation moves the facts without a set pull or a gap") {
    AnnouncementNetwork net(5, 9);
    for (std::uint64_t blob = 0; blob < 300; ++blob) net.announce(0, blob);
    net.run_for(6s);
    REQUIRE(net.all_know(0, 299));
    const auto frames = net.bulk_frames();
    net.raise_incarnation(0);
    CHECK(net.all_know(0, 299));
    net.run_for(6s);
    CHECK(net.all_know(0, 0));
    CHECK(net.all_know(0, 299));
    CHECK(net.bulk_frames() == frames);
    CHECK(net.roots_equal());
    net.announce(0, 300);
    CHECK(net.run_until(2s, [&] { return net.all_know(0, 300); }));
  }

  TEST_CASE("the newest name wins everywhere") {
    AnnouncementNetwork net(8, 10, 0.2);
    net.name(0, 99, 1, 1000);
    net.name(1, 99, 2, 2000);
    net.name(2, 99, 3, 1500);
    CHECK(net.run_until(15s, [&] { return net.roots_equal(); }));
    for (std::size_t i = 0; i < net.size(); ++i) {
      const auto name = net.at(i).find_name(99);
      REQUIRE(name);
      CHECK(name->digest == digest_of(2));
      CHECK(name->media_type == "text/plain");
    }
    net.stop(1);
    net.run_for(70s);
    CHECK(net.at(0).find_name(99)->digest == digest_of(2));
  }

  TEST_CASE("random churn converges, and the same seed gives the same bytes") {
    const auto run = [](std::uint64_t seed) {
      AnnouncementNetwork net(12, seed, 0.1);
      Prng prng(seed);
      for (int step = 0; step < 60; ++step) {
        const auto node = static_cast<std::size_t>(prng.below(12));
        switch (prng.below(8)) {
          case 0:
            net.restart(node);
            break;
          case 1:
            net.raise_incarnation(node);
            break;
          case 2:
            net.withdraw(node, prng.below(20));
            break;
          case 3:
            net.name(node, prng.below(3), prng.below(20), 1000 + prng.below(100));
            break;
          default:
            net.announce(node, prng.below(20));
            break;
        }
        if (prng.chance(0.1)) net.partition(static_cast<std::size_t>(prng.below(12)));
        if (prng.chance(0.2)) net.heal();
        net.run_for(Duration(prng.below(700'000'000)));
        net.check_facts(20);
      }
      net.set_loss(0);
      net.heal();
      CHECK(net.run_until(30s, [&] { return net.roots_equal(); }));
      net.run_for(11s);
      CHECK(net.is_exact(20));
      CHECK(net.roots_equal());
      for (std::size_t i = 1; i < net.size(); ++i) {
        CHECK(net.at(i).fact_count() == net.at(0).fact_count());
      }
      return net.trace();
    };
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(seed);
      CHECK(run(seed) == run(seed));
    }
  }
}
