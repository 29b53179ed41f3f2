// Address blocks: "10.0.0.0/8", "fd00::/8", or a single address.
#pragma once

#include "base/endpoint.hpp"

#include <string_view>

namespace waggle::mirror {

class Cidr {
 public:
  /// BaseError::malformed on anything else; bits behind the prefix are ignored.
  [[nodiscard]] static Result<Cidr> parse(std::string_view text);
  /// The port plays no part.
  [[nodiscard]] bool contains(const Endpoint& endpoint) const;

 private:
  Endpoint base_;
  unsigned prefix_bits_ = 128;  ///< of the IPv4-mapped form
};

}  // namespace waggle::mirror
