// Comparing vectors, and the bookkeeping of set pulls.
#include "gossip/anti_entropy.hpp"

#include "base/bytes.hpp"
#include "base/keys.hpp"
#include "base/limits.hpp"
#include "base/timer_table.hpp"

#include <array>
#include <utility>

namespace waggle::gossip {

std::uint64_t index_root(std::span<const OriginVector> vectors) {
  Bytes message;
  message.reserve(vectors.size() * 40);
  for (const auto& vector : vectors) {
    append(message, vector.origin.bytes);
    append_le(message, vector.incarnation);
    append_le(message, vector.seq);
    append_le(message, vector.set_hash);
  }
  std::array<std::byte, 16> hash{};
  blake2b(hash, message);
  return load_le<std::uint64_t>(hash);
}

Repair compare(const OriginVector& mine, const OriginVector& theirs, const NodeId& self,
               const NodeId& peer) {
  if (theirs.incarnation > mine.incarnation) return Repair::none;  // membership has to say so first
  if (theirs.incarnation < mine.incarnation || theirs.seq < mine.seq) {
    return mine.seq > 0 ? Repair::peer_behind : Repair::none;
  }
  if (mine.origin == self) {
    const bool differs = theirs.seq == mine.seq && theirs.set_hash != mine.set_hash;
    return differs ? Repair::peer_behind : Repair::none;
  }
  if (theirs.seq > mine.seq) {
    return theirs.log_first <= mine.seq + 1 ? Repair::pull_records : Repair::pull_set;
  }
  const bool differs = theirs.set_hash != mine.set_hash;
  return differs && peer == mine.origin ? Repair::pull_set : Repair::none;
}

bool AntiEntropy::has_room() const { return pulls_.size() < limits::set_pulls_max; }

bool AntiEntropy::start_pull(TimePoint now, const NodeId& origin, const NodeId& peer) {
  if (!has_room() || pulls_.contains(origin)) return false;
  const auto blocked = blocked_.find(origin);
  if (blocked != blocked_.end() && now < blocked->second) return false;
  pulls_.emplace(origin, Pull{peer, now + pull_timeout, std::nullopt});
  return true;
}

std::optional<SetData> AntiEntropy::take_part(TimePoint now, const NodeId& peer, SetData part) {
  const auto found = pulls_.find(part.origin);
  if (found == pulls_.end() || found->second.peer != peer) return std::nullopt;
  Pull& pull = found->second;
  if (part.part == 0) {
    if (pull.parts_so_far) return std::nullopt;
    pull.parts_so_far = std::move(part);
  } else {
    auto& so_far = pull.parts_so_far;
    const bool follows = so_far && part.part == so_far->part + 1 && part.parts == so_far->parts &&
                         part.incarnation == so_far->incarnation && part.seq == so_far->seq &&
                         part.set_hash == so_far->set_hash;
    if (!follows) return std::nullopt;
    so_far->part = part.part;
    so_far->names.insert(so_far->names.end(), part.names.begin(), part.names.end());
  }
  pull.deadline = now + pull_timeout;
  if (pull.parts_so_far->part + 1 < pull.parts_so_far->parts) return std::nullopt;
  std::optional<SetData> whole = std::move(pull.parts_so_far);
  pulls_.erase(found);
  return whole;
}

void AntiEntropy::cancel(const NodeId& origin, const NodeId& peer) {
  const auto found = pulls_.find(origin);
  if (found != pulls_.end() && found->second.peer == peer) pulls_.erase(found);
}

void AntiEntropy::cancel_peer(const NodeId& peer) {
  std::erase_if(pulls_, [&](const auto& entry) { return entry.second.peer == peer; });
}

void AntiEntropy::block(TimePoint now, const NodeId& origin) {
  blocked_[origin] = now + bad_set_pause;
}

void AntiEntropy::expire(TimePoint now) {
  std::erase_if(pulls_, [&](const auto& entry) { return entry.second.deadline <= now; });
  std::erase_if(blocked_, [&](const auto& entry) { return entry.second <= now; });
}

std::optional<TimePoint> AntiEntropy::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& [origin, pull] : pulls_) next = earliest(next, pull.deadline);
  for (const auto& [origin, until] : blocked_) next = earliest(next, until);
  return next;
}

bool AntiEntropy::admit_own_serve(TimePoint now) {
  if (serves_ == 0 || now - serve_window_start_ >= own_serve_window) {
    serve_window_start_ = now;
    serves_ = 0;
  }
  if (serves_ == limits::own_set_serves_max) return false;
  ++serves_;
  return true;
}

}  // namespace waggle::gossip
