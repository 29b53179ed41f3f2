// A cluster view that says what a test put into it.
#pragma once

#include "../identity_of.hpp"
#include "transfer/exchange.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace waggle::transfer::testing {

using waggle::testing::identity_of;

struct FixedView final : ClusterView {
  std::vector<NodeId> members;
  std::vector<NodeId> holding;
  std::optional<std::uint64_t> size;
  std::span<const NodeId> registrar_candidates() const override { return members; }
  bool is_live(const NodeId&) const override { return true; }
  std::size_t holders(const Digest&, std::span<NodeId> out) override {
    std::copy_n(holding.begin(), std::min(holding.size(), out.size()), out.begin());
    return holding.size();
  }
  std::optional<std::uint64_t> announced_size(const Digest&) const override { return size; }
  bool index_ready() const override { return true; }
};

}  // namespace waggle::transfer::testing
