// Order and number of permits, and when one ends.
#include "transfer/host_book.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"
#include "base/timer_table.hpp"

#include <algorithm>
#include <tuple>

namespace waggle::transfer {

using State = PermitHoldMessage::State;

/// nullptr: a message of an earlier life, or of one node too many.
HostBook::Node* HostBook::touch(TimePoint now, const NodeId& from, std::uint64_t incarnation) {
  last_use_ = now;
  const auto found = nodes_.find(from);
  if (found == nodes_.end()) {
    if (nodes_.size() >= limits::host_entries_max) return nullptr;
    return &(nodes_[from] = {incarnation, 0, now});
  }
  if (incarnation < found->second.incarnation) return nullptr;
  if (incarnation > found->second.incarnation) {
    drop_node(from);
    return &(nodes_[from] = {incarnation, 0, now});
  }
  found->second.last_seen = now;
  return &found->second;
}

void HostBook::drop_node(const NodeId& node) {
  std::erase_if(permits_, [&](const auto& entry) { return entry.first.first == node; });
  std::erase_if(askers_, [&](const auto& entry) { return entry.first.first == node; });
  nodes_.erase(node);
}

TimePoint HostBook::end_of(const Permit& permit) {
  return permit.told ? std::min(permit.expires, permit.seen + permit_missed) : permit.expires;
}

void HostBook::node_gone(const NodeId& node) { drop_node(node); }

std::vector<HostBook::Answer> HostBook::ask(TimePoint now, const NodeId& from,
                                            const PermitAskMessage& message) {
  const Key key{from, message.permit};
  const Answer wait{from, {message.request, message.permit, false, pauses(now)}};
  if (touch(now, from, message.incarnation) == nullptr) return {wait};
  expire(now);
  const auto held = permits_.find(key);
  if (held != permits_.end() && end_of(held->second) > now) {
    return {{from, {message.request, message.permit, true, pauses(now)}}};
  }
  if (held != permits_.end()) permits_.erase(held);
  const bool is_new = !askers_.contains(key);
  if (is_new && askers_.size() + permits_.size() >= limits::host_entries_max) return {wait};
  Asker& asker = askers_[key];
  if (is_new) asker.number = next_number_++;
  asker.request = message.request;
  asker.reader_waits = message.reader_waits;
  asker.last_seen = now;
  auto answers = assign(now);
  if (askers_.contains(key)) answers.push_back(wait);
  return answers;
}

bool HostBook::hold(TimePoint now, const NodeId& from, const PermitHoldMessage& message) {
  Node* node = touch(now, from, message.incarnation);
  if (node == nullptr || message.serial <= node->serial) return false;
  node->serial = message.serial;
  for (const auto& item : message.items) take_item(now, from, item);
  // What it listed before and lists no more has ended.
  std::erase_if(permits_, [&](const auto& entry) {
    return entry.first.first == from && entry.second.told && entry.second.seen < now;
  });
  bool is_news = false;
  for (const auto& pause : message.pauses) is_news = take_pause(now, pause) || is_news;
  return is_news;
}

void HostBook::take_item(TimePoint now, const NodeId& from, const PermitHoldMessage::Item& item) {
  const Key key{from, item.permit};
  askers_.erase(key);
  auto found = permits_.find(key);
  if (found == permits_.end()) {
    if (item.state == State::ended) return;
    if (permits_.size() + askers_.size() >= limits::host_entries_max) return;
    found = permits_.emplace(key, Permit{now, now + permit_lease, now, 0, false, {}}).first;
  }
  Permit& permit = found->second;
  const bool has_grown = item.bytes > permit.bytes;
  if (has_grown) {
    // What it had before this registrar knew of it was nothing of this window.
    if (permit.told || permit.granted < now) received_ += item.bytes - permit.bytes;
    permit.bytes = item.bytes;
    if (careful_from_ && now >= *careful_from_ && permit.granted >= *careful_from_)
      careful_from_.reset();
  }
  if (item.state == State::ended) {
    permits_.erase(found);
    return;
  }
  if (has_grown || !permit.told) permit.expires = now + permit_lease;
  permit.told = true;
  permit.seen = now;
  permit.state = item.state;
}

bool HostBook::take_pause(TimePoint now, const HostPause& pause) {
  constexpr Duration same = std::chrono::milliseconds(100);  // of the way here
  const TimePoint until = now + pause.remaining;
  const auto known = pauses_.find(pause.credential);
  if (known != pauses_.end() && until <= known->second + same) return false;
  if (known == pauses_.end() && pauses_.size() >= limits::host_pauses_max) {
    pauses_.erase(
        std::min_element(pauses_.begin(), pauses_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
  pauses_[pause.credential] = until;
  careful_from_ = until;
  return true;
}

void HostBook::excuse(TimePoint now) {
  constexpr Duration allowance = std::chrono::milliseconds(500);
  for (auto& [key, permit] : permits_) {
    permit.expires = std::max(permit.expires, now + allowance);
    permit.seen = std::max(permit.seen, now + allowance - permit_missed);
  }
  for (auto& [key, asker] : askers_)
    asker.last_seen = std::max(asker.last_seen, now + allowance - permit_asker_ttl);
}

void HostBook::expire(TimePoint now) {
  // A holder that goes on listing what does not grow is remembered, so that it is no new one.
  std::erase_if(permits_, [&](const auto& entry) {
    const Permit& permit = entry.second;
    return end_of(permit) <= now && (!permit.told || permit.seen + permit_lease <= now);
  });
  std::erase_if(
      askers_, [&](const auto& entry) { return entry.second.last_seen + permit_asker_ttl <= now; });
  std::erase_if(pauses_, [&](const auto& entry) { return entry.second <= now; });
  // Whoever holds or waits has spoken more lately.
  std::erase_if(nodes_,
                [&](const auto& entry) { return now - entry.second.last_seen >= host_client_ttl; });
}

HostBook::Load HostBook::load(TimePoint now) const {
  Load load;
  for (const auto& [key, permit] : permits_) {
    if (end_of(permit) <= now) continue;
    ++load.all;
    load.is_any_slow = load.is_any_slow || permit.state == State::slow;
    if (careful_from_ && permit.granted >= *careful_from_ && permit.bytes == 0) ++load.untried;
    if (permit.state == State::nearly_done) continue;
    ++load.busy;
    ++load.busy_of[key.second.blob];
  }
  return load;
}

bool HostBook::is_alone(const Load& load) const {
  std::set<SwarmTag> blobs;
  for (const auto& [blob, count] : load.busy_of) blobs.insert(blob);
  for (const auto& [key, asker] : askers_) blobs.insert(key.second.blob);
  return blobs.size() <= 1;
}

std::map<HostBook::Key, HostBook::Asker>::iterator HostBook::next_asker(TimePoint now,
                                                                        const Load& load) {
  if (load.all >= limit_) return askers_.end();
  if (careful_from_ && now >= *careful_from_ && load.untried > 0) return askers_.end();
  const auto is_due = [&](const auto& entry) {
    return entry.second.reader_waits && !load.busy_of.contains(entry.first.second.blob);
  };
  const auto order = [&](const auto& entry) {
    return std::tuple(!is_due(entry), !entry.second.reader_waits, entry.first.second.extent,
                      entry.second.number);
  };
  const auto next =
      std::min_element(askers_.begin(), askers_.end(),
                       [&](const auto& a, const auto& b) { return order(a) < order(b); });
  if (next == askers_.end()) return next;
  const bool has_room = load.busy < pace_.limit() || is_alone(load) || is_due(*next);
  return has_room ? next : askers_.end();
}

std::vector<HostBook::Answer> HostBook::assign(TimePoint now) {
  looked_at_ = now;
  expire(now);
  std::vector<Answer> granted;
  Load load = this->load(now);
  pace_.update(now, received_, load.busy >= pace_.limit() && !load.is_any_slow);
  for (auto next = next_asker(now, load); next != askers_.end(); next = next_asker(now, load)) {
    const auto& [node, permit] = next->first;
    granted.push_back({node, {next->second.request, permit, true, pauses(now)}});
    permits_.insert_or_assign(next->first,
                              Permit{now, now + permit_grace, now, 0, false, State::flowing});
    askers_.erase(next);
    load = this->load(now);
    pace_.reach(load.busy);
  }
  return granted;
}

std::vector<NodeId> HostBook::clients(TimePoint now) const {
  std::vector<NodeId> ids;
  for (const auto& [id, node] : nodes_) {
    if (now - node.last_seen < host_client_ttl) ids.push_back(id);
  }
  return ids;
}

std::vector<HostPause> HostBook::pauses(TimePoint now) const {
  std::vector<HostPause> pauses;
  for (const auto& [credential, until] : pauses_) {
    if (until > now) pauses.push_back({credential, until - now});
  }
  return pauses;
}

// Only what somebody waits for is worth waking up.
std::optional<TimePoint> HostBook::next_deadline() const {
  std::optional<TimePoint> deadline;
  for (const auto& [key, asker] : askers_)
    deadline = earliest(deadline, asker.last_seen + permit_asker_ttl);
  if (askers_.empty()) return deadline;
  for (const auto& [key, permit] : permits_) {
    if (end_of(permit) > looked_at_) deadline = earliest(deadline, end_of(permit));
  }
  return deadline;
}

std::size_t HostBook::permit_count(TimePoint now) const { return load(now).all; }

void HostBook::check_invariants() const {
  WAGGLE_ASSERT(permits_.size() + askers_.size() <= limits::host_entries_max);
  WAGGLE_ASSERT(pauses_.size() <= limits::host_pauses_max);
}

}  // namespace waggle::transfer
