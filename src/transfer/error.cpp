// Names of the session errors, as they appear in logs and as metric labels.
#include "transfer/error.hpp"

namespace waggle::transfer {
namespace {

class TransferCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "waggle.transfer"; }
  std::string message(int value) const override {
    switch (static_cast<TransferError>(value)) {
      case TransferError::bad_preamble:
        return "bad_preamble";
      case TransferError::unknown_key:
        return "unknown_key";
      case TransferError::not_authentic:
        return "not_authentic";
      case TransferError::weak_key:
        return "weak_key";
      case TransferError::bad_handshake:
        return "bad_handshake";
      case TransferError::identity_forged:
        return "identity_forged";
      case TransferError::wrong_peer:
        return "wrong_peer";
      case TransferError::self_connection:
        return "self_connection";
      case TransferError::version_mismatch:
        return "version_mismatch";
      case TransferError::handshake_timeout:
        return "handshake_timeout";
      case TransferError::too_many_handshakes:
        return "too_many_handshakes";
      case TransferError::handshake_replayed:
        return "handshake_replayed";
      case TransferError::too_many_sessions:
        return "too_many_sessions";
      case TransferError::bad_record:
        return "bad_record";
      case TransferError::record_forged:
        return "record_forged";
      case TransferError::control_too_long:
        return "control_too_long";
      case TransferError::bad_payload:
        return "bad_payload";
      case TransferError::queue_full:
        return "queue_full";
      case TransferError::duplicate_session:
        return "duplicate_session";
      case TransferError::session_moved:
        return "session_moved";
      case TransferError::key_retired:
        return "key_retired";
      case TransferError::closed_by_peer:
        return "closed_by_peer";
      case TransferError::closed_locally:
        return "closed_locally";
      case TransferError::unreachable:
        return "unreachable";
      case TransferError::too_many_dials:
        return "too_many_dials";
    }
    return "unknown error";
  }
};

}  // namespace

const boost::system::error_category& transfer_category() noexcept {
  static const TransferCategory category;
  return category;
}

}  // namespace waggle::transfer
