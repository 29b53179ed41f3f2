// Cluster keys: 32 random bytes that admit a node. At most two at a time, the first seals, all open
// (rotation).
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/random_source.hpp"
#include "base/secret_bytes.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace waggle {

using SecretKey = SecretBytes<32>;

/// What a key is called where people and records speak of it: the first two bytes of
/// BLAKE2b-128(key), big-endian, so its upper byte is key_id(). Never 0. Two keys of one ring never
/// share a name (the ring's reader refuses them).
using KeyName = std::uint16_t;
/// Four hexadecimal digits.
[[nodiscard]] std::string to_text(KeyName name);

/// A cluster key with its public one-byte name.
class ClusterKey {
 public:
  explicit ClusterKey(const SecretKey& key);
  /// Parses a key file: base64 of 32 bytes, white space at the end allowed.
  [[nodiscard]] static Result<ClusterKey> parse(std::string_view base64);
  [[nodiscard]] static ClusterKey generate(RandomSource& random);
  [[nodiscard]] std::string to_base64() const;
  /// First byte of BLAKE2b(key): goes in packet headers and the TCP preamble.
  [[nodiscard]] std::uint8_t key_id() const { return static_cast<std::uint8_t>(name_ >> 8U); }
  [[nodiscard]] KeyName name() const { return name_; }
  /// A key for one purpose ("udp", "psk", ...): BLAKE2b-256 keyed with the cluster key over the
  /// purpose.
  [[nodiscard]] SecretKey derive(std::string_view purpose) const;

 private:
  SecretKey key_;
  KeyName name_ = 0;
};

/// 1 or 2 keys in the order of the configuration. @pre never empty
using KeyRing = std::vector<ClusterKey>;

/// A ring by its names: what members tell each other about the keys that they hold.
struct KeyNames {
  KeyName seals = 0;
  KeyName opens = 0;  ///< the second key; 0: there is none
  [[nodiscard]] bool accept(KeyName name) const {
    return name != 0 && (name == seals || name == opens);
  }
  bool operator==(const KeyNames&) const = default;
};
/// @pre 1 or 2 keys
[[nodiscard]] KeyNames names_of(const KeyRing& ring);

/// BLAKE2b of `message` with `out.size()` bytes (16..64), keyed when `key` is not empty. @source
/// RFC 7693
void blake2b(MutableByteView out, ByteView message, ByteView key = {});

}  // namespace waggle
