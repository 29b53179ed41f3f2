// Power of two choices over a bitmap, by rank when it is large, over a list when it is small.
#include "gossip/holder_choice.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "gossip/holder_store.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace waggle::gossip {
namespace {

/// Up to this many bits, or twice as many as are wanted, they are listed.
constexpr std::size_t listed_min = 64;
constexpr std::size_t listed_max = 2 * limits::lookup_holders_max;

/// Position of the set bit number `rank` (from 0) of `word`. @pre rank < popcount(word)
unsigned select_bit(std::uint64_t word, std::size_t rank) {
  unsigned at = 0;
  for (unsigned width = 32; width > 0; width /= 2) {
    const std::uint64_t low = word & ((std::uint64_t{1} << width) - 1);
    const auto below = static_cast<std::size_t>(std::popcount(low));
    if (rank >= below) {
      rank -= below;
      at += width;
      word >>= width;
    } else {
      word = low;
    }
  }
  return at;
}

/// A bitmap in which the k-th set bit is found in O(log words).
class Ranked {
 public:
  explicit Ranked(std::span<const std::uint64_t> words) : words_(words) {
    WAGGLE_ASSERT(words.size() <= counts_.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
      total_ += static_cast<std::uint32_t>(std::popcount(words[i]));
      counts_[i] = total_;
    }
  }
  [[nodiscard]] std::size_t total() const { return total_; }
  [[nodiscard]] std::size_t word_count() const { return words_.size(); }
  [[nodiscard]] NodeSlot select(std::size_t rank) const {
    const auto end = counts_.begin() + static_cast<std::ptrdiff_t>(words_.size());
    const auto word =
        static_cast<std::size_t>(std::upper_bound(counts_.begin(), end, rank) - counts_.begin());
    const std::size_t before = word == 0 ? 0 : counts_[word - 1];
    return static_cast<NodeSlot>(word * 64 + select_bit(words_[word], rank - before));
  }

 private:
  std::span<const std::uint64_t> words_;
  std::array<std::uint32_t, slots_max / 64> counts_;  // bits up to and with each word
  std::uint32_t total_ = 0;
};

void choose_listed(TimePoint now, std::span<NodeSlot> left, const NodeSlots& slots, Prng& prng,
                   std::span<NodeSlot> out) {
  for (NodeSlot& place : out) {
    std::size_t chosen = prng.below(left.size());
    if (left.size() > 1) {
      std::size_t other = prng.below(left.size() - 1);
      if (other >= chosen) ++other;
      if (slots.load(now, left[other]) < slots.load(now, left[chosen])) chosen = other;
    }
    place = left[chosen];
    left[chosen] = left.back();
    left = left.first(left.size() - 1);
  }
}

/// @pre more than twice as many bits as places: a draw finds a new one at least every second time
void choose_ranked(TimePoint now, const Ranked& ranked, const NodeSlots& slots, Prng& prng,
                   std::span<NodeSlot> out) {
  SlotWords taken;  // as far as there are words: most of it is never touched
  std::fill_n(taken.begin(), ranked.word_count(), 0);
  const auto is_taken = [&](NodeSlot slot) {
    return ((taken[slot / 64U] >> (slot % 64U)) & 1U) != 0;
  };
  const auto draw = [&] {
    for (;;) {
      const NodeSlot slot = ranked.select(prng.below(ranked.total()));
      if (!is_taken(slot)) return slot;
    }
  };
  for (NodeSlot& place : out) {
    place = draw();
    const NodeSlot other = draw();
    if (slots.load(now, other) < slots.load(now, place)) place = other;
    taken[place / 64U] |= std::uint64_t{1} << (place % 64U);
  }
}

}  // namespace

std::size_t choose_slots(TimePoint now, std::span<const std::uint64_t> words,
                         const NodeSlots& slots, Prng& prng, std::span<NodeSlot> out) {
  WAGGLE_ASSERT(out.size() <= limits::lookup_holders_max);
  const Ranked ranked(words);
  const std::size_t total = ranked.total();
  out = out.first(std::min(out.size(), total));
  if (total <= std::max(listed_min, 2 * out.size())) {
    std::array<NodeSlot, listed_max> listed;
    std::size_t count = 0;
    for_each_slot(words, [&](NodeSlot slot) { listed[count++] = slot; });
    choose_listed(now, std::span(listed).first(count), slots, prng, out);
  } else {
    choose_ranked(now, ranked, slots, prng, out);
  }
  return total;
}

}  // namespace waggle::gossip
