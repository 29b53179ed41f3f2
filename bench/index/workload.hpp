// Who holds what: a Zipf catalogue of digests and, per node, a set of distinct ones drawn from it.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/prng.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace waggle::bench {

/// Draws 0..size-1 with weight 1/(rank+1)^exponent. Cost O(1). @source Vose 1991, the alias method
class Zipf {
 public:
  Zipf(std::size_t size, double exponent) : threshold_(size), other_(size) {
    std::vector<double> weight(size);
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) {
      sum += weight[i] = std::pow(static_cast<double>(i + 1), -exponent);
    }
    std::vector<std::uint32_t> small;
    std::vector<std::uint32_t> large;
    for (std::size_t i = 0; i < size; ++i) {
      weight[i] *= static_cast<double>(size) / sum;
      (weight[i] < 1 ? small : large).push_back(static_cast<std::uint32_t>(i));
    }
    while (!small.empty() && !large.empty()) {
      const std::uint32_t low = small.back();
      small.pop_back();
      threshold_[low] = weight[low];
      other_[low] = large.back();
      weight[large.back()] -= 1 - weight[low];
      if (weight[large.back()] < 1) {
        small.push_back(large.back());
        large.pop_back();
      }
    }
    for (const auto i : small) threshold_[i] = 1;
    for (const auto i : large) threshold_[i] = 1;
  }
  [[nodiscard]] std::uint32_t draw(Prng& prng) const {
    const auto column = static_cast<std::uint32_t>(prng.below(threshold_.size()));
    return prng.unit() < threshold_[column] ? column : other_[column];
  }

 private:
  std::vector<double> threshold_;
  std::vector<std::uint32_t> other_;
};

struct Shape {
  std::size_t nodes;
  std::size_t digests_per_node;
  std::size_t distinct;
  double zipf = 0.8;
};

/// The digests of one node, the same for the same (shape, node): drawn until they are distinct.
[[nodiscard]] inline std::vector<std::uint32_t> digests_of(const Zipf& zipf, const Shape& shape,
                                                           std::size_t node) {
  Prng prng(mix_seed(node + 1));
  std::vector<bool> taken(shape.distinct);
  std::vector<std::uint32_t> out;
  while (out.size() < shape.digests_per_node) {
    const std::uint32_t digest = zipf.draw(prng);
    if (taken[digest]) continue;
    taken[digest] = true;
    out.push_back(digest);
  }
  return out;
}

/// Number `n` of the catalogue: 32 bytes that look like a hash.
[[nodiscard]] inline Digest digest_of(std::uint32_t n) {
  std::array<std::byte, 32> bytes{};
  for (std::size_t i = 0; i < 4; ++i) {
    store_le(MutableByteView(bytes).subspan(8 * i), mix_seed(n * 4ULL + i + 1));
  }
  return Digest(DigestAlgorithm::sha256, bytes);
}

}  // namespace waggle::bench
