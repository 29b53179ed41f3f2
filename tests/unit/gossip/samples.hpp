// Members and identities for gossip tests: node n is always the same node.
#pragma once

#include "base/identity.hpp"
#include "gossip/gossip.hpp"
#include "gossip/wire.hpp"

#include <string>

namespace waggle::gossip::test {

inline Identity identity_of(unsigned n) {
  SecretBytes<32> seed;
  store_le(seed.mutable_view(), n);
  return Identity(seed);
}

inline Endpoint endpoint_of(unsigned n) {
  return Endpoint::v4(10, 0, static_cast<std::uint8_t>(n / 256), static_cast<std::uint8_t>(n % 256),
                      7947);
}

inline KeyRing keys_of(std::initializer_list<unsigned> seeds) {
  KeyRing ring;
  for (const unsigned seed : seeds) {
    SecretKey key;
    store_le(key.mutable_view(), seed);
    ring.emplace_back(key);
  }
  return ring;
}

inline Member member_of(unsigned n, MemberState state = MemberState::alive,
                        std::uint64_t incarnation = 1) {
  const Identity identity = identity_of(n);
  Member member;
  member.id = identity.node_id();
  member.public_key = identity.public_key();
  member.incarnation = incarnation;
  member.state = state;
  member.endpoints = {endpoint_of(n)};
  member.name = "node-" + std::to_string(n);
  member.zone = "rack-1";
  member.keys = names_of(keys_of({1}));
  return member;
}

inline NodeId id_of(unsigned n) { return identity_of(n).node_id(); }

}  // namespace waggle::gossip::test
