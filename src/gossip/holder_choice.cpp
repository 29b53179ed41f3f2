// Random holders, drawn from a list where they are few and from a bitmap where they are many; then
// power of two choices.
#include "gossip/holder_choice.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "gossip/holder_store.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace waggle::gossip {
namespace {

/// For each place two are drawn.
constexpr std::size_t drawn_per_place = 2;
constexpr std::size_t drawn_max = drawn_per_place * limits::lookup_holders_max;

/// Few enough to list. A list costs a step for each, drawing from the bitmap slots / count of them
/// for each drawn; and where less than an eighth is held (holder_block's lists), to make the bitmap
/// costs as much as the list.
constexpr bool is_listed(std::size_t count, std::size_t wanted, std::size_t slots) {
  return count * count <= 2 * drawn_per_place * wanted * slots || count * 8 <= slots;
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
  /// Two of them, independent.
  [[nodiscard]] std::pair<std::size_t, std::size_t> two_below(std::size_t bound) {
    const std::uint64_t bits = next();
    return {scale(bits >> 32U, bound), scale(bits & UINT32_MAX, bound)};
  }

 private:
  [[nodiscard]] std::uint64_t next() {
    state_ += splitmix_step;
    return mix_seed(state_);
  }
  [[nodiscard]] static std::size_t scale(std::uint64_t bits, std::size_t bound) {
    return static_cast<std::size_t>((bits * bound) >> 32U);
  }

  std::uint64_t state_;
};

/// Brings `count` of the list to its front, in random order.
void draw_listed(std::span<NodeSlot> listed, std::size_t count, Draws& draws) {
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(listed[i], listed[i + draws.below(listed.size() - i)]);
  }
}

/// Moves `count` of the bits to `out`, and now and then one more. @pre twice as many are set
void draw_bits(std::span<std::uint64_t> words, std::size_t count, std::span<NodeSlot> out,
               Draws& draws) {
  const std::size_t slots = words.size() * 64;
  std::size_t drawn = 0;
  const auto take = [&](std::size_t slot) {  // no branch: who holds is hard to predict
    std::uint64_t& word = words[slot / 64];
    const std::uint64_t bit = (word >> (slot % 64)) & 1U;
    word ^= bit << (slot % 64);
    out[drawn] = static_cast<NodeSlot>(slot);
    drawn += bit;
  };
  while (drawn < count) {
    const auto [one, other] = draws.two_below(slots);
    take(one);
    take(other);
  }
}

/// Every place to the less loaded of the next two that were drawn; when they run out, to those that
/// lost. @pre out.size() <= drawn.size()
void choose(TimePoint now, std::span<const NodeSlot> drawn, const NodeSlots& slots,
            std::span<NodeSlot> out) {
  const std::uint32_t second = NodeSlots::second_of(now);
  std::array<NodeSlot, limits::lookup_holders_max> lost;
  const std::size_t pairs = std::min(drawn.size() / 2, out.size());
  for (std::size_t i = 0; i < pairs; ++i) {
    const NodeSlot one = drawn[2 * i];
    const NodeSlot other = drawn[2 * i + 1];
    // No branch, as who wins is hard to predict: all bits of `swap` when `other` has less.
    const std::uint32_t less =
        std::uint32_t{slots.load_at(second, other)} - std::uint32_t{slots.load_at(second, one)};
    const std::uint32_t swap = 0U - (less >> 31U);
    const std::uint32_t differs = static_cast<std::uint32_t>(one ^ other) & swap;
    out[i] = static_cast<NodeSlot>(one ^ differs);
    lost[i] = static_cast<NodeSlot>(other ^ differs);
  }
  if (pairs == out.size()) return;
  out = out.subspan(pairs);
  if (drawn.size() % 2 != 0) {
    out[0] = drawn.back();  // nobody was left to compare it with
    out = out.subspan(1);
  }
  std::copy_n(lost.begin(), out.size(), out.begin());
}

/// @return  listed.size()
std::size_t choose_listed(TimePoint now, std::span<NodeSlot> listed, const NodeSlots& slots,
                          Prng& prng, std::span<NodeSlot> out) {
  Draws draws(prng);
  const std::size_t total = listed.size();
  out = out.first(std::min(out.size(), total));
  const std::size_t count = std::min(total, drawn_per_place * out.size());
  draw_listed(listed, count, draws);
  choose(now, listed.first(count), slots, out);
  return total;
}

}  // namespace

std::size_t choose_slots(TimePoint now, std::span<std::uint64_t> words, const NodeSlots& slots,
                         Prng& prng, std::span<NodeSlot> out) {
  WAGGLE_ASSERT(out.size() <= limits::lookup_holders_max);
  const std::size_t total = count_slots(words);
  if (is_listed(total, out.size(), words.size() * 64)) {
    std::array<NodeSlot, listed_max> listed;
    std::size_t count = 0;
    for_each_slot(words, [&](NodeSlot slot) { listed[count++] = slot; });
    return choose_listed(now, std::span(listed).first(count), slots, prng, out);
  }
  Draws draws(prng);
  std::array<NodeSlot, drawn_max + 2> drawn;
  const std::size_t count = drawn_per_place * out.size();
  draw_bits(words, count, drawn, draws);
  choose(now, std::span(drawn).first(count), slots, out);
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
