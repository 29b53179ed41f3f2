// Names of the base errors, as they appear in logs.
#include "base/error.hpp"

namespace waggle {
namespace {

class BaseCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "waggle.base"; }
  std::string message(int value) const override {
    switch (static_cast<BaseError>(value)) {
      case BaseError::truncated:
        return "input is truncated";
      case BaseError::malformed:
        return "input is malformed";
      case BaseError::limit_exceeded:
        return "input exceeds a limit";
      case BaseError::unsupported:
        return "not supported by this version";
    }
    return "unknown error";
  }
};

}  // namespace

const boost::system::error_category& base_category() noexcept {
  static const BaseCategory category;
  return category;
}

}  // namespace waggle
