// Assignment of extents, and when a claim ends.
#include "transfer/claim_table.hpp"

#include "base/assert.hpp"
#include "base/timer_table.hpp"

#include <algorithm>
#include <utility>

namespace waggle::transfer {

ClaimTable::Wanter* ClaimTable::touch(TimePoint now, const NodeId& from,
                                      std::uint64_t incarnation) {
  last_use_ = now;
  const auto found = wanters_.find(from);
  if (found == wanters_.end()) {
    if (wanters_.size() >= limits::registrar_wanters_max) return nullptr;
    Wanter& wanter = wanters_[from];
    wanter.incarnation = incarnation;
    wanter.last_seen = now;
    return &wanter;
  }
  Wanter& wanter = found->second;
  if (incarnation < wanter.incarnation) return nullptr;  // a message of an earlier life
  if (incarnation > wanter.incarnation) {
    drop_claims_of(from);
    wanter = {};
    wanter.incarnation = incarnation;
  }
  wanter.last_seen = now;
  return &wanter;
}

void ClaimTable::learn_size(std::optional<std::uint64_t> size, bool whole_stream) {
  if (size && !size_) size_ = size;
  if (whole_stream) whole_stream_ = true;
}

bool ClaimTable::take(TimePoint now, const NodeId& from, std::uint64_t incarnation,
                      const ExtentClaim& claim, TimePoint expires) {
  auto [entry, is_new] = claims_.try_emplace(claim.extent);
  Claim& held = entry->second;
  if (!is_new && held.node != from && held.expires > now) return false;
  if (is_new || held.node != from || held.incarnation != incarnation ||
      held.attempt != claim.attempt) {
    held = {from, incarnation, claim.attempt, expires, now, now, 0, {}};
  }
  held.expires = std::max(held.expires, expires);
  std::uint32_t& attempt = attempts_[claim.extent];
  attempt = std::max(attempt, claim.attempt);
  return true;
}

void ClaimTable::want(TimePoint now, const NodeId& from, const WantMessage& message,
                      std::vector<ExtentClaim>& denied) {
  Wanter* wanter = touch(now, from, message.incarnation);
  if (wanter == nullptr) return;
  wanter->upstream_bytes = std::max(wanter->upstream_bytes, message.upstream_bytes);
  wanter->done = message.done;
  holders_.erase(from);
  learn_size(message.size, false);
  for (const auto& claim : message.claims) {
    if (!take(now, from, message.incarnation, claim, now + progress_missed))
      denied.push_back(claim);
  }
}

bool ClaimTable::claim(TimePoint now, const NodeId& from, const ClaimMessage& message,
                       std::vector<Granted>& granted) {
  Wanter* wanter = touch(now, from, message.incarnation);
  if (wanter == nullptr) return true;
  if (message.count == 0) {
    if (wanter->waiting && wanter->waiting->request == message.request) wanter->waiting.reset();
    return false;
  }
  if (wanter->answered_request == message.request && !wanter->answer.empty()) {
    granted.push_back({from, message.request, wanter->answer});
    return false;
  }
  wanter->upstream_bytes = std::max(wanter->upstream_bytes, message.upstream_bytes);
  wanter->waiting = Waiting{message.request, message.count, message.holders_failed};
  if (!first_assignment_) first_assignment_ = now + first_assignment_delay;
  granted = assign(now);
  return std::none_of(granted.begin(), granted.end(),
                      [&](const Granted& grant) { return grant.to == from; });
}

std::vector<VoteMessage::Vote> ClaimTable::confirm(TimePoint now, const NodeId& from,
                                                   const ConfirmMessage& message) {
  std::vector<VoteMessage::Vote> votes;
  if (touch(now, from, message.incarnation) == nullptr) return votes;
  for (const auto& claim : message.claims) {
    // What some wanter completed needs no claim, even when the asker's leader has not heard of it.
    const bool needed = !is_available(claim.extent, true);
    // A later attempt: its leader gave a slow claim to another.
    const auto held = claims_.find(claim.extent);
    if (needed && held != claims_.end() && held->second.node != from &&
        held->second.attempt < claim.attempt && now - held->second.since >= slow_after) {
      claims_.erase(held);
    }
    votes.push_back(
        {claim, needed && take(now, from, message.incarnation, claim, now + claim_grace)});
  }
  return votes;
}

void ClaimTable::progress(TimePoint now, const NodeId& from, const ProgressMessage& message,
                          std::vector<ExtentClaim>& denied) {
  if (touch(now, from, message.incarnation) == nullptr) return;
  learn_size(message.size, message.whole_stream);
  for (const auto& item : message.items) {
    // A claim that had expired, with nobody else on it, is simply held again.
    if (!take(now, from, message.incarnation, item.claim, now + progress_missed)) {
      denied.push_back(item.claim);
      continue;
    }
    Claim& claim = claims_.at(item.claim.extent);
    // More than the extent holds, or a trickle, is no growth.
    const std::uint64_t bytes = std::min(item.bytes, claim_bytes_max(item.claim.extent));
    if (bytes >= claim.bytes + growth_min || (bytes > claim.bytes && claim.bytes == 0)) {
      received_ += bytes - claim.bytes;
      claim.bytes = bytes;
      claim.grew_at = now;
    }
  }
}

void ClaimTable::release(TimePoint now, const NodeId& from, const ReleaseMessage& message) {
  Wanter* wanter = touch(now, from, message.incarnation);
  if (wanter == nullptr) return;
  for (const ExtentIndex extent : message.extents) {
    const auto claim = claims_.find(extent);
    if (claim != claims_.end() && claim->second.node == from) {
      if (message.reason == ReleaseMessage::Reason::done) {
        received_ += claim_bytes_max(extent) - claim->second.bytes;
      }
      claims_.erase(claim);
    }
    if (message.reason == ReleaseMessage::Reason::done) wanter->done.set(extent);
    if (message.reason == ReleaseMessage::Reason::elsewhere)
      elsewhere_[extent] = now + elsewhere_time;
  }
}

void ClaimTable::unwant(TimePoint now, const NodeId& from, const UnwantMessage& message) {
  const Wanter* wanter = touch(now, from, message.incarnation);
  if (wanter == nullptr) return;
  drop_claims_of(from);
  wanters_.erase(from);
  if (message.completed) holders_.insert(from);
  if (holders_.size() > news_holders_max) holders_.erase(holders_.begin());
}

void ClaimTable::node_gone(TimePoint now, const NodeId& node) {
  last_use_ = std::max(last_use_, now);
  drop_claims_of(node);
  wanters_.erase(node);
  holders_.erase(node);
}

void ClaimTable::excuse(TimePoint now) {
  for (auto& [extent, claim] : claims_) {
    claim.expires = std::max(claim.expires, now + pause_allowance);
    claim.grew_at = std::max(claim.grew_at, now + pause_allowance - stall_limit);
    claim.since = std::max(claim.since, now + pause_allowance - claim_time_max);
  }
  for (auto& [node, wanter] : wanters_) {
    wanter.last_seen = std::max(wanter.last_seen, now + pause_allowance - wanter_ttl);
  }
}

void ClaimTable::drop_claims_of(const NodeId& node) {
  std::erase_if(claims_, [&](const auto& entry) { return entry.second.node == node; });
}

// A blob of unknown size, or one streamed whole, has one claim for all of it.
std::uint64_t ClaimTable::claim_bytes_max(ExtentIndex extent) const {
  if (!size_ || whole_stream_) return limits::blob_bytes_max;
  const std::uint64_t begin = std::uint64_t{to_value(extent)} * limits::extent_bytes;
  return std::min(limits::extent_bytes, *size_ - std::min(*size_, begin));
}

TimePoint ClaimTable::end_of(const Claim& claim) const {
  const TimePoint end = std::min(claim.expires, claim.grew_at + stall_limit);
  return size_ && !whole_stream_ ? std::min(end, claim.since + claim_time_max) : end;
}

void ClaimTable::expire(TimePoint now) {
  std::erase_if(claims_, [&](const auto& entry) {
    if (end_of(entry.second) > now) return false;
    const auto wanter = wanters_.find(entry.second.node);
    if (wanter != wanters_.end()) ++wanter->second.lost_claims;
    return true;
  });
  std::erase_if(elsewhere_, [&](const auto& entry) { return entry.second <= now; });
  for (auto it = wanters_.begin(); it != wanters_.end();) {
    if (it->second.last_seen + wanter_ttl <= now) {
      drop_claims_of(it->first);
      it = wanters_.erase(it);
    } else {
      ++it;
    }
  }
}

std::optional<double> ClaimTable::rate_of(TimePoint now, const Claim& claim) const {
  if (!claim.steady_bytes || now - steady_since_ < slow_after) return std::nullopt;
  return static_cast<double>(claim.bytes - *claim.steady_bytes) / to_seconds(now - steady_since_);
}

bool ClaimTable::end_slowest(TimePoint now) {
  if (!size_ || whole_stream_) return false;
  std::set<std::pair<ExtentIndex, std::uint32_t>> present;
  for (const auto& [extent, claim] : claims_) present.emplace(extent, claim.attempt);
  if (present != steady_) {  // each has another share now
    steady_ = std::move(present);
    steady_since_ = now;
    for (auto& [extent, claim] : claims_) claim.steady_bytes = claim.bytes;
  }
  auto slowest = claims_.end();
  double longest = 0;
  for (auto it = claims_.begin(); it != claims_.end(); ++it) {
    // Without a byte it may wait for its permit: stall_limit ends that.
    const auto rate = rate_of(now, it->second);
    if (!rate || it->second.bytes == 0 || !is_slow(it->first, it->second, *rate)) continue;
    const auto rest = static_cast<double>(claim_bytes_max(it->first) - it->second.bytes);
    const double takes = rest / std::max(*rate, 1.0);
    if (takes <= longest) continue;
    slowest = it;
    longest = takes;
  }
  if (slowest == claims_.end()) return false;
  const auto wanter = wanters_.find(slowest->second.node);
  if (wanter != wanters_.end()) ++wanter->second.lost_claims;
  claims_.erase(slowest);
  return true;
}

std::uint32_t ClaimTable::extent_count() const {
  return size_ ? BlobLayout(*size_).extent_count() : 1;
}

bool ClaimTable::is_available(ExtentIndex extent, bool ignore_holders) const {
  if (!holders_.empty() && !ignore_holders) return true;
  return std::any_of(wanters_.begin(), wanters_.end(),
                     [&](const auto& entry) { return entry.second.done.test(extent); });
}

std::optional<ExtentIndex> ClaimTable::lowest_free(bool ignore_holders) const {
  // One claimant streams everything: nothing else is granted while it lives.
  if (whole_stream_ && !claims_.empty()) return std::nullopt;
  for (std::uint32_t i = 0; i < extent_count(); ++i) {
    const ExtentIndex extent{i};
    if (claims_.contains(extent) || elsewhere_.contains(extent)) continue;
    if (!is_available(extent, ignore_holders)) return extent;
  }
  return std::nullopt;
}

// What is nearly done does not count; nor do those that crawl, as many as the pace allows: slow
// nodes would else hold all places.
std::uint32_t ClaimTable::in_flight(TimePoint now) const {
  std::uint32_t busy = 0, crawling = 0;
  for (const auto& [extent, claim] : claims_) {
    if (4 * claim.bytes >= 3 * claim_bytes_max(extent)) continue;
    const bool is_judged = claim.bytes > 0 && now - claim.since >= slow_after;
    const double rate = static_cast<double>(claim.bytes) / to_seconds(now - claim.since);
    if (is_judged && crawling < pace_.limit() && is_slow(extent, claim, rate)) {
      ++crawling;
    } else {
      ++busy;
    }
  }
  return busy;
}

// What each would get if all got the same of what upstream has shown to give.
bool ClaimTable::is_slow(ExtentIndex extent, const Claim& claim, double rate) const {
  const double fair = pace_.best() / static_cast<double>(std::max<std::size_t>(1, claims_.size()));
  if (fair <= 0) return false;
  const auto rest = static_cast<double>(claim_bytes_max(extent) - claim.bytes);
  return rest / std::max(rate, 1.0) > slow_factor * rest / fair + to_seconds(slow_margin);
}

std::vector<ClaimTable::Granted> ClaimTable::assign(TimePoint now) {
  expire(now);
  std::vector<Granted> granted;
  const bool anyone_waits = std::any_of(wanters_.begin(), wanters_.end(), [](const auto& entry) {
    return entry.second.waiting.has_value();
  });
  pace_.update(now, received_, anyone_waits && in_flight(now) >= pace_.limit());
  if (!first_assignment_ || now < *first_assignment_) return granted;
  opened_ = true;
  while (in_flight(now) < pace_.limit()) {
    // Among those who wait, the one that took fewest bytes from this origin goes first, ties by id;
    // whoever let claims end goes after all others.
    const auto rank = [](const Wanter& wanter) {
      return std::pair(wanter.lost_claims, wanter.upstream_bytes);
    };
    auto next = wanters_.end();
    std::optional<ExtentIndex> extent;
    for (auto it = wanters_.begin(); it != wanters_.end(); ++it) {
      if (!it->second.waiting) continue;
      if (next != wanters_.end() && rank(next->second) <= rank(it->second)) continue;
      const auto free = lowest_free(it->second.waiting->holders_failed);
      if (!free) continue;
      next = it;
      extent = free;
    }
    if (next == wanters_.end()) {
      const bool others_wait = std::any_of(wanters_.begin(), wanters_.end(), [](const auto& entry) {
        return entry.second.waiting && entry.second.lost_claims == 0;
      });
      if (others_wait && end_slowest(now)) continue;
      return granted;
    }
    const NodeId& node = next->first;
    Wanter& wanter = next->second;
    std::uint32_t& attempt = attempts_[*extent];
    last_use_ = now;
    if (attempt > 0) ++takeovers_;
    ++attempt;
    claims_[*extent] = {node, wanter.incarnation, attempt, now + claim_grace, now, now, 0, {}};
    wanter.upstream_bytes += limits::extent_bytes;
    auto answer = std::find_if(granted.begin(), granted.end(),
                               [&](const Granted& one) { return one.to == node; });
    if (answer == granted.end())
      answer = granted.insert(granted.end(), {node, wanter.waiting->request, {}});
    answer->grants.push_back({*extent, attempt});
    wanter.answered_request = wanter.waiting->request;
    wanter.answer = answer->grants;
    if (--wanter.waiting->count == 0 || answer->grants.size() >= claims_per_message_max)
      wanter.waiting.reset();
  }
  return granted;
}

std::optional<TimePoint> ClaimTable::next_deadline() const {
  std::optional<TimePoint> deadline;
  const bool anyone_waits = std::any_of(wanters_.begin(), wanters_.end(), [](const auto& entry) {
    return entry.second.waiting.has_value();
  });
  if (anyone_waits && !opened_) deadline = first_assignment_;
  for (const auto& [extent, claim] : claims_) {
    deadline = earliest(deadline, end_of(claim));
  }
  if (anyone_waits) {
    for (const auto& [extent, until] : elsewhere_) deadline = earliest(deadline, until);
    for (const auto& [node, wanter] : wanters_)
      deadline = earliest(deadline, wanter.last_seen + wanter_ttl);
  }
  return deadline;
}

std::vector<NodeId> ClaimTable::wanters() const {
  std::vector<NodeId> nodes;
  for (const auto& [node, wanter] : wanters_) nodes.push_back(node);
  return nodes;
}

void ClaimTable::check_invariants() const {
  WAGGLE_ASSERT(wanters_.size() <= limits::registrar_wanters_max);
  for (const auto& [extent, claim] : claims_) {
    WAGGLE_ASSERT(attempts_.at(extent) >= claim.attempt);
  }
}

}  // namespace waggle::transfer
