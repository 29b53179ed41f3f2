// Symbolic hashes: sha256 over a description of what would be hashed.
#include "sim/content.hpp"

#include <algorithm>

namespace waggle::sim {
namespace {

std::array<std::byte, 32> describe(const std::string& text) {
  const Digest digest = sha256_of(as_bytes(text));
  std::array<std::byte, 32> out{};
  std::copy(digest.bytes().begin(), digest.bytes().end(), out.begin());
  return out;
}

}  // namespace

Blob make_blob(const std::string& name, std::uint64_t size) {
  return {sha256_of(as_bytes(name + "/" + std::to_string(size))), size};
}

bool same_chunk(const Blob& blob, std::uint64_t other_size, ChunkIndex chunk) {
  if (blob.size == other_size) return true;
  const BlobLayout one = blob.layout();
  const BlobLayout other(other_size);
  const std::uint32_t index = to_value(chunk);
  return index < one.chunk_count() && index < other.chunk_count() &&
         one.chunk_offset(chunk) == other.chunk_offset(chunk) &&
         one.chunk_size(chunk) == other.chunk_size(chunk);
}

std::array<std::byte, 32> chunk_sha256(const Digest& blob, ChunkIndex chunk, Variant variant) {
  return describe("chunk " + blob.hex() + " " + std::to_string(to_value(chunk)) + " " +
                  std::to_string(variant));
}

Midstate true_midstate(const Digest& blob, std::uint32_t chunk) {
  if (chunk == 0) return sha256_initial_midstate();
  return {describe("midstate " + blob.hex() + " " + std::to_string(chunk))};
}

std::vector<Midstate> true_midstates(const Blob& blob) {
  std::vector<Midstate> list;
  for (std::uint32_t i = 1; i < blob.layout().chunk_count(); ++i)
    list.push_back(true_midstate(blob.digest, i));
  return list;
}

LinkEnd hash_link(const Digest& blob, const BlobLayout& layout, ChunkIndex chunk, Variant variant,
                  const Midstate& begin) {
  const std::uint32_t index = to_value(chunk);
  const bool is_last = index + 1 == layout.chunk_count();
  if (variant == true_bytes && begin == true_midstate(blob, index)) {
    if (is_last) return {std::nullopt, blob};
    return {true_midstate(blob, index + 1), std::nullopt};
  }
  const auto wrong = describe("wrong " + blob.hex() + " " + std::to_string(index) + " " +
                              std::to_string(variant) + " " + to_hex(begin.bytes));
  if (is_last) return {std::nullopt, Digest(DigestAlgorithm::sha256, wrong)};
  return {Midstate{wrong}, std::nullopt};
}

bool proves(const transfer::ChunkProof& proof, const Digest& blob, const BlobLayout& layout,
            ChunkIndex chunk, Variant variant) {
  if (const auto* crec = std::get_if<transfer::CrecProof>(&proof)) {
    return crec->sha256 == chunk_sha256(blob, chunk, variant);
  }
  const auto& link = std::get<transfer::LinkProof>(proof);
  const LinkEnd found = hash_link(blob, layout, chunk, variant, link.begin);
  return link.is_last ? found.digest == blob : found.end == link.end;
}

}  // namespace waggle::sim
