// Identity, keys and signatures.
#include "base/identity.hpp"

#include "base/keys.hpp"

#include <doctest/doctest.h>

using namespace waggle;

TEST_SUITE("base/identity") {
  TEST_CASE("RFC 8032 section 7.1 test 1: key and signature of the empty message") {
    const auto seed = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    const Identity identity{SecretBytes<32>(std::span<const std::byte, 32>(*seed))};
    CHECK(to_hex(identity.public_key().bytes) ==
          "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    const Signature signature = identity.sign({});
    CHECK(to_hex(signature.bytes).substr(0, 32) == "e5564300c360ac729086e2cc806e828a");
    CHECK(verify_signature(identity.public_key(), {}, signature));
    CHECK_FALSE(verify_signature(identity.public_key(), as_bytes("x"), signature));
  }

  TEST_CASE("the node id is the hash of the public key and both X25519 halves agree") {
    SeededRandomSource random(1);
    const Identity identity = Identity::generate(random);
    CHECK(identity.public_key().node_id() == identity.node_id());
    std::array<std::byte, 32> product{};
    CHECK(crypto_scalarmult_base(as_uchar(MutableByteView(product)),
                                 identity.x25519_secret().data()) == 0);
    CHECK(product == identity.x25519_public());
    CHECK(NodeId::parse(identity.node_id().to_string()) == identity.node_id());
  }

  TEST_CASE("a cluster key's name is two bytes of its BLAKE2b-128, its id the first of them") {
    SecretKey secret;  // expected value: python hashlib.blake2b(.., digest_size=16)
    store_le(secret.mutable_view(), 1U);
    const ClusterKey key(secret);
    CHECK(key.name() == 0xbc14);
    CHECK(key.key_id() == 0xbc);
    CHECK(to_text(key.name()) == "bc14");
    CHECK(names_of({key}) == KeyNames{0xbc14, 0});
    CHECK(names_of({key}).accept(0xbc14));
    CHECK_FALSE(names_of({key}).accept(0));
  }

  TEST_CASE("cluster keys survive their file form and derive by purpose") {
    SeededRandomSource random(2);
    const ClusterKey key = ClusterKey::generate(random);
    const auto again = ClusterKey::parse(key.to_base64() + "\n");
    REQUIRE(again.has_value());
    CHECK(again->key_id() == key.key_id());
    CHECK(again->name() == key.name());
    CHECK(again->derive("udp") == key.derive("udp"));
    CHECK_FALSE(key.derive("udp") == key.derive("psk"));
    CHECK_FALSE(ClusterKey::parse("c2hvcnQ=").has_value());
  }
}
