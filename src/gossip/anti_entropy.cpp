// Comparing vectors, and the bookkeeping of set pulls.
#include "gossip/anti_entropy.hpp"

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/timer_table.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace waggle::gossip {

LogState to_wire(const OriginState& state, const NodeRef& origin) {
  const std::uint64_t depth = state.seq + 1 - state.log_first;
  return {origin, low_bits(state.incarnation), state.seq, short_hash(state.set_hash),
          static_cast<std::uint8_t>(std::min<std::uint64_t>(depth, limits::log_depth_told_max))};
}

std::uint64_t RootTable::hash_of(const IdKey& key, const OriginState& state) {
  std::array<std::byte, 40> message{};
  std::copy(state.origin.bytes.begin(), state.origin.bytes.end(), message.begin());
  const MutableByteView numbers = MutableByteView(message).subspan(16);
  store_le(numbers.first(8), state.incarnation);
  store_le(numbers.subspan(8, 8), state.seq);
  store_le(numbers.subspan(16, 8), state.set_hash);
  return siphash(key, message);
}

std::uint64_t RootTable::root() const {
  std::uint64_t root = 0;
  for (const std::uint64_t bucket : buckets_) root ^= bucket;
  return root;
}

std::size_t RootTable::bucket_of(const NodeId& origin) {
  return std::to_integer<std::size_t>(origin.bytes[0]) / (256 / index_buckets);
}

std::pair<std::uint32_t, std::uint32_t> RootTable::range_of(std::size_t first, std::size_t last) {
  constexpr std::uint64_t width = (std::uint64_t{1} << 32U) / index_buckets;
  return {static_cast<std::uint32_t>(first * width),
          static_cast<std::uint32_t>((last + 1) * width - 1)};
}

Repair compare(const OriginState& mine, const LogState& theirs, const NodeId& self,
               const NodeId& peer) {
  if (theirs.seq > 0 && theirs.incarnation != low_bits(mine.incarnation)) return Repair::none;
  if (theirs.seq < mine.seq) return Repair::peer_behind;
  const bool differs = theirs.seq == mine.seq && theirs.set_hash != short_hash(mine.set_hash);
  if (mine.origin == self) return differs ? Repair::peer_behind : Repair::none;
  if (theirs.seq > mine.seq) {
    const std::uint64_t log_first = theirs.seq + 1 - theirs.log_depth;
    return log_first <= mine.seq + 1 ? Repair::pull_records : Repair::pull_set;
  }
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
