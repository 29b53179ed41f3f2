// Asking, holding, telling; the books behind the same inputs.
#include "transfer/host_permits.hpp"

#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "base/keys.hpp"
#include "base/limits.hpp"
#include "base/timer_table.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace waggle::transfer {
namespace {

using namespace std::chrono_literals;
using State = PermitHoldMessage::State;

constexpr std::string_view host_domain = "host:";
constexpr std::size_t registrar_count = 3;
constexpr std::array<Duration, 2> ask_patience = {50ms, 100ms};
constexpr Duration silence_memory = 5s;
constexpr Duration waiting_refresh = 500ms;  ///< a pushed grant may have been lost
constexpr Duration hold_interval = 1s;
constexpr Duration slow_after = 1s;
constexpr Duration book_ttl = 10min;

}  // namespace

SwarmTag HostPermits::tag_of(const std::string& host) {
  Bytes message;
  append(message, as_bytes(host_domain));
  append(message, as_bytes(host));
  SwarmTag tag;
  blake2b(tag.bytes, message);
  return tag;
}

std::vector<NodeId> HostPermits::trio(const SwarmTag& host) const {
  if (candidates_.empty()) return {config_.self};
  return hrw_top(config_.id_key, candidates_, host_domain, host.bytes, registrar_count);
}

std::vector<NodeId> HostPermits::registrars(const std::string& host) const {
  return trio(tag_of(host));
}

HostPermits::Host& HostPermits::host_of(TimePoint now, const std::string& name) {
  const SwarmTag tag = tag_of(name);
  const auto [found, is_new] = hosts_.try_emplace(tag);
  Host& host = found->second;
  host.last_use = now;
  if (!is_new) return host;
  host.name = name;
  host.trio = trio(tag);
  return host;
}

HostPermits::Host* HostPermits::find(const PermitId& permit) {
  const auto found = where_.find(permit);
  return found == where_.end() ? nullptr : &hosts_.at(found->second);
}

bool HostPermits::holds(const PermitId& permit) const {
  const auto found = where_.find(permit);
  return found != where_.end() && hosts_.at(found->second).own.at(permit).held;
}

void HostPermits::set_members(TimePoint now, std::span<const NodeId> candidates) {
  candidates_.assign(candidates.begin(), candidates.end());
  for (auto& [tag, host] : hosts_) {
    auto ranked = trio(tag);
    if (ranked == host.trio) continue;
    host.trio = std::move(ranked);
    send_hold(now, tag, host);
    for (auto& [permit, own] : host.own) {
      if (!own.held) choose_leader(now, tag, host, permit, own);
    }
  }
}

void HostPermits::member_gone(TimePoint now, const NodeId& node) {
  for (auto& [tag, book] : books_) {
    book.node_gone(node);
    send_answers(tag, book.assign(now));
  }
}

void HostPermits::excuse(TimePoint now) {
  for (auto& [tag, book] : books_) book.excuse(now);
}

void HostPermits::ask(TimePoint now, const std::string& name, const PermitId& permit,
                      bool reader_waits) {
  if (where_.contains(permit)) return;
  Host& host = host_of(now, name);
  const SwarmTag tag = tag_of(name);
  where_[permit] = tag;
  Own& own = host.own[permit];
  own.reader_waits = reader_waits;
  own.request = prng_.next() >> 1U;
  choose_leader(now, tag, host, permit, own);
}

void HostPermits::choose_leader(TimePoint now, const SwarmTag& tag, Host& host,
                                const PermitId& permit, Own& own) {
  own.leader.reset();
  own.attempts = 0;
  own.answered = false;
  own.ask_at = now + waiting_refresh;
  const auto held =
      std::count_if(host.own.begin(), host.own.end(), [](const auto& e) { return e.second.held; });
  // What is held must fit one HOLD.
  if (held >= static_cast<std::ptrdiff_t>(limits::host_permits_per_node_max)) return;
  for (const NodeId& node : host.trio) {
    const auto silent = host.silent_until.find(node);
    if (silent != host.silent_until.end() && silent->second > now) continue;
    own.leader = node;
    send_ask(now, tag, permit, own);
    return;
  }
  take_locally(now, host);
}

void HostPermits::send_ask(TimePoint now, const SwarmTag& tag, const PermitId& permit, Own& own) {
  outputs_.push_back(
      Send{*own.leader, tag,
           PermitAskMessage{own.request, config_.incarnation, permit, own.reader_waits}});
  own.ask_at = now + ask_patience[std::min(own.attempts, ask_patience.size() - 1)];
}

// Everybody of the trio is silent: the lowest extents first, as many as this node's share.
void HostPermits::take_locally(TimePoint now, Host& host) {
  const std::size_t nodes = std::max<std::size_t>(1, candidates_.size());
  const std::size_t share = std::max<std::size_t>(1, config_.in_flight_max / nodes);
  auto held = static_cast<std::size_t>(
      std::count_if(host.own.begin(), host.own.end(), [](const auto& e) { return e.second.held; }));
  while (held < std::min(share, limits::host_permits_per_node_max)) {
    auto next = host.own.end();
    for (auto it = host.own.begin(); it != host.own.end(); ++it) {
      if (it->second.held || it->second.leader) continue;
      if (next == host.own.end() || it->first.extent < next->first.extent) next = it;
    }
    if (next == host.own.end()) return;
    granted(now, next->first, host, next->second);
    ++held;
  }
}

void HostPermits::granted(TimePoint now, const PermitId& permit, Host& host, Own& own) {
  own.held = true;
  own.since = now;
  own.leader.reset();
  outputs_.push_back(Granted{permit});
  // Its first bytes are told at once, too; this is for a request that is not answered for long.
  if (!host.hold_at) host.hold_at = now + hold_interval;
}

void HostPermits::ask_timeout(TimePoint now, const SwarmTag& tag, Host& host,
                              const PermitId& permit, Own& own) {
  if (!own.leader) return choose_leader(now, tag, host, permit, own);
  if (std::exchange(own.answered, false)) {
    own.attempts = 0;
    return send_ask(now, tag, permit, own);
  }
  if (++own.attempts < ask_patience.size()) return send_ask(now, tag, permit, own);
  host.silent_until[*own.leader] = now + silence_memory;
  choose_leader(now, tag, host, permit, own);
}

void HostPermits::handle_timeout(TimePoint now) {
  for (auto& [tag, host] : hosts_) {
    if (host.hold_at && *host.hold_at <= now) send_hold(now, tag, host);
    for (auto& [permit, own] : host.own) {
      if (!own.held && own.ask_at <= now) ask_timeout(now, tag, host, permit, own);
    }
  }
  for (auto& [tag, book] : books_) {
    const auto due = book.next_deadline();
    if (due && *due <= now) send_answers(tag, book.assign(now));
  }
  forget_idle(now);
}

PermitHoldMessage::Item HostPermits::item_of(TimePoint now, const PermitId& permit,
                                             const Own& own) const {
  State state = State::flowing;
  if (own.total > 0 && 4 * own.bytes >= 3 * own.total) {
    state = State::nearly_done;
  } else if (now - own.since >= slow_after &&
             static_cast<double>(own.bytes) <
                 static_cast<double>(own.chunk_bytes) * to_seconds(now - own.since)) {
    state = State::slow;
  }
  return {permit, own.bytes, state};
}

void HostPermits::send_hold(TimePoint now, const SwarmTag& tag, Host& host) {
  PermitHoldMessage message{config_.incarnation, ++serial_, {}, {}};
  for (const auto& [permit, own] : host.own) {
    if (own.held) message.items.push_back(item_of(now, permit, own));
  }
  const bool holds = !message.items.empty();
  for (auto& item : std::exchange(host.ended, {})) {
    // What is left out here is missing in the next one, which says the same.
    if (message.items.size() < claims_per_message_max) message.items.push_back(item);
  }
  std::erase_if(host.pauses, [&](const auto& entry) { return entry.second <= now; });
  for (const auto& [credential, until] : host.pauses) {
    if (message.pauses.size() < pauses_per_message_max)
      message.pauses.push_back({credential, until - now});
  }
  const bool again = holds || host.held_last || !host.pauses.empty();
  host.held_last = holds || !message.items.empty();
  host.hold_at.reset();
  if (again || host.held_last) host.hold_at = now + hold_interval;
  for (const NodeId& node : host.trio) outputs_.push_back(Send{node, tag, message});
}

void HostPermits::progress(TimePoint now, const PermitId& permit, std::uint64_t bytes,
                           std::uint64_t total, std::uint64_t chunk_bytes) {
  Host* host = find(permit);
  if (host == nullptr) return;
  Own& own = host->own.at(permit);
  if (!own.held) return;
  const State before = item_of(now, permit, own).state;
  const bool is_first = own.bytes == 0 && bytes > 0;
  own.bytes = std::max(own.bytes, bytes);
  own.total = total;
  own.chunk_bytes = chunk_bytes;
  const State after = item_of(now, permit, own).state;
  if (is_first || (after != before && after == State::nearly_done))
    send_hold(now, where_.at(permit), *host);
}

void HostPermits::end_own(TimePoint now, const SwarmTag& tag, Host& host,
                          std::map<PermitId, Own>::iterator own) {
  host.last_use = now;
  host.ended.push_back({own->first, own->second.bytes, State::ended});
  where_.erase(own->first);
  host.own.erase(own);
  send_hold(now, tag, host);
  for (auto& [permit, other] : host.own) {
    if (!other.held && !other.leader) {
      choose_leader(now, tag, host, permit, other);
      return;
    }
  }
}

void HostPermits::end(TimePoint now, const PermitId& permit) {
  Host* host = find(permit);
  if (host == nullptr) return;
  const SwarmTag tag = where_.at(permit);
  end_own(now, tag, *host, host->own.find(permit));
}

void HostPermits::end_all(TimePoint now, const SwarmTag& blob) {
  std::vector<PermitId> ending;
  for (const auto& [permit, tag] : where_) {
    if (permit.blob == blob) ending.push_back(permit);
  }
  for (const PermitId& permit : ending) end(now, permit);
}

void HostPermits::paused(TimePoint now, const std::string& name, std::uint64_t credential,
                         Duration remaining) {
  Host& host = host_of(now, name);
  const TimePoint until = now + std::min<Duration>(remaining, limits::upstream_pause_max);
  if (!host.pauses.contains(credential) && host.pauses.size() >= limits::host_pauses_max) return;
  host.pauses[credential] = std::max(host.pauses[credential], until);
  host.told[credential] = std::max(host.told[credential], until);
  send_hold(now, tag_of(name), host);
}

// The driver adds jitter to what it is told, so it is told once.
void HostPermits::note_pauses(TimePoint now, Host& host, const std::vector<HostPause>& pauses) {
  constexpr Duration same = 100ms;
  std::erase_if(host.told, [&](const auto& entry) { return entry.second <= now; });
  for (const HostPause& pause : pauses) {
    const TimePoint until = now + pause.remaining;
    const auto known = host.told.find(pause.credential);
    if (known != host.told.end() && until <= known->second + same) continue;
    if (known == host.told.end() && host.told.size() >= limits::host_pauses_max) continue;
    host.told[pause.credential] = until;
    outputs_.push_back(Paused{host.name, pause});
  }
}

void HostPermits::handle_answer(TimePoint now, const NodeId& from, const SwarmTag& tag,
                                const PermitAnswerMessage& message) {
  const auto found = hosts_.find(tag);
  if (found == hosts_.end()) return;  // of a host that this node is done with: the grant's grace
  Host& host = found->second;
  if (std::find(host.trio.begin(), host.trio.end(), from) == host.trio.end()) return;
  host.silent_until.erase(from);
  note_pauses(now, host, message.pauses);
  if (message.request == 0) return;
  const auto own = host.own.find(message.permit);
  if (own == host.own.end()) {
    if (!message.granted) return;
    host.ended.push_back({message.permit, 0, State::ended});
    return send_hold(now, tag, host);
  }
  if (own->second.held || own->second.request != message.request || own->second.leader != from)
    return;
  if (message.granted) return granted(now, message.permit, host, own->second);
  own->second.answered = true;
  own->second.attempts = 0;
  own->second.ask_at = now + waiting_refresh;
}

HostBook& HostPermits::book_of(TimePoint now, const SwarmTag& tag) {
  const auto found = books_.find(tag);
  if (found != books_.end()) return found->second;
  std::erase_if(books_,
                [&](const auto& entry) { return entry.second.last_use() + book_ttl <= now; });
  if (books_.size() >= limits::host_books_max) {
    books_.erase(std::min_element(books_.begin(), books_.end(), [](const auto& a, const auto& b) {
      return a.second.last_use() < b.second.last_use();
    }));
  }
  return books_.try_emplace(tag, now, std::max(1U, config_.in_flight_max)).first->second;
}

void HostPermits::send_answers(const SwarmTag& tag, const std::vector<HostBook::Answer>& answers) {
  for (const auto& answer : answers) outputs_.push_back(Send{answer.to, tag, answer.message});
}

// One of the trio is enough; where that is gone they hear it with their next answer.
void HostPermits::spread_pauses(TimePoint now, const SwarmTag& tag, const HostBook& book) {
  if (trio(tag).front() != config_.self) return;
  for (const NodeId& node : book.clients(now))
    outputs_.push_back(Send{node, tag, PermitAnswerMessage{0, {}, false, book.pauses(now)}});
}

void HostPermits::handle(TimePoint now, const NodeId& from, const SwarmTag& tag,
                         const ClaimBody& body) {
  if (const auto* answer = std::get_if<PermitAnswerMessage>(&body)) {
    handle_answer(now, from, tag, *answer);
    forget_idle(now);
    return;
  }
  HostBook& book = book_of(now, tag);
  if (const auto* ask = std::get_if<PermitAskMessage>(&body)) {
    send_answers(tag, book.ask(now, from, *ask));
  } else if (const auto* hold = std::get_if<PermitHoldMessage>(&body)) {
    const bool is_news = book.hold(now, from, *hold);
    if (is_news) spread_pauses(now, tag, book);
    send_answers(tag, book.assign(now));
  }
}

void HostPermits::forget_idle(TimePoint now) {
  std::erase_if(hosts_, [&](const auto& entry) {
    const Host& host = entry.second;
    return host.own.empty() && !host.hold_at && now - host.last_use >= host_client_ttl;
  });
}

std::optional<HostPermits::Output> HostPermits::poll_output() {
  if (outputs_.empty()) return std::nullopt;
  Output output = std::move(outputs_.front());
  outputs_.pop_front();
  return output;
}

std::optional<TimePoint> HostPermits::poll_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [tag, host] : hosts_) {
    next = earliest(next, host.hold_at);
    for (const auto& [permit, own] : host.own) {
      if (!own.held) next = earliest(next, own.ask_at);
    }
  }
  for (const auto& [tag, book] : books_) next = earliest(next, book.next_deadline());
  return next;
}

void HostPermits::check_invariants() const {
  std::size_t count = 0;
  for (const auto& [tag, host] : hosts_) {
    count += host.own.size();
    for (const auto& [permit, own] : host.own) WAGGLE_ASSERT(where_.at(permit) == tag);
  }
  WAGGLE_ASSERT(count == where_.size());
  WAGGLE_ASSERT(books_.size() <= limits::host_books_max);
  for (const auto& [tag, book] : books_) book.check_invariants();
}

}  // namespace waggle::transfer
