// RFC 6479's ring of words: moving forward clears the words that are passed.
#include "gossip/replay_window.hpp"

#include <algorithm>

namespace waggle::gossip {

bool ReplayWindow::accept(std::uint64_t counter) {
  const std::uint64_t word = counter / 64;
  if (!any_) {
    any_ = true;
    newest_ = counter;
  } else if (counter > newest_) {
    const std::uint64_t passed = std::min<std::uint64_t>(word - newest_ / 64, words_.size());
    for (std::uint64_t i = 0; i < passed; ++i) words_[(word - i) % words_.size()] = 0;
    newest_ = counter;
  } else if (newest_ - counter > span) {
    return false;
  }
  std::uint64_t& slot = words_[word % words_.size()];
  const std::uint64_t bit = std::uint64_t{1} << (counter % 64);
  if ((slot & bit) != 0) return false;
  slot |= bit;
  return true;
}

void ReplayWindow::begin_after(std::uint64_t counter) {
  words_.fill(~std::uint64_t{0});
  const std::uint64_t later = counter % 64 == 63 ? 0 : ~std::uint64_t{0} << (counter % 64 + 1);
  words_[counter / 64 % words_.size()] &= ~later;
  newest_ = counter;
  any_ = true;
}

}  // namespace waggle::gossip
