// Noise's CipherState and SymmetricState on libsodium.
#include "transfer/noise.hpp"

#include "base/assert.hpp"
#include "transfer/error.hpp"

#include <algorithm>

#include <sodium.h>

namespace waggle::transfer {
namespace {

constexpr std::uint64_t counter_last = UINT64_MAX;  // reserved for REKEY

using Nonce = std::array<unsigned char, crypto_aead_chacha20poly1305_IETF_NPUBBYTES>;

/// 32 zero bits, then the counter little-endian (section 12.3).
Nonce nonce_of(std::uint64_t counter) {
  Nonce nonce{};
  for (std::size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<unsigned char>(counter >> (8 * i));
  return nonce;
}

SecretKey hmac(const SecretKey& key, ByteView first, ByteView second) {
  SecretKey out;
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, key.data(), SecretKey::size());
  crypto_auth_hmacsha256_update(&state, as_uchar(first), first.size());
  crypto_auth_hmacsha256_update(&state, as_uchar(second), second.size());
  crypto_auth_hmacsha256_final(&state, out.data());
  sodium_memzero(&state, sizeof(state));
  return out;
}

/// HKDF with three outputs; callers take as many as they need.
std::array<SecretKey, 3> hkdf(const SecretKey& chaining_key, ByteView input) {
  constexpr std::byte one{1};
  constexpr std::byte two{2};
  constexpr std::byte three{3};
  const SecretKey temp = hmac(chaining_key, input, {});
  std::array<SecretKey, 3> out;
  out[0] = hmac(temp, ByteView(&one, 1), {});
  out[1] = hmac(temp, out[0].view(), ByteView(&two, 1));
  out[2] = hmac(temp, out[1].view(), ByteView(&three, 1));
  return out;
}

}  // namespace

std::pair<SecretKey, SecretKey> noise_hkdf(const SecretKey& chaining_key, ByteView input) {
  auto out = hkdf(chaining_key, input);
  return {out[0], out[1]};
}

boost::system::result<void> CipherState::seal(ByteView aad, ByteView plaintext,
                                              MutableByteView out) {
  WAGGLE_ASSERT(out.size() == plaintext.size() + crypto_aead_chacha20poly1305_IETF_ABYTES);
  if (counter_ == counter_last) return make_error_code(TransferError::not_authentic);
  const Nonce nonce = nonce_of(counter_++);
  crypto_aead_chacha20poly1305_ietf_encrypt(as_uchar(out), nullptr, as_uchar(plaintext),
                                            plaintext.size(), as_uchar(aad), aad.size(), nullptr,
                                            nonce.data(), key_.data());
  return {};
}

boost::system::result<void> CipherState::open(ByteView aad, ByteView sealed, MutableByteView out) {
  constexpr std::size_t tag_bytes = crypto_aead_chacha20poly1305_IETF_ABYTES;
  if (sealed.size() < tag_bytes) return make_error_code(TransferError::not_authentic);
  WAGGLE_ASSERT(out.size() == sealed.size() - tag_bytes);
  if (counter_ == counter_last) return make_error_code(TransferError::not_authentic);
  const Nonce nonce = nonce_of(counter_);
  if (crypto_aead_chacha20poly1305_ietf_decrypt(as_uchar(out), nullptr, nullptr, as_uchar(sealed),
                                                sealed.size(), as_uchar(aad), aad.size(),
                                                nonce.data(), key_.data()) != 0) {
    return make_error_code(TransferError::not_authentic);
  }
  ++counter_;
  return {};
}

void CipherState::rekey() {
  constexpr std::array<unsigned char, 32> zeros{};
  std::array<std::byte, 48> sealed{};
  const Nonce nonce = nonce_of(counter_last);
  crypto_aead_chacha20poly1305_ietf_encrypt(as_uchar(MutableByteView(sealed)), nullptr, zeros.data(),
                                            zeros.size(), nullptr, 0, nullptr, nonce.data(),
                                            key_.data());
  std::copy_n(sealed.begin(), SecretKey::size(), key_.mutable_view().begin());
  sodium_memzero(sealed.data(), sealed.size());
}

SymmetricState::SymmetricState(std::string_view protocol_name) {
  if (protocol_name.size() <= hash_.size()) {
    std::ranges::copy(as_bytes(protocol_name), hash_.begin());
  } else {
    crypto_hash_sha256(as_uchar(MutableByteView(hash_)), as_uchar(as_bytes(protocol_name)),
                       protocol_name.size());
  }
  std::ranges::copy(hash_, chaining_key_.mutable_view().begin());
}

void SymmetricState::mix_hash(ByteView data) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  crypto_hash_sha256_update(&state, as_uchar(ByteView(hash_)), hash_.size());
  crypto_hash_sha256_update(&state, as_uchar(data), data.size());
  crypto_hash_sha256_final(&state, as_uchar(MutableByteView(hash_)));
}

void SymmetricState::mix_key(ByteView input) {
  const auto out = hkdf(chaining_key_, input);
  chaining_key_ = out[0];
  cipher_ = CipherState(out[1]);
}

void SymmetricState::mix_key_and_hash(const SecretKey& psk) {
  const auto out = hkdf(chaining_key_, psk.view());
  chaining_key_ = out[0];
  mix_hash(out[1].view());
  cipher_ = CipherState(out[2]);
}

boost::system::result<void> SymmetricState::encrypt_and_hash(ByteView plaintext, Bytes& out) {
  const std::size_t begin = out.size();
  out.resize(begin + plaintext.size() + crypto_aead_chacha20poly1305_IETF_ABYTES);
  const MutableByteView sealed = MutableByteView(out).subspan(begin);
  if (auto done = cipher_.seal(hash_, plaintext, sealed); !done) return done;
  mix_hash(sealed);
  return {};
}

Result<Bytes> SymmetricState::decrypt_and_hash(ByteView sealed) {
  constexpr std::size_t tag_bytes = crypto_aead_chacha20poly1305_IETF_ABYTES;
  if (sealed.size() < tag_bytes) return make_error_code(TransferError::not_authentic);
  Bytes plaintext(sealed.size() - tag_bytes);
  if (auto done = cipher_.open(hash_, sealed, plaintext); !done) return done.error();
  mix_hash(sealed);
  return plaintext;
}

std::pair<SecretKey, SecretKey> SymmetricState::split() const {
  return noise_hkdf(chaining_key_, {});
}

std::pair<SecretKey, SecretKey> SymmetricState::export_keys(std::string_view label) const {
  Bytes input = to_bytes(as_bytes(label));
  append(input, hash_);
  return noise_hkdf(chaining_key_, input);
}

Result<SecretKey> noise_dh(const SecretKey& secret, ByteView public_key) {
  WAGGLE_ASSERT(public_key.size() == crypto_scalarmult_BYTES);
  SecretKey shared;
  // libsodium refuses all-zero results, which is what low order points give.
  if (crypto_scalarmult(shared.data(), secret.data(), as_uchar(public_key)) != 0) {
    return make_error_code(TransferError::weak_key);
  }
  return shared;
}

std::array<std::byte, 32> noise_public_key(const SecretKey& secret) {
  std::array<std::byte, 32> out{};
  const int failed = crypto_scalarmult_base(as_uchar(MutableByteView(out)), secret.data());
  WAGGLE_ASSERT(failed == 0);
  return out;
}

}  // namespace waggle::transfer
