// Parsing of identifiers.
#include "base/ids.hpp"

#include <algorithm>

namespace waggle {

std::optional<NodeId> NodeId::parse(std::string_view hex) {
  const auto bytes = from_hex(hex);
  NodeId id;
  if (!bytes || bytes->size() != id.bytes.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), id.bytes.begin());
  return id;
}

}  // namespace waggle
