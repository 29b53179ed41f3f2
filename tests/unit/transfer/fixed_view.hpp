// A cluster view that says what a test put into it.
#pragma once

#include "base/keys.hpp"
#include "transfer/exchange.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace waggle::transfer::testing {

inline Identity identity_of(std::uint64_t seed) {
  SeededRandomSource random(seed);
  return Identity::generate(random);
}

struct FixedView final : ClusterView {
  std::vector<NodeId> members;
  std::vector<NodeId> holding;
  std::optional<std::uint64_t> size;
  std::span<const NodeId> registrar_candidates() const override { return members; }
  bool is_live(const NodeId&) const override { return true; }
  void holders(const Digest&, std::vector<NodeId>& out) override { out = holding; }
  std::optional<std::uint64_t> announced_size(const Digest&) const override { return size; }
  bool index_ready() const override { return true; }
};

}  // namespace waggle::transfer::testing
