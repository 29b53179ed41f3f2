// Signed messages are msgpack arrays that open with their domain, so that no statement can stand
// for another.
#include "transfer/proof.hpp"

#include "base/assert.hpp"
#include "base/keys.hpp"
#include "base/msg.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

bool is_last(const BlobLayout& layout, ChunkIndex chunk) {
  return to_value(chunk) + 1 == layout.chunk_count();
}

Bytes crec_message(const CrecSubject& subject, const std::array<std::byte, 32>& sha256) {
  MsgWriter out;
  out.array(7).str("waggle-crec-1").str(subject.cluster).str(subject.origin);
  out.bin(subject.digest.to_wire()).uint(subject.size).uint(to_value(subject.chunk)).bin(sha256);
  return out.take();
}

Bytes list_message(std::string_view cluster, const Digest& digest, std::uint64_t size,
                   std::span<const Midstate> list) {
  MsgWriter out;
  out.array(5).str("waggle-mids-1").str(cluster).bin(digest.to_wire()).uint(size);
  out.bin(list_hash(list));
  return out.take();
}

bool verify_crec(const CrecProof& proof, ByteView bytes) {
  const Digest digest = sha256_of(bytes);
  return std::equal(digest.bytes().begin(), digest.bytes().end(), proof.sha256.begin());
}

}  // namespace

Midstate link_begin(std::span<const Midstate> list, ChunkIndex chunk) {
  if (to_value(chunk) == 0) return sha256_initial_midstate();
  WAGGLE_ASSERT(to_value(chunk) <= list.size());
  return list[to_value(chunk) - 1];
}

LinkProof link_proof(std::span<const Midstate> list, const BlobLayout& layout, ChunkIndex chunk) {
  WAGGLE_ASSERT(list.size() + 1 == layout.chunk_count());
  LinkProof proof{.begin = link_begin(list, chunk), .is_last = is_last(layout, chunk)};
  if (!proof.is_last) proof.end = list[to_value(chunk)];
  return proof;
}

LinkHash hash_link(const Midstate& begin, const BlobLayout& layout, ChunkIndex chunk,
                   ByteView bytes) {
  WAGGLE_ASSERT(bytes.size() == layout.chunk_size(chunk));
  Sha256 hash(begin, layout.chunk_offset(chunk));
  hash.update(bytes);
  if (is_last(layout, chunk)) return {.end = std::nullopt, .digest = hash.finish()};
  return {.end = hash.midstate(), .digest = std::nullopt};
}

bool verify_chunk(const ChunkProof& proof, const Digest& digest, const BlobLayout& layout,
                  ChunkIndex chunk, ByteView bytes) {
  if (bytes.size() != layout.chunk_size(chunk)) return false;
  if (const auto* crec = std::get_if<CrecProof>(&proof)) return verify_crec(*crec, bytes);
  const auto& link = std::get<LinkProof>(proof);
  if (link.is_last != is_last(layout, chunk)) return false;
  const LinkHash hash = hash_link(link.begin, layout, chunk, bytes);
  return link.is_last ? hash.digest == digest : hash.end == link.end;
}

Crec Crec::make(const Identity& identity, const CrecSubject& subject,
                const std::array<std::byte, 32>& sha256) {
  return {sha256, identity.public_key(), identity.sign(crec_message(subject, sha256))};
}

bool Crec::is_valid(const CrecSubject& subject) const {
  return verify_signature(signer, crec_message(subject, sha256), signature);
}

Bytes Crec::to_record() const {
  Bytes record;
  record.reserve(128);
  append(record, sha256);
  append(record, signer.bytes);
  append(record, signature.bytes);
  return record;
}

Result<Crec> Crec::from_record(ByteView record) {
  if (record.size() != 128) return BaseError::malformed;
  Crec crec;
  std::copy_n(record.begin(), 32, crec.sha256.begin());
  std::copy_n(record.begin() + 32, 32, crec.signer.bytes.begin());
  std::copy_n(record.begin() + 64, 64, crec.signature.bytes.begin());
  return crec;
}

ListSignature ListSignature::make(const Identity& identity, std::string_view cluster,
                                  const Digest& digest, std::uint64_t size,
                                  std::span<const Midstate> list) {
  return {identity.public_key(), identity.sign(list_message(cluster, digest, size, list))};
}

bool ListSignature::is_valid(std::string_view cluster, const Digest& digest, std::uint64_t size,
                             std::span<const Midstate> list) const {
  return verify_signature(prover, list_message(cluster, digest, size, list), signature);
}

std::array<std::byte, 32> list_hash(std::span<const Midstate> list) {
  Bytes joined;
  joined.reserve(list.size() * 32);
  for (const Midstate& midstate : list) append(joined, midstate.bytes);
  std::array<std::byte, 32> hash{};
  blake2b(hash, joined);
  return hash;
}

}  // namespace waggle::transfer
