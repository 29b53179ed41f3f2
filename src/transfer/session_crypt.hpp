// Sealing and opening the records of one session: control by the Noise transport cipher
// (libsodium), payload by keys of its own through OpenSSL, whose ciphers are about three times as
// fast. Page: docs/wire-transfer.md, "Records".
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/limits.hpp"
#include "transfer/frame.hpp"
#include "transfer/handshake.hpp"
#include "transfer/noise.hpp"

#include <cstdint>
#include <functional>
#include <memory>

struct evp_cipher_ctx_st;

namespace waggle::transfer {

enum class CipherDirection : std::uint8_t { seal, open };

/// Where the data of a frame that is being opened shall go: exactly `length` bytes, or empty for
/// where they lie. Its header is not authenticated yet: when the record turns out to be forged,
/// what was written there is garbage.
using PayloadPlace = std::function<MutableByteView(const PayloadHeader&)>;

/// A Noise CipherState on OpenSSL EVP, for ChaChaPoly or AESGCM. The counter only rises.
/// Cost: 64 KiB in about 19 us (ChaCha20-Poly1305) or 16 us (AES-256-GCM with AES-NI).
class PayloadCipherState {
 public:
  PayloadCipherState(PayloadCipher cipher, CipherDirection direction, const SecretKey& key);
  PayloadCipherState(PayloadCipherState&&) = default;
  PayloadCipherState& operator=(PayloadCipherState&&) = default;

  /// In place: `record` is plaintext and room for the tag. @pre direction seal; counter below 2^64
  /// - 1
  void seal(ByteView aad, MutableByteView record);
  /// In place: true when the tag is right; then all but the last 16 bytes are plaintext. On false
  /// the counter stays.
  [[nodiscard]] bool open(ByteView aad, MutableByteView record) {
    return open(aad, record, 0, [](ByteView) { return MutableByteView{}; });
  }
  /// Likewise, but what follows the first `head_bytes` goes to where `place` says once they are
  /// plain: as many bytes, or none for in place.
  [[nodiscard]] bool open(ByteView aad, MutableByteView record, std::size_t head_bytes,
                          const std::function<MutableByteView(ByteView head)>& place);
  /// REKEY(k) of the Noise specification, section 4.2; the counter goes on.
  void rekey();
  [[nodiscard]] std::uint64_t counter() const { return counter_; }

 private:
  struct FreeContext {
    void operator()(evp_cipher_ctx_st* context) const;
  };
  void set_key(const SecretKey& key);
  void set_nonce(std::uint64_t counter);
  void seal_at(std::uint64_t counter, ByteView aad, MutableByteView record);

  PayloadCipher cipher_;
  CipherDirection direction_;
  SecretKey key_;
  std::uint64_t counter_ = 0;
  std::unique_ptr<evp_cipher_ctx_st, FreeContext> context_;
};

/// What one side sends. Both ciphers are rekeyed after `rekey_after` sealed bytes, on both sides at
/// the same record.
class SessionSealer {
 public:
  explicit SessionSealer(const SessionSecrets& secrets,
                         std::uint64_t rekey_after = limits::rekey_bytes);

  /// Appends the message's records, control_wire_bytes(message.size()) bytes.
  /// @pre message.size() <= limits::control_frame_bytes_max
  void seal_control(ByteView message, Bytes& out);
  /// Seals one payload record in place. @pre record.size() == payload_record_bytes(header.length),
  /// the data lying in payload_data(record); the rest is written here
  void seal_payload(const PayloadHeader& header, MutableByteView record);
  /// Where the data of a payload record goes.
  [[nodiscard]] static MutableByteView payload_data(MutableByteView record) {
    return record.subspan(record_header_bytes + payload_header_bytes,
                          record.size() - payload_record_bytes(0));
  }

 private:
  std::uint64_t rekey_after_;
  CipherState control_;
  std::uint64_t control_bytes_ = 0;
  PayloadCipherState payload_;
  std::uint64_t payload_bytes_ = 0;
};

struct PayloadFrame {
  PayloadHeader header;
  ByteView data;
};

/// What one side receives. After the first record that does not open nothing opens any more.
class SessionOpener {
 public:
  explicit SessionOpener(const SessionSecrets& secrets,
                         std::uint64_t rekey_after = limits::rekey_bytes);

  /// The plaintext, opened in place, for ControlJoiner. Errors: record_forged. @pre record.kind is
  /// control
  [[nodiscard]] Result<ByteView> open_control(const Record& record);
  /// Header and data, opened in place. Errors: record_forged, bad_payload. @pre record.kind is
  /// payload
  [[nodiscard]] Result<PayloadFrame> open_payload(const Record& record) {
    return open_payload(record, nullptr);
  }
  /// Likewise, the data opened to where `place` says.
  [[nodiscard]] Result<PayloadFrame> open_payload(const Record& record, const PayloadPlace& place);

 private:
  std::uint64_t rekey_after_;
  CipherState control_;
  std::uint64_t control_bytes_ = 0;
  PayloadCipherState payload_;
  std::uint64_t payload_bytes_ = 0;
  bool failed_ = false;
};

}  // namespace waggle::transfer
