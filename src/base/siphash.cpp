// SipHash-2-4 from libsodium and the HRW order built on it.
#include "base/siphash.hpp"

#include "base/keys.hpp"

#include <algorithm>
#include <utility>

namespace waggle {

IdKey IdKey::for_cluster(std::string_view cluster_name) {
  Bytes message = to_bytes(as_bytes("waggle-id"));
  append(message, as_bytes(cluster_name));
  IdKey key;
  blake2b(key.bytes, message);
  return key;
}

std::uint64_t siphash(const IdKey& key, ByteView message) {
  std::array<std::byte, crypto_shorthash_BYTES> out{};
  crypto_shorthash(as_uchar(MutableByteView(out)), as_uchar(message), message.size(),
                   as_uchar(ByteView(key.bytes)));
  return load_le<std::uint64_t>(out);
}

Id64 id64_of(const IdKey& key, const Digest& digest) {
  // Digest::to_wire() without its allocation: every lookup begins here.
  std::array<std::byte, 1 + 64> wire;
  wire[0] = static_cast<std::byte>(digest.algorithm());
  const ByteView hash = digest.bytes();
  std::copy(hash.begin(), hash.end(), wire.begin() + 1);
  return Id64{siphash(key, ByteView(wire).first(1 + hash.size()))};
}

std::uint64_t hrw_score(const IdKey& key, const NodeId& node, std::string_view domain,
                        ByteView subject) {
  Bytes message = to_bytes(node.bytes);
  append(message, as_bytes(domain));
  append(message, subject);
  return siphash(key, message);
}

std::vector<NodeId> hrw_top(const IdKey& key, std::span<const NodeId> nodes,
                            std::string_view domain, ByteView subject, std::size_t count) {
  std::vector<std::pair<std::uint64_t, NodeId>> scored;
  scored.reserve(nodes.size());
  for (const auto& node : nodes) scored.emplace_back(hrw_score(key, node, domain, subject), node);
  const auto higher = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  count = std::min(count, scored.size());
  std::partial_sort(scored.begin(), scored.begin() + static_cast<std::ptrdiff_t>(count),
                    scored.end(), higher);
  std::vector<NodeId> top;
  for (std::size_t i = 0; i < count; ++i) top.push_back(scored[i].second);
  return top;
}

}  // namespace waggle
