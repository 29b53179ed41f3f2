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

/// A cluster key with its public one-byte name.
class ClusterKey {
 public:
  explicit ClusterKey(const SecretKey& key);
  /// Parses a key file: base64 of 32 bytes, white space at the end allowed.
  [[nodiscard]] static Result<ClusterKey> parse(std::string_view base64);
  [[nodiscard]] static ClusterKey generate(RandomSource& random);
  [[nodiscard]] std::string to_base64() const;
  /// First byte of BLAKE2b(key): goes in packet headers and the TCP preamble.
  [[nodiscard]] std::uint8_t key_id() const { return key_id_; }
  /// A key for one purpose ("udp", "psk", ...): BLAKE2b-256 keyed with the cluster key over the
  /// purpose.
  [[nodiscard]] SecretKey derive(std::string_view purpose) const;

 private:
  SecretKey key_;
  std::uint8_t key_id_ = 0;
};

/// 1 or 2 keys in the order of the configuration. @pre never empty
using KeyRing = std::vector<ClusterKey>;

/// BLAKE2b of `message` with `out.size()` bytes (16..64), keyed when `key` is not empty. @source
/// RFC 7693
void blake2b(MutableByteView out, ByteView message, ByteView key = {});

}  // namespace waggle
