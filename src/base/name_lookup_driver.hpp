// DNS through the system's resolver: blocks, so callers have a thread for it.
#pragma once

#include "base/endpoint.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace waggle {

struct NameAnswer {
  std::vector<Endpoint> endpoints;  ///< each once, in the system's order of preference
  std::string problem;              ///< what getaddrinfo(3) said; empty when it found somebody
};

/// A and AAAA records of `host`, with `port`. May take as long as it likes.
[[nodiscard]] NameAnswer look_up_name(const std::string& host, std::uint16_t port);

}  // namespace waggle
