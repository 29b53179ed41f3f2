// Intervals, and the choice among many addresses.
#include "node/hint_book.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/timer_table.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace waggle::node {
namespace {

/// Nodes that start together must not ask the name server together for ever.
constexpr double jitter = 0.1;

void sort_unique(std::vector<Endpoint>& endpoints) {
  std::sort(endpoints.begin(), endpoints.end());
  endpoints.erase(std::unique(endpoints.begin(), endpoints.end()), endpoints.end());
}

bool leads_nowhere(const Endpoint& endpoint) {
  return endpoint.is_unspecified() || is_multicast(endpoint) || is_link_local(endpoint);
}

}  // namespace

HintBook::HintBook(TimePoint now, const std::vector<JoinHint>& hints, std::vector<Endpoint> own,
                   std::uint64_t seed)
    : prng_(seed) {
  set_own(std::move(own));
  for (const JoinHint& hint : hints) {
    if (hint.kind == JoinHint::Kind::address) fixed_.push_back(hint.endpoint);
    if (hint.kind == JoinHint::Kind::name) {
      names_.emplace_back();
      names_.back().hint = hint;
      names_.back().due = now;
    }
  }
  sort_unique(fixed_);
  make_list();
  handle_timeout(now);
}

void HintBook::handle_timeout(TimePoint now) {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    Name& name = names_[i];
    if (!name.due || *name.due > now) continue;
    name.due.reset();
    queries_.push_back({i, name.hint.host, name.hint.endpoint.port});
  }
}

void HintBook::handle_answer(TimePoint now, std::size_t index, std::vector<Endpoint> addresses) {
  Name& name = names_.at(index);
  std::erase_if(addresses, leads_nowhere);
  sort_unique(addresses);
  if (addresses.empty()) return handle_failure(now, index, "no address that leads anywhere");
  if (name.failing || !name.answered) {
    notices_.push_back({name.hint.text, {}, addresses.size()});
  }
  name.addresses = std::move(addresses);
  name.answered = true;
  settle(now, name, false);
  make_list();
}

void HintBook::handle_failure(TimePoint now, std::size_t index, const std::string& problem) {
  Name& name = names_.at(index);
  if (!name.failing) notices_.push_back({name.hint.text, problem, 0});
  settle(now, name, true);
}

void HintBook::settle(TimePoint now, Name& name, bool failed) {
  WAGGLE_ASSERT(!name.due);
  name.failing = failed;
  Duration wait = interval;
  if (failed || alone_) {
    wait = name.backoff;
    name.backoff = std::min(2 * name.backoff, interval);
  } else {
    name.backoff = backoff_min;
  }
  name.due = now + from_seconds(to_seconds(wait) * (1 - jitter * prng_.unit()));
}

void HintBook::set_alone(TimePoint now, bool alone) {
  if (alone && !alone_) {
    for (Name& name : names_) {
      name.backoff = backoff_min;
      if (name.due) name.due = std::min(*name.due, now);
    }
  }
  alone_ = alone;
  handle_timeout(now);
}

void HintBook::set_own(std::vector<Endpoint> own) {
  own_ = std::move(own);
  sort_unique(own_);
}

bool HintBook::is_own(const Endpoint& endpoint) const {
  return std::binary_search(own_.begin(), own_.end(), endpoint);
}

void HintBook::take(std::vector<Endpoint> from, std::vector<Endpoint>& into) {
  std::erase_if(from, [&](const Endpoint& endpoint) {
    return is_own(endpoint) || std::find(into.begin(), into.end(), endpoint) != into.end();
  });
  const std::size_t room = limits::join_hints_max - into.size();
  if (from.size() > room) {
    prng_.shuffle(std::span<Endpoint>(from));
    from.resize(room);
  }
  into.insert(into.end(), from.begin(), from.end());
}

void HintBook::make_list() {
  HintList list;
  take(fixed_, list.endpoints);
  std::vector<Endpoint> named;
  for (const Name& name : names_) {
    named.insert(named.end(), name.addresses.begin(), name.addresses.end());
    list.more_expected = list.more_expected || !name.answered;
  }
  sort_unique(named);
  take(std::move(named), list.endpoints);
  list_ = std::move(list);
}

std::optional<HintQuery> HintBook::poll_query() {
  if (queries_.empty()) return std::nullopt;
  HintQuery next = std::move(queries_.front());
  queries_.pop_front();
  return next;
}

std::optional<HintList> HintBook::poll_list() { return std::exchange(list_, std::nullopt); }

std::optional<HintNotice> HintBook::poll_notice() {
  if (notices_.empty()) return std::nullopt;
  HintNotice next = std::move(notices_.front());
  notices_.pop_front();
  return next;
}

std::optional<TimePoint> HintBook::poll_timeout() const {
  std::optional<TimePoint> next;
  for (const Name& name : names_) next = earliest(next, name.due);
  return next;
}

}  // namespace waggle::node
