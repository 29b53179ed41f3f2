// The addresses from outside (static list, DNS) by which a node finds the others.
#pragma once

#include "base/endpoint.hpp"
#include "base/prng.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace waggle::gossip {

/// Knows of each hint how many live members have it as an address: a hint that leads nowhere new is
/// tried after those that may. Bounded by limits::join_hints_max; every call O(log hints) per
/// endpoint.
class JoinHints {
 public:
  /// Replaces the hints, without repeats and without `own` addresses; beyond the limit the last are
  /// dropped. True when they are others than before: then the caller counts the live members again.
  [[nodiscard]] bool set(std::span<const Endpoint> hints, std::span<const Endpoint> own);
  [[nodiscard]] bool empty() const { return hints_.empty(); }
  [[nodiscard]] std::size_t size() const { return hints_.size(); }

  /// A member with these addresses is live now.
  void add_member(std::span<const Endpoint> endpoints);
  /// It is not, or not at these addresses.
  void remove_member(std::span<const Endpoint> endpoints);

  /// At most `count` hints in random order, those without a live member first.
  [[nodiscard]] std::vector<Endpoint> pick(Prng& prng, std::size_t count) const;
  /// Live members at `hint`; 0 when it is none.
  [[nodiscard]] std::uint32_t members_at(const Endpoint& hint) const;

 private:
  struct Hint {
    Endpoint endpoint;
    std::uint32_t members = 0;
  };
  [[nodiscard]] const Hint* find(const Endpoint& endpoint) const;
  [[nodiscard]] Hint* find(const Endpoint& endpoint);

  std::vector<Hint> hints_;  ///< ascending by endpoint
};

}  // namespace waggle::gossip
