// Loss, delay and bandwidth, all from one seeded generator.
#include "sim/network.hpp"

#include <algorithm>
#include <utility>

namespace waggle::sim {

Network::Network(EventQueue& events, const LinkConfig& link, std::size_t node_count,
                 std::uint64_t seed)
    : events_(events),
      link_(link),
      prng_(mix_seed(seed ^ 0x6e6574U)),
      uplink_free_(node_count),
      downlink_free_(node_count) {}

Duration Network::delay() {
  const Duration longest = link_.delay_max + extra_delay_;
  const auto spread = static_cast<std::uint64_t>((longest - link_.delay_min).count());
  return link_.delay_min + Duration(static_cast<Duration::rep>(prng_.below(spread + 1)));
}

bool Network::reaches(NodeIndex from, NodeIndex to) const {
  if (side_.contains(from) == side_.contains(to)) return true;
  return one_way_ && side_.contains(to);
}

TimePoint Network::control_arrival(NodeIndex from, NodeIndex to) {
  TimePoint& last = pipe_last_[(std::uint64_t{from} << 32U) | to];
  last = std::max(last, events_.now() + link_.delay_max + extra_delay_ / 2);
  return last;
}

void Network::send_datagram(NodeIndex from, NodeIndex to, std::function<void()> deliver) {
  const Duration first = delay();
  const bool lost = prng_.chance(link_.loss);
  const bool twice = prng_.chance(link_.duplicate);
  const Duration second = delay();
  if (lost || !reaches(from, to)) return;
  if (twice) events_.after(second, deliver);
  events_.after(first, std::move(deliver));
}

void Network::send_control(NodeIndex from, NodeIndex to, std::function<void()> deliver) {
  if (connected(from, to)) return deliver();
  held_.push_back(std::move(deliver));
}

void Network::heal() {
  side_.clear();
  for (const auto& deliver : std::exchange(held_, {})) deliver();
}

TimePoint Network::transfer_end(NodeIndex from, NodeIndex to, std::uint64_t bytes) {
  const auto share = uplink_share_.find(from);
  const double up_rate =
      link_.node_bytes_per_second * (share == uplink_share_.end() ? 1.0 : share->second);
  const auto took = [bytes](double rate) {
    return from_seconds(static_cast<double>(bytes) / rate);
  };
  TimePoint& up = uplink_free_[from];
  up = std::max(up, events_.now()) + took(up_rate);
  // Cut-through: the receiver's link works while the sender's does.
  TimePoint& down = downlink_free_[to];
  down = std::max(down + took(link_.node_bytes_per_second), up + delay());
  return down;
}

}  // namespace waggle::sim
