// Boots, cookies and awaited PINGs.
#include "gossip/sessions.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

namespace waggle::gossip {
namespace {

using namespace std::chrono_literals;

constexpr Duration cookie_slot = 10s;
constexpr Duration await_for = 5s;

std::uint64_t slot_of(TimePoint now) {
  return static_cast<std::uint64_t>(now.time_since_epoch() / cookie_slot) + 1;
}

}  // namespace

Sessions::Sessions(RandomSource& random) { random.fill(secret_.bytes); }

Sessions::Standing Sessions::standing(const PacketHeader& header) const {
  const auto it = sessions_.find(header.sender);
  if (it == sessions_.end()) return Standing::unknown;
  if (it->second.boot == header.boot) return Standing::current;
  return it->second.replaced == header.boot ? Standing::replaced : Standing::unknown;
}

const NodeId& Sessions::node(const PacketHeader& header) const {
  WAGGLE_ASSERT(standing(header) != Standing::unknown);
  return sessions_.at(header.sender).id;
}

bool Sessions::accept_counter(TimePoint now, const PacketHeader& header) {
  WAGGLE_ASSERT(standing(header) == Standing::current);
  Session& session = sessions_.at(header.sender);
  if (!session.window.accept(header.counter)) return false;
  session.heard = now;
  return true;
}

std::uint64_t Sessions::cookie_at(std::uint64_t slot, const PacketHeader& header) const {
  const auto it = sessions_.find(header.sender);
  Bytes message;
  append_le(message, header.sender);
  append_le(message, header.boot);
  append_le(message, it == sessions_.end() ? Boot{0} : it->second.boot);
  append_le(message, slot);
  const std::uint64_t value = siphash(secret_, message);
  return value == 0 ? 1 : value;
}

std::uint64_t Sessions::cookie(TimePoint now, const PacketHeader& header) const {
  return cookie_at(slot_of(now), header);
}

bool Sessions::proves(TimePoint now, const PacketHeader& header, std::uint64_t echo) const {
  const std::uint64_t slot = slot_of(now);
  return echo != 0 && (echo == cookie_at(slot, header) || echo == cookie_at(slot - 1, header));
}

bool Sessions::install(TimePoint now, const NodeId& id, const PacketHeader& header,
                       const Endpoint& path) {
  WAGGLE_ASSERT(id.prefix() == header.sender);
  auto it = sessions_.find(header.sender);
  if (it == sessions_.end()) {
    if (sessions_.size() >= limits::members_max) return false;
    it = sessions_.emplace(header.sender, Session{}).first;
  } else {
    if (it->second.id != id) return false;
    it->second.replaced = it->second.boot;
  }
  Session& session = it->second;
  session.id = id;
  session.boot = header.boot;
  session.window = ReplayWindow{};
  session.path = path;
  session.installed = session.heard = now;
  session.revived = false;
  session.mutual = false;
  return session.window.accept(header.counter);
}

bool Sessions::revive(TimePoint now, const PacketHeader& header, const Endpoint& path) {
  WAGGLE_ASSERT(standing(header) == Standing::replaced);
  Session& session = sessions_.at(header.sender);
  const bool in_turns = session.revived && session.installed + limits::clone_remembered > now;
  if (in_turns || session.heard + limits::double_silence > now) return false;
  session.replaced = session.boot;
  session.boot = header.boot;
  session.window.begin_after(header.counter);
  session.path = path;
  session.installed = session.heard = now;
  session.revived = true;
  session.mutual = false;
  return true;
}

void Sessions::erase(const NodeId& id) {
  if (find(id) != nullptr) sessions_.erase(id.prefix());
}

void Sessions::await(TimePoint now, std::uint64_t seq, const std::optional<NodeId>& target,
                     bool confirm, std::size_t answers) {
  while (!awaited_.empty() && (awaited_.begin()->second.sent + await_for < now ||
                               awaited_.size() >= limits::awaited_pings_max)) {
    awaited_.erase(awaited_.begin());
  }
  awaited_[seq] = {target, confirm, now, answers};
}

std::optional<Sessions::Awaited> Sessions::take_awaited(TimePoint now, std::uint64_t seq) {
  const auto it = awaited_.find(seq);
  if (it == awaited_.end()) return std::nullopt;
  const Awaited awaited = it->second;
  if (--it->second.answers_left == 0) awaited_.erase(it);
  if (awaited.sent + await_for < now) return std::nullopt;
  return awaited;
}

const Sessions::Session* Sessions::find(const NodeId& id) const {
  const auto it = sessions_.find(id.prefix());
  return it == sessions_.end() || it->second.id != id ? nullptr : &it->second;
}

std::optional<Destination> Sessions::destination(const NodeId& id) const {
  const Session* session = find(id);
  if (session == nullptr) return std::nullopt;
  return Destination{id, session->boot};
}

std::optional<TimePoint> Sessions::installed(const NodeId& id) const {
  const Session* session = find(id);
  if (session == nullptr) return std::nullopt;
  return session->installed;
}

const Endpoint& Sessions::path(const NodeId& id) const {
  const Session* session = find(id);
  WAGGLE_ASSERT(session != nullptr);
  return session->path;
}

void Sessions::set_path(const NodeId& id, const Endpoint& path) {
  if (find(id) != nullptr) sessions_.at(id.prefix()).path = path;
}

bool Sessions::is_mutual(const NodeId& id) const {
  const Session* session = find(id);
  return session != nullptr && session->mutual;
}

void Sessions::set_mutual(const NodeId& id, bool mutual) {
  if (find(id) != nullptr) sessions_.at(id.prefix()).mutual = mutual;
}

void Sessions::check_invariants() const {
  WAGGLE_ASSERT(sessions_.size() <= limits::members_max);
  WAGGLE_ASSERT(awaited_.size() <= limits::awaited_pings_max);
  for (const auto& [prefix, session] : sessions_) {
    WAGGLE_ASSERT(prefix == session.id.prefix());
    WAGGLE_ASSERT(session.replaced != session.boot);
  }
}

}  // namespace waggle::gossip
