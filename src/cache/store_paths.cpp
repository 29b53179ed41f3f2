// Path building and parsing.
#include "cache/store_paths.hpp"

#include "base/assert.hpp"

#include <array>

#include <sodium.h>

namespace waggle::cache {
namespace {

constexpr std::size_t origin_hash_bytes = 16;

}  // namespace

std::string StorePaths::algorithm(DigestAlgorithm algorithm) const {
  return blobs() + (algorithm == DigestAlgorithm::sha512 ? "/sha512" : "/sha256");
}

std::string StorePaths::blob_directory(const Digest& digest) const {
  return algorithm(digest.algorithm()) + "/" + digest.hex().substr(0, 2);
}

std::string StorePaths::blob(const Digest& digest) const {
  return blob_directory(digest) + "/" + digest.hex();
}

std::string StorePaths::partial(const Digest& digest, std::string_view origin) const {
  std::array<std::byte, origin_hash_bytes> hash{};
  const ByteView text = as_bytes(origin);
  const int failed = crypto_generichash(as_uchar(MutableByteView(hash)), hash.size(),
                                        as_uchar(text), text.size(), nullptr, 0);
  WAGGLE_ASSERT(failed == 0);
  return partials() + "/" + digest.hex() + "-" + to_hex(hash);
}

std::string StorePaths::sidecar(const Digest& digest) const {
  return sidecars() + "/" + digest.hex();
}

std::string StorePaths::pin(const Digest& digest) const { return pins() + "/" + digest.hex(); }

std::optional<Digest> StorePaths::parse_hex(std::string_view name) {
  const bool long_hash = name.size() == 128;
  const auto digest = Digest::parse((long_hash ? "sha512:" : "sha256:") + std::string(name));
  if (!digest) return std::nullopt;
  return *digest;
}

bool StorePaths::is_partial_name(std::string_view name) {
  const auto dash = name.find('-');
  if (dash == std::string_view::npos || !parse_hex(name.substr(0, dash))) return false;
  const auto hash = from_hex(name.substr(dash + 1));
  return hash && hash->size() == origin_hash_bytes;
}

bool StorePaths::is_temporary_name(std::string_view name) {
  const auto dot = name.find(".tmp");
  return dot != std::string_view::npos && parse_hex(name.substr(0, dot)).has_value();
}

}  // namespace waggle::cache
