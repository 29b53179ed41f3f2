// Runs of 256 slots: finding, changing and expanding them.
#include "gossip/holder_block.hpp"

#include "base/bytes.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace waggle::gossip::holder_block {
namespace {

constexpr std::size_t run_words = run_slots / 64;
constexpr std::size_t list_max = bitmap_bytes - 1;
/// A bitmap this small becomes a list again; the distance keeps a run at the border from going
/// back and forth.
constexpr std::size_t list_again = 24;

std::size_t to_size(std::byte value) { return std::to_integer<std::size_t>(value); }
std::size_t runs_of(std::span<const std::byte> set) { return to_size(set[0]) + 1; }
std::size_t run_of(NodeSlot slot) { return slot / run_slots; }
std::byte low_of(NodeSlot slot) { return static_cast<std::byte>(slot % run_slots); }

/// Where run `run` begins. @pre run <= runs_of(set)
std::size_t start_of(std::span<const std::byte> set, std::size_t run) {
  std::size_t at = 1 + runs_of(set);
  for (std::size_t i = 0; i < run; ++i) at += to_size(set[1 + i]);
  return at;
}

bool bit_at(std::span<const std::byte> bitmap, NodeSlot slot) {
  const std::size_t low = slot % run_slots;
  return ((to_size(bitmap[low / 8]) >> (low % 8)) & 1U) != 0;
}

void flip(std::span<std::byte> bitmap, std::size_t low) {
  bitmap[low / 8] ^= static_cast<std::byte>(1U << (low % 8));
}

/// The words of one run; the last ones may not fill it.
using RunBits = std::array<std::uint64_t, run_words>;

RunBits bits_of(std::span<const std::uint64_t> words, std::size_t run) {
  RunBits bits{};
  const auto from = words.subspan(run * run_words);
  std::copy_n(from.begin(), std::min(from.size(), run_words), bits.begin());
  return bits;
}

/// Moves what lies from `at` to `used` by `by` bytes up.
void shift_up(std::span<std::byte> bytes, std::size_t at, std::size_t used, std::size_t by) {
  std::memmove(bytes.data() + at + by, bytes.data() + at, used - at);
}

void list_to_bitmap(std::span<std::byte> run) {  // 31 entries and one byte of room
  std::array<std::byte, bitmap_bytes> bitmap{};
  for (const std::byte low : run.first(list_max)) flip(bitmap, to_size(low));
  std::copy(bitmap.begin(), bitmap.end(), run.begin());
}

std::size_t count_of(std::span<const std::byte> bitmap) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < bitmap_bytes; i += 8) {
    count += static_cast<std::size_t>(std::popcount(load_le<std::uint64_t>(bitmap.subspan(i))));
  }
  return count;
}

void bitmap_to_list(std::span<std::byte> run) {
  std::array<std::byte, bitmap_bytes> list{};
  std::size_t count = 0;
  for (std::size_t low = 0; low < run_slots; ++low) {
    if (bit_at(run, static_cast<NodeSlot>(low))) list[count++] = static_cast<std::byte>(low);
  }
  std::copy_n(list.begin(), count, run.begin());
}

}  // namespace

std::size_t bytes_for(std::span<const NodeSlot> slots) {
  return 1 + run_of(slots.back()) + 1 + slots.size();
}

std::size_t write(std::span<std::byte> bytes, std::span<const NodeSlot> slots) {
  const std::size_t runs = run_of(slots.back()) + 1;
  std::fill_n(bytes.begin(), 1 + runs, std::byte{0});
  bytes[0] = static_cast<std::byte>(runs - 1);
  std::size_t used = 1 + runs;
  for (const NodeSlot slot : slots) used = insert(bytes, used, slot);
  return used;
}

bool contains(std::span<const std::byte> set, NodeSlot slot) {
  const std::size_t run = run_of(slot);
  if (run >= runs_of(set)) return false;
  const std::size_t length = to_size(set[1 + run]);
  const auto bytes = set.subspan(start_of(set, run), length);
  if (length == bitmap_bytes) return bit_at(bytes, slot);
  return length != 0 && std::memchr(bytes.data(), slot % run_slots, length) != nullptr;
}

std::size_t growth(std::span<const std::byte> set, NodeSlot slot) {
  const std::size_t run = run_of(slot);
  const std::size_t runs = runs_of(set);
  if (run >= runs) return run + 1 - runs + 1;
  return to_size(set[1 + run]) == bitmap_bytes ? 0 : 1;
}

std::size_t insert(std::span<std::byte> bytes, std::size_t used, NodeSlot slot) {
  const std::size_t run = run_of(slot);
  if (const std::size_t runs = runs_of(bytes); run >= runs) {
    const std::size_t more = run + 1 - runs;
    shift_up(bytes, 1 + runs, used, more);
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(1 + runs), more, std::byte{0});
    bytes[0] = static_cast<std::byte>(run);
    used += more;
  }
  const std::size_t start = start_of(bytes, run);
  const std::size_t length = to_size(bytes[1 + run]);
  if (length == bitmap_bytes) {
    flip(bytes.subspan(start, bitmap_bytes), slot % run_slots);
    return used;
  }
  const auto list = bytes.subspan(start, length);
  const auto at = static_cast<std::size_t>(
      std::lower_bound(list.begin(), list.end(), low_of(slot)) - list.begin());
  shift_up(bytes, start + (length == list_max ? length : at), used, 1);
  bytes[1 + run] = static_cast<std::byte>(length + 1);
  if (length == list_max) {
    list_to_bitmap(bytes.subspan(start, bitmap_bytes));
    flip(bytes.subspan(start, bitmap_bytes), slot % run_slots);
  } else {
    bytes[start + at] = low_of(slot);
  }
  return used + 1;
}

std::size_t erase(std::span<std::byte> set, NodeSlot slot) {
  const std::size_t run = run_of(slot);
  const std::size_t start = start_of(set, run);
  const std::size_t length = to_size(set[1 + run]);
  const auto bytes = set.subspan(start, length);
  std::size_t left = length;
  if (length < bitmap_bytes) {
    const auto at = std::find(bytes.begin(), bytes.end(), low_of(slot));
    std::copy(at + 1, bytes.end(), at);
    left = length - 1;
  } else {
    flip(bytes, slot % run_slots);
    if (count_of(bytes) > list_again) return set.size();
    bitmap_to_list(bytes);
    left = list_again;
  }
  const auto rest = set.subspan(start + length);
  std::copy(rest.begin(), rest.end(), set.begin() + static_cast<std::ptrdiff_t>(start + left));
  set[1 + run] = static_cast<std::byte>(left);
  return set.size() - (length - left);
}

void expand(std::span<const std::byte> set, std::span<std::uint64_t> words) {
  const std::size_t runs = runs_of(set);
  const std::byte* at = set.data() + 1 + runs;
  for (std::size_t run = 0; run < runs && run * run_words < words.size(); ++run) {
    const std::size_t length = to_size(set[1 + run]);
    // The last words may not fill a run: write a whole one, keep what fits.
    std::array<std::uint64_t, run_words> bits{};
    if (length == bitmap_bytes) {
      for (std::size_t i = 0; i < run_words; ++i) bits[i] = load_le<std::uint64_t>({at + 8 * i, 8});
    } else {
      for (std::size_t i = 0; i < length; ++i) {
        const std::size_t low = to_size(at[i]);
        set_slot(bits, low);
      }
    }
    const auto out = words.subspan(run * run_words);
    std::copy_n(bits.begin(), std::min(run_words, out.size()), out.begin());
    at += length;
  }
}

std::size_t list(std::span<const std::byte> set, std::span<const std::uint64_t> mask,
                 std::span<NodeSlot> out) {
  const std::size_t runs = runs_of(set);
  const std::byte* at = set.data() + 1 + runs;
  std::size_t count = 0;
  for (std::size_t run = 0; run < runs && run * run_words < mask.size(); ++run) {
    const std::size_t length = to_size(set[1 + run]);
    const auto first = static_cast<NodeSlot>(run * run_slots);
    const RunBits live = bits_of(mask, run);
    if (length == bitmap_bytes) {
      for (std::size_t i = 0; i < run_words; ++i) {
        const auto base = static_cast<NodeSlot>(first + i * 64);
        for (std::uint64_t bits = load_le<std::uint64_t>({at + 8 * i, 8}) & live[i]; bits != 0;
             bits &= bits - 1) {
          out[count++] = static_cast<NodeSlot>(base + std::countr_zero(bits));
        }
      }
    } else {
      for (std::size_t i = 0; i < length; ++i) {  // no branch: who is live is hard to predict
        const std::size_t low = to_size(at[i]);
        out[count] = static_cast<NodeSlot>(first + low);
        count += (live[low / 64] >> (low % 64)) & 1U;
      }
    }
    at += length;
  }
  return count;
}

// ---- from bits ----

namespace {

std::size_t runs_for(std::span<const std::uint64_t> words) {
  std::size_t used = words.size();
  while (words[used - 1] == 0) --used;
  return (used + run_words - 1) / run_words;
}

}  // namespace

std::size_t bytes_for_words(std::span<const std::uint64_t> words) {
  const std::size_t runs = runs_for(words);
  std::size_t bytes = 1 + runs;
  for (std::size_t run = 0; run < runs; ++run) {
    bytes += std::min(count_slots(bits_of(words, run)), bitmap_bytes);
  }
  return bytes;
}

std::size_t write_words(std::span<std::byte> bytes, std::span<const std::uint64_t> words) {
  const std::size_t runs = runs_for(words);
  bytes[0] = static_cast<std::byte>(runs - 1);
  std::size_t used = 1 + runs;
  for (std::size_t run = 0; run < runs; ++run) {
    const RunBits bits = bits_of(words, run);
    const std::size_t length = std::min(count_slots(bits), bitmap_bytes);
    bytes[1 + run] = static_cast<std::byte>(length);
    auto out = bytes.subspan(used, length);
    used += length;
    for (std::size_t i = 0; i < run_words; ++i) {
      if (length == bitmap_bytes) {
        store_le(out.subspan(8 * i, 8), bits[i]);
        continue;
      }
      for (std::uint64_t rest = bits[i]; rest != 0; rest &= rest - 1) {
        out[0] = static_cast<std::byte>(i * 64 + static_cast<unsigned>(std::countr_zero(rest)));
        out = out.subspan(1);
      }
    }
  }
  return used;
}

std::size_t word_count(std::span<const std::byte> set) { return runs_of(set) * run_words; }

}  // namespace waggle::gossip::holder_block
