// The piggyback queue.
#include "gossip/dissemination.hpp"

#include "base/assert.hpp"

#include <cmath>

namespace waggle::gossip {
namespace {

constexpr std::size_t retransmit_mult = 4;
/// Records that do not fit any more: a packet is full when so many were passed over.
constexpr std::size_t misfits_max = 4;

}  // namespace

std::size_t Dissemination::retransmits(std::size_t live_members) {
  return retransmit_mult *
         static_cast<std::size_t>(std::ceil(std::log10(static_cast<double>(live_members + 1))));
}

void Dissemination::add(const News& news, std::size_t bytes) {
  remove(news.about);
  const std::uint64_t age = next_age_--;
  entries_.emplace(news.about, Entry{news.accuser, bytes, 0, age});
  order_.insert({0, age, news.about});
}

void Dissemination::remove(const NodeId& id) {
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  order_.erase({it->second.sent, it->second.age, id});
  entries_.erase(it);
}

std::vector<Dissemination::News> Dissemination::take(std::size_t budget_bytes,
                                                     std::size_t retransmits) {
  std::vector<News> taken;
  std::size_t misfits = 0;
  for (const Rank& rank : order_) {
    if (misfits == misfits_max) break;
    const Entry& entry = entries_.at(rank.about);
    if (entry.bytes > budget_bytes) {
      ++misfits;
      continue;
    }
    budget_bytes -= entry.bytes;
    taken.push_back({rank.about, entry.accuser});
  }
  for (const News& news : taken) {
    const auto it = entries_.find(news.about);
    auto node = order_.extract({it->second.sent, it->second.age, news.about});
    if (++it->second.sent < retransmits) {
      node.value().sent = it->second.sent;
      order_.insert(std::move(node));
    } else {
      entries_.erase(it);
    }
  }
  return taken;
}

void Dissemination::check_invariants() const {
  WAGGLE_ASSERT(order_.size() == entries_.size());
  for (const auto& [id, entry] : entries_) {
    WAGGLE_ASSERT(order_.contains({entry.sent, entry.age, id}));
  }
}

}  // namespace waggle::gossip
