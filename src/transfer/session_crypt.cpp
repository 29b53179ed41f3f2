// Record sealing: libsodium for control, OpenSSL EVP for payload.
#include "transfer/session_crypt.hpp"

#include "base/assert.hpp"
#include "transfer/error.hpp"

#include <algorithm>
#include <array>

#include <openssl/err.h>
#include <openssl/evp.h>

namespace waggle::transfer {
namespace {

constexpr std::uint64_t counter_last = UINT64_MAX;  // reserved for REKEY

const EVP_CIPHER* algorithm_of(PayloadCipher cipher) {
  return cipher == PayloadCipher::aes_256_gcm ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
}

/// Counts sealed bytes; true when the key has done its share and the count starts anew.
bool key_is_spent(std::uint64_t& bytes, std::size_t more, std::uint64_t rekey_after) {
  bytes += more;
  if (bytes < rekey_after) return false;
  bytes = 0;
  return true;
}

}  // namespace

void PayloadCipherState::FreeContext::operator()(evp_cipher_ctx_st* context) const {
  EVP_CIPHER_CTX_free(context);
}

PayloadCipherState::PayloadCipherState(PayloadCipher cipher, CipherDirection direction,
                                       const SecretKey& key)
    : cipher_(cipher), direction_(direction), context_(EVP_CIPHER_CTX_new()) {
  WAGGLE_ASSERT(context_ != nullptr);
  set_key(key);
}

void PayloadCipherState::set_key(const SecretKey& key) {
  key_ = key;
  const int sealing = direction_ == CipherDirection::seal ? 1 : 0;
  const int done = EVP_CipherInit_ex2(context_.get(), algorithm_of(cipher_), key_.data(), nullptr,
                                      sealing, nullptr);
  WAGGLE_ASSERT(done == 1);
}

void PayloadCipherState::set_nonce(std::uint64_t counter) {
  // Noise section 12: 32 zero bits, then the counter: little-endian for ChaChaPoly, big-endian for
  // AESGCM.
  std::array<unsigned char, 12> nonce{};
  const bool big_endian = cipher_ == PayloadCipher::aes_256_gcm;
  for (std::size_t i = 0; i < 8; ++i) {
    nonce[big_endian ? 11 - i : 4 + i] = static_cast<unsigned char>(counter >> (8 * i));
  }
  const int done = EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, nonce.data(), -1, nullptr);
  WAGGLE_ASSERT(done == 1);
}

void PayloadCipherState::seal(ByteView aad, MutableByteView record) {
  WAGGLE_ASSERT(counter_ < counter_last);
  seal_at(counter_++, aad, record);
}

void PayloadCipherState::seal_at(std::uint64_t counter, ByteView aad, MutableByteView record) {
  WAGGLE_ASSERT(direction_ == CipherDirection::seal);
  const MutableByteView text = record.first(record.size() - record_tag_bytes);
  const MutableByteView tag = record.last(record_tag_bytes);
  set_nonce(counter);
  int size = 0;
  EVP_CIPHER_CTX* const context = context_.get();
  int done = EVP_CipherUpdate(context, nullptr, &size, as_uchar(aad), static_cast<int>(aad.size()));
  done &= EVP_CipherUpdate(context, as_uchar(text), &size, as_uchar(text),
                           static_cast<int>(text.size()));
  done &= EVP_CipherFinal_ex(context, as_uchar(tag), &size);
  done &=
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()), tag.data());
  WAGGLE_ASSERT(done == 1);
}

bool PayloadCipherState::open(ByteView aad, MutableByteView record, std::size_t head_bytes,
                              const std::function<MutableByteView(ByteView)>& place) {
  WAGGLE_ASSERT(direction_ == CipherDirection::open);
  if (record.size() < record_tag_bytes || counter_ == counter_last) return false;
  const MutableByteView text = record.first(record.size() - record_tag_bytes);
  const MutableByteView tag = record.last(record_tag_bytes);
  set_nonce(counter_);
  int size = 0;
  EVP_CIPHER_CTX* const context = context_.get();
  int done =
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()), tag.data());
  done &= EVP_CipherUpdate(context, nullptr, &size, as_uchar(aad), static_cast<int>(aad.size()));
  const auto decrypt = [&](MutableByteView from, MutableByteView to) {
    done &= EVP_CipherUpdate(context, as_uchar(to), &size, as_uchar(from),
                             static_cast<int>(from.size()));
  };
  const MutableByteView head = text.first(std::min(head_bytes, text.size()));
  const MutableByteView rest = text.subspan(head.size());
  if (!head.empty()) decrypt(head, head);
  const MutableByteView elsewhere = place(head);
  WAGGLE_ASSERT(elsewhere.empty() || elsewhere.size() == rest.size());
  decrypt(rest, elsewhere.empty() ? rest : elsewhere);
  WAGGLE_ASSERT(done == 1);
  std::array<unsigned char, 16> left_over{};
  if (EVP_CipherFinal_ex(context, left_over.data(), &size) != 1) {
    ERR_clear_error();  // TLS on this thread must not find our failure in its queue
    return false;
  }
  ++counter_;
  return true;
}

void PayloadCipherState::rekey() {
  PayloadCipherState last(cipher_, CipherDirection::seal, key_);
  std::array<std::byte, SecretKey::size() + record_tag_bytes> zeros{};
  last.seal_at(counter_last, {}, zeros);
  const SecretKey next{
      std::span<const std::byte, SecretKey::size()>(zeros.data(), SecretKey::size())};
  OPENSSL_cleanse(zeros.data(), zeros.size());
  set_key(next);
}

SessionSealer::SessionSealer(const SessionSecrets& secrets, std::uint64_t rekey_after)
    : rekey_after_(rekey_after),
      control_(secrets.control_send),
      payload_(secrets.payload_cipher, CipherDirection::seal, secrets.payload_send) {}

void SessionSealer::seal_control(ByteView message, Bytes& out) {
  WAGGLE_ASSERT(message.size() <= limits::control_frame_bytes_max);
  const std::vector<ByteView> parts = control_parts(message);
  out.reserve(out.size() + control_wire_bytes(message.size()));
  for (const ByteView& part : parts) {
    const std::size_t sealed_bytes = 1 + part.size() + record_tag_bytes;
    const RecordHeader header{RecordKind::control, static_cast<std::uint32_t>(sealed_bytes)};
    append(out, header.to_wire());
    const std::size_t begin = out.size();
    out.push_back(&part == &parts.back() ? control_last : control_more);
    append(out, part);
    out.resize(begin + sealed_bytes);
    const MutableByteView record = MutableByteView(out).subspan(begin);
    const auto sealed = control_.seal({}, record.first(1 + part.size()), record);
    WAGGLE_ASSERT(sealed.has_value());  // 2^64 records are out of reach
    if (key_is_spent(control_bytes_, sealed_bytes, rekey_after_)) control_.rekey();
  }
}

void SessionSealer::seal_payload(const PayloadHeader& header, MutableByteView record) {
  WAGGLE_ASSERT(header.length <= limits::payload_bytes_max);
  WAGGLE_ASSERT(record.size() == payload_record_bytes(header.length));
  const std::size_t sealed_bytes = payload_sealed_bytes(header.length);
  const auto clear =
      RecordHeader{RecordKind::payload, static_cast<std::uint32_t>(sealed_bytes)}.to_wire();
  std::ranges::copy(clear, record.begin());
  const MutableByteView body = record.subspan(record_header_bytes);
  header.to_wire(body.first<payload_header_bytes>());
  payload_.seal(clear, body);
  if (key_is_spent(payload_bytes_, sealed_bytes, rekey_after_)) payload_.rekey();
}

SessionOpener::SessionOpener(const SessionSecrets& secrets, std::uint64_t rekey_after)
    : rekey_after_(rekey_after),
      control_(secrets.control_receive),
      payload_(secrets.payload_cipher, CipherDirection::open, secrets.payload_receive) {}

Result<ByteView> SessionOpener::open_control(const Record& record) {
  WAGGLE_ASSERT(record.kind == RecordKind::control && record.body.size() >= record_tag_bytes);
  const MutableByteView text = record.body.first(record.body.size() - record_tag_bytes);
  if (failed_ || !control_.open({}, record.body, text)) {
    failed_ = true;
    return make_error_code(TransferError::record_forged);
  }
  if (key_is_spent(control_bytes_, record.body.size(), rekey_after_)) control_.rekey();
  return ByteView(text);
}

Result<PayloadFrame> SessionOpener::open_payload(const Record& record, const PayloadPlace& place) {
  WAGGLE_ASSERT(record.kind == RecordKind::payload);
  WAGGLE_ASSERT(record.body.size() >= payload_sealed_bytes(0));
  PayloadFrame frame{
      {}, record.body.subspan(payload_header_bytes, record.body.size() - payload_sealed_bytes(0))};
  const auto find_place = [&](ByteView head) -> MutableByteView {
    frame.header = PayloadHeader::from_wire(head.first<payload_header_bytes>());
    if (!place || frame.header.length != frame.data.size()) return {};
    const MutableByteView found = place(frame.header);
    if (!found.empty()) frame.data = found;
    return found;
  };
  if (failed_ || !payload_.open(record.header, record.body, payload_header_bytes, find_place)) {
    failed_ = true;
    return make_error_code(TransferError::record_forged);
  }
  if (key_is_spent(payload_bytes_, record.body.size(), rekey_after_)) payload_.rekey();
  if (frame.header.length != frame.data.size()) {
    failed_ = true;
    return make_error_code(TransferError::bad_payload);
  }
  return frame;
}

}  // namespace waggle::transfer
