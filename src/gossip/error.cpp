// The texts of GossipError.
#include "gossip/error.hpp"

namespace waggle::gossip {
namespace {

class GossipCategory final : public boost::system::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "waggle.gossip"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<GossipError>(value)) {
      case GossipError::malformed:
        return "malformed packet";
      case GossipError::too_large:
        return "packet too large";
      case GossipError::wrong_version:
        return "protocol version not spoken";
      case GossipError::unknown_key:
        return "sealed with a key that is not in the ring";
      case GossipError::not_authentic:
        return "packet does not authenticate";
      case GossipError::replayed:
        return "replayed packet";
      case GossipError::no_session:
        return "sender has not proved its boot";
      case GossipError::id_mismatch:
        return "node id is not the hash of its key";
      case GossipError::unknown_type:
        return "packet type not known";
      case GossipError::over_rate:
        return "too many first pings";
    }
    return "unknown gossip error";
  }
};

}  // namespace

const boost::system::error_category& gossip_category() noexcept {
  static const GossipCategory category;
  return category;
}

}  // namespace waggle::gossip
