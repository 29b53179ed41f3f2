// XXpsk0, token by token.
#include "transfer/noise_handshake.hpp"

#include "base/assert.hpp"
#include "transfer/error.hpp"

#include <algorithm>

namespace waggle::transfer {
namespace {

constexpr std::size_t key_bytes = 32;
constexpr std::size_t sealed_key_bytes = key_bytes + 16;

}  // namespace

NoiseHandshake::NoiseHandshake(NoiseRole role, ByteView prologue, const SecretKey& psk,
                               const NoiseKeyPair& static_keys, const SecretKey& ephemeral)
    : role_(role),
      symmetric_(noise_protocol_name),
      psk_(psk),
      static_(static_keys),
      ephemeral_(ephemeral) {
  symmetric_.mix_hash(prologue);
}

Result<Bytes> NoiseHandshake::write_message(ByteView payload) {
  WAGGLE_ASSERT(my_turn() && !finished());
  Bytes out;
  boost::system::result<void> done;
  switch (message_) {
    case 0:  // psk, e
      symmetric_.mix_key_and_hash(psk_);
      write_ephemeral(out);
      break;
    case 1:  // e, ee, s, es
      write_ephemeral(out);
      done = mix_dh(ephemeral_, remote_ephemeral_);
      if (done) done = write_static(out);
      if (done) done = mix_dh(static_.secret, remote_ephemeral_);
      break;
    default:  // s, se
      done = write_static(out);
      if (done) done = mix_dh(static_.secret, remote_ephemeral_);
      break;
  }
  if (done) done = symmetric_.encrypt_and_hash(payload, out);
  if (!done) return done.error();
  ++message_;
  return out;
}

Result<Bytes> NoiseHandshake::read_message(ByteView message) {
  WAGGLE_ASSERT(!my_turn() && !finished());
  boost::system::result<void> done;
  switch (message_) {
    case 0:  // psk, e
      symmetric_.mix_key_and_hash(psk_);
      done = read_ephemeral(message);
      break;
    case 1:  // e, ee, s, es
      done = read_ephemeral(message);
      if (done) done = mix_dh(ephemeral_, remote_ephemeral_);
      if (done) done = read_static(message);
      if (done) done = mix_dh(ephemeral_, remote_static_);
      break;
    default:  // s, se
      done = read_static(message);
      if (done) done = mix_dh(ephemeral_, remote_static_);
      break;
  }
  if (!done) return done.error();
  auto payload = symmetric_.decrypt_and_hash(message);
  if (payload) ++message_;
  return payload;
}

void NoiseHandshake::write_ephemeral(Bytes& out) {
  const auto public_key = noise_public_key(ephemeral_);
  append(out, public_key);
  symmetric_.mix_hash(public_key);
  symmetric_.mix_key(public_key);  // the psk rule of section 9.2
}

boost::system::result<void> NoiseHandshake::write_static(Bytes& out) {
  return symmetric_.encrypt_and_hash(static_.public_key, out);
}

boost::system::result<void> NoiseHandshake::read_ephemeral(ByteView& message) {
  if (message.size() < key_bytes) return make_error_code(TransferError::bad_handshake);
  std::copy_n(message.begin(), key_bytes, remote_ephemeral_.begin());
  message = message.subspan(key_bytes);
  symmetric_.mix_hash(remote_ephemeral_);
  symmetric_.mix_key(remote_ephemeral_);
  return {};
}

boost::system::result<void> NoiseHandshake::read_static(ByteView& message) {
  if (message.size() < sealed_key_bytes) return make_error_code(TransferError::bad_handshake);
  const auto key = symmetric_.decrypt_and_hash(message.first(sealed_key_bytes));
  if (!key) return key.error();
  std::copy_n(key->begin(), key_bytes, remote_static_.begin());
  message = message.subspan(sealed_key_bytes);
  return {};
}

boost::system::result<void> NoiseHandshake::mix_dh(const SecretKey& secret, ByteView public_key) {
  const auto shared = noise_dh(secret, public_key);
  if (!shared) return shared.error();
  symmetric_.mix_key(shared->view());
  return {};
}

}  // namespace waggle::transfer
