// IPv4 blocks are kept in the IPv4-mapped form, as endpoints are.
#include "mirror/cidr.hpp"

#include "mirror/text.hpp"

namespace waggle::mirror {

Result<Cidr> Cidr::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = Endpoint::parse_address(text.substr(0, slash), 0);
  if (!address) return address.error();
  Cidr cidr;
  cidr.base_ = *address;
  if (slash == std::string_view::npos) return cidr;
  const bool v4 = text.find(':') == std::string_view::npos;
  unsigned long long bits = 0;
  if (!parse_decimal(text.substr(slash + 1), bits) || bits > (v4 ? 32U : 128U)) {
    return BaseError::malformed;
  }
  cidr.prefix_bits_ = static_cast<unsigned>(bits) + (v4 ? 96U : 0U);
  return cidr;
}

bool Cidr::contains(const Endpoint& endpoint) const {
  const unsigned whole = prefix_bits_ / 8;
  for (unsigned i = 0; i < whole; ++i) {
    if (endpoint.address[i] != base_.address[i]) return false;
  }
  const unsigned rest = prefix_bits_ % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::byte>(0xffU << (8 - rest));
  return (endpoint.address[whole] & mask) == (base_.address[whole] & mask);
}

}  // namespace waggle::mirror
