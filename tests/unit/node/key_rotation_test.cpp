// Who holds which cluster key, and whom a change would cut off.
#include "node/key_rotation.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::node;
using gossip::Member;
using gossip::MemberState;

namespace {

constexpr KeyName k1 = 0x1111;
constexpr KeyName k2 = 0x2222;
constexpr KeyName k3 = 0x3333;

Member member(const std::string& name, KeyNames keys, MemberState state = MemberState::alive) {
  Member out;
  out.name = name;
  out.keys = keys;
  out.state = state;
  return out;
}

Member self(KeyNames keys) {
  Member out = member("self", keys);
  out.is_self = true;
  return out;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_SUITE("node/key_rotation") {
  TEST_CASE("each key is told with who accepts it, who seals with it and who lacks it") {
    const std::vector<Member> members = {self({k2, k1}),
                                         member("b", {k1, k2}),
                                         member("a", {k1, 0}),
                                         member("dead", {k1, 0}, MemberState::faulty),
                                         member("gone", {k1, 0}, MemberState::left),
                                         member("shaky", {k3, k2}, MemberState::suspect)};
    const auto standings = key_standings({k2, k1}, members);
    REQUIRE(standings.size() == 3);
    CHECK(standings[0].name == k2);
    CHECK(standings[0].role == KeyStanding::Role::seals);
    CHECK(standings[0].accepted_by == 3);
    CHECK(standings[0].sealed_with_by == 1);
    CHECK(standings[0].lacking == Names{"a"});
    CHECK(standings[0].lost == Names{"dead"});
    CHECK(standings[1].name == k1);
    CHECK(standings[1].role == KeyStanding::Role::opens);
    CHECK(standings[1].lacking == Names{"shaky"});
    CHECK(standings[1].sealing == Names{"a", "b"});
    CHECK(standings[2].name == k3);
    CHECK(standings[2].role == KeyStanding::Role::unknown);
    CHECK(standings[2].sealing == Names{"shaky"});
  }

  TEST_CASE("a rotation in its three steps parts nobody") {
    CHECK(key_loss({k1, 0}, {k1, k2}, {self({k1, 0}), member("b", {k1, 0})}).none());
    CHECK(key_loss({k1, k2}, {k2, k1}, {self({k1, k2}), member("b", {k1, k2})}).none());
    CHECK(key_loss({k2, k1}, {k2, 0}, {self({k2, k1}), member("b", {k2, k1})}).none());
    CHECK(key_loss({k2, k1}, {k2, 0}, {self({k2, k1}), member("b", {k2, 0})}).none());
  }

  TEST_CASE("promoting a key that somebody lacks, and retiring one that somebody seals with") {
    const std::vector<Member> members = {self({k1, k2}), member("b", {k1, k2}),
                                         member("c", {k1, 0}),
                                         member("down", {k1, 0}, MemberState::faulty)};
    const KeyLoss promotion = key_loss({k1, k2}, {k2, k1}, members);
    CHECK(promotion.deaf == Names{"c"});
    CHECK(promotion.mute.empty());
    CHECK(promotion.to_string({k2, k1}) == "key 2222 would seal, and is not accepted by c");
    const KeyLoss both = key_loss({k1, k2}, {k2, 0}, members);
    CHECK(both.deaf == Names{"c"});
    CHECK(both.mute == Names{"b", "c"});
    // What is parted already is no reason to refuse, nor is going back.
    CHECK(key_loss({k2, k1}, {k2, k1}, members).none());
    CHECK(key_loss({k2, k1}, {k1, k2}, members).none());
  }

  TEST_CASE("long lists of names are cut") {
    const Names names = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    CHECK(few_of(names) == "a, b, c, d, e, f, g, h and 2 more");
    CHECK(few_of({}).empty());
  }
}
