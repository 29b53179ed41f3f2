// A random sample of the holders, from a list where they are few and from a bitmap where they are
// many; then power of two choices among the sample.
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

/// As many are drawn for each place. With fewer than are left of all, late places would see only
/// those that lost.
constexpr std::size_t sampled_per_place = 2;
constexpr std::size_t sampled_max = sampled_per_place * limits::lookup_holders_max;

/// Few enough to list. A list costs a step for each, a draw from the bitmap slots / count of them;
/// and where less than an eighth is held (holder_block's lists), the bitmap costs as much to make.
constexpr bool is_listed(std::size_t count, std::size_t wanted, std::size_t slots) {
  return count * count <= 2 * sampled_per_place * wanted * slots || count * 8 <= slots;
}
constexpr std::size_t listed_max = 8192;
static_assert(is_listed(listed_max, limits::lookup_holders_max, slots_max));
static_assert(!is_listed(listed_max + 1, limits::lookup_holders_max, slots_max));

/// Random numbers from one of the caller's generator: splitmix64, whose steps do not wait for each
/// other.
class Draws {
 public:
  explicit Draws(Prng& prng) : state_(prng.next()) {}
  /// In [0, bound), each as likely to one part in 65,536. @pre 0 < bound <= 65,536
  [[nodiscard]] std::size_t below(std::size_t bound) { return scale(next() >> 32U, bound); }
  /// Two different ones. @pre bound > 1
  [[nodiscard]] std::pair<std::size_t, std::size_t> two_below(std::size_t bound) {
    const std::uint64_t bits = next();
    const std::size_t first = scale(bits >> 32U, bound);
    const std::size_t second = scale(bits & UINT32_MAX, bound - 1);
    return {first, second + (second >= first ? 1 : 0)};
  }

 private:
  [[nodiscard]] std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    return mix_seed(state_);
  }
  [[nodiscard]] static std::size_t scale(std::uint64_t bits, std::size_t bound) {
    return static_cast<std::size_t>((bits * bound) >> 32U);
  }

  std::uint64_t state_;
};

/// Brings `count` of the list to its front.
void draw_listed(std::span<NodeSlot> listed, std::size_t count, Draws& draws) {
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(listed[i], listed[i + draws.below(listed.size() - i)]);
  }
}

/// Moves out.size() of the bits to `out`. @pre so many are set, and rather twice as many
void draw_bits(std::span<std::uint64_t> words, std::span<NodeSlot> out, Draws& draws) {
  const std::size_t slots = words.size() * 64;
  for (std::size_t count = 0; count < out.size();) {  // no branch: a bit is hard to predict
    const std::size_t slot = draws.below(slots);
    std::uint64_t& word = words[slot / 64];
    const std::uint64_t bit = (word >> (slot % 64)) & 1U;
    word ^= bit << (slot % 64);
    out[count] = static_cast<NodeSlot>(slot);
    count += bit;
  }
}

/// @pre out.size() <= sample.size() <= sampled_max
void choose(TimePoint now, std::span<const NodeSlot> sample, const NodeSlots& slots, Draws& draws,
            std::span<NodeSlot> out) {
  constexpr unsigned load_shift = 16;
  std::array<std::uint32_t, sampled_max> left;  // load, slot
  const std::uint32_t second = NodeSlots::second_of(now);
  for (std::size_t i = 0; i < sample.size(); ++i) {
    left[i] = std::uint32_t{slots.load_at(second, sample[i])} << load_shift | sample[i];
  }
  std::size_t count = sample.size();
  for (NodeSlot& place : out) {
    std::size_t chosen = 0;
    if (count > 1) {
      const auto [one, other] = draws.two_below(count);
      chosen = left[other] >> load_shift < left[one] >> load_shift ? other : one;
    }
    place = static_cast<NodeSlot>(left[chosen]);
    left[chosen] = left[--count];
  }
}

/// @return  listed.size()
std::size_t choose_listed(TimePoint now, std::span<NodeSlot> listed, const NodeSlots& slots,
                          Prng& prng, std::span<NodeSlot> out) {
  Draws draws(prng);
  const std::size_t total = listed.size();
  out = out.first(std::min(out.size(), total));
  if (const std::size_t wanted = sampled_per_place * out.size(); total > wanted) {
    draw_listed(listed, wanted, draws);
    listed = listed.first(wanted);
  }
  choose(now, listed, slots, draws, out);
  return total;
}

}  // namespace

std::size_t choose_slots(TimePoint now, std::span<std::uint64_t> words, const NodeSlots& slots,
                         Prng& prng, std::span<NodeSlot> out) {
  WAGGLE_ASSERT(out.size() <= limits::lookup_holders_max);
  std::size_t total = 0;
  for (const std::uint64_t word : words) total += static_cast<std::size_t>(std::popcount(word));
  if (is_listed(total, out.size(), words.size() * 64)) {
    std::array<NodeSlot, listed_max> listed;
    std::size_t count = 0;
    for_each_slot(words, [&](NodeSlot slot) { listed[count++] = slot; });
    return choose_listed(now, std::span(listed).first(count), slots, prng, out);
  }
  Draws draws(prng);
  std::array<NodeSlot, sampled_max> sample;
  const auto sampled = std::span(sample).first(sampled_per_place * out.size());
  draw_bits(words, sampled, draws);
  choose(now, sampled, slots, draws, out);
  return total;
}

std::size_t choose_holders(TimePoint now, const ContentIndex::Holders& found,
                           const NodeSlots& slots, Prng& prng, std::span<NodeSlot> out) {
  WAGGLE_ASSERT(out.size() <= limits::lookup_holders_max);
  const auto mask = slots.live_mask();
  if (!slots.has_doubles() && is_listed(found.count(), out.size(), mask.size() * 64)) {
    std::array<NodeSlot, listed_max + 1> listed;
    const std::size_t total = found.list(mask, listed);
    return choose_listed(now, std::span(listed).first(total), slots, prng, out);
  }
  SlotWords words;
  const auto live = found.expand(mask, words);
  slots.drop_doubles(live);
  return choose_slots(now, live, slots, prng, out);
}

}  // namespace waggle::gossip
