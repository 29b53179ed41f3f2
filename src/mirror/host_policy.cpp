// Refused blocks: IANA special-purpose registries, plus the metadata services that do not lie in
// them.
#include "mirror/host_policy.hpp"

#include "mirror/cidr.hpp"
#include "mirror/text.hpp"

#include <algorithm>
#include <array>

namespace waggle::mirror {
namespace {

constexpr std::array refused_blocks = {
    "0.0.0.0/8",           // this network
    "127.0.0.0/8",         // loopback
    "169.254.0.0/16",      // link-local, 169.254.169.254 among them
    "224.0.0.0/4",         // multicast
    "240.0.0.0/4",         // reserved, broadcast
    "100.100.100.200/32",  // Alibaba Cloud metadata
    "168.63.129.16/32",    // Azure host services
    "192.0.0.192/32",      // Oracle Cloud metadata
    "::/128",              // unspecified
    "::1/128",             // loopback
    "fe80::/10",           // link-local
    "ff00::/8",            // multicast
    "fd00:ec2::254/128",   // AWS metadata
    "fd20:ce::254/128",    // Google Cloud metadata
};

const std::vector<Cidr>& refused() {
  static const std::vector<Cidr> blocks = [] {
    std::vector<Cidr> parsed;
    for (const char* text : refused_blocks) parsed.push_back(Cidr::parse(text).value());
    return parsed;
  }();
  return blocks;
}

bool in_block(const char* block, const Endpoint& address) {
  return Cidr::parse(block).value().contains(address);
}

/// The IPv4 address that a translator or tunnel would send to; `offset` is its place in the IPv6
/// address.
Endpoint embedded_v4(const Endpoint& address, std::size_t offset) {
  const auto octet = [&](std::size_t i) {
    return std::to_integer<std::uint8_t>(address.address[offset + i]);
  };
  return Endpoint::v4(octet(0), octet(1), octet(2), octet(3), address.port);
}

bool is_listed(const Endpoint& address) {
  return std::any_of(refused().begin(), refused().end(),
                     [&](const Cidr& block) { return block.contains(address); });
}

std::string without_brackets(std::string_view host) {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return std::string(host);
}

}  // namespace

bool is_refused_address(const Endpoint& address) {
  if (is_listed(address)) return true;
  if (address.is_v4()) return false;
  if (in_block("64:ff9b::/96", address) || in_block("::/96", address)) {
    return is_listed(embedded_v4(address, 12));
  }
  if (in_block("2002::/16", address)) return is_listed(embedded_v4(address, 2));
  return false;
}

HostPolicy::HostPolicy(std::vector<std::string> allow, const std::vector<std::string>& allow_local,
                       std::vector<Origin> configured)
    : allow_(std::move(allow)), configured_(std::move(configured)) {
  for (const std::string& glob : allow_local) {
    // "[::1]:5000", "[::1]", "host:5000", "host", or a bare IPv6 address, whose colons are no
    // port's.
    const auto colon = glob.rfind(':');
    const bool has_port = colon != std::string::npos &&
                          (glob.front() == '[' ? glob[colon - 1] == ']' : glob.find(':') == colon);
    if (has_port) {
      allow_local_.push_back(
          {without_brackets(std::string_view(glob).substr(0, colon)), glob.substr(colon + 1)});
    } else {
      allow_local_.push_back({without_brackets(glob), {}});
    }
  }
}

bool HostPolicy::is_configured(const Origin& origin) const {
  return std::find(configured_.begin(), configured_.end(), origin) != configured_.end();
}

bool HostPolicy::is_in_allow(std::string_view host) const {
  return std::any_of(allow_.begin(), allow_.end(),
                     [&](const std::string& glob) { return glob_matches(glob, host); });
}

bool HostPolicy::is_in_allow_local(const Origin& origin, std::string_view host) const {
  const std::string port = std::to_string(origin.port);
  return std::any_of(allow_local_.begin(), allow_local_.end(), [&](const LocalGlob& glob) {
    return (glob.port.empty() || glob_matches(glob.port, port)) && glob_matches(glob.host, host);
  });
}

bool HostPolicy::host_allowed(std::string_view registry_host, const Origin& mapped) const {
  return is_configured(mapped) || is_in_allow(registry_host);
}

bool HostPolicy::next_allowed(std::string_view registry_host, const Origin& first,
                              const Origin& next) const {
  if (next == first || is_configured(next) || is_in_allow(next.host)) return true;
  if (is_in_allow_local(next, next.host)) return true;
  const std::string registry = to_lower(registry_host);
  return next.host == registry || next.host.ends_with("." + registry);
}

bool HostPolicy::address_allowed(const Origin& origin, const Endpoint& address) const {
  if (!is_refused_address(address) || is_configured(origin)) return true;
  return is_in_allow_local(origin, origin.host) ||
         is_in_allow_local(origin, address.address_string());
}

}  // namespace waggle::mirror
