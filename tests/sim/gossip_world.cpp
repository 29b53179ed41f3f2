// Lives of nodes, the wire between them, and the loop.
#include "sim/gossip_world.hpp"

#include "base/assert.hpp"
#include "sim/addresses.hpp"

#include <algorithm>
#include <utility>

namespace waggle::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t udp_header_bytes = 28;  ///< IPv4 and UDP
constexpr std::size_t tcp_header_bytes = 52;  ///< IPv4, TCP and its timestamps, per segment
constexpr std::size_t tcp_segment_bytes = 1448;
constexpr std::size_t receive_buffer_bytes = 4 << 20;
/// Connecting and the handshake before a bulk frame, in one-way delays.
constexpr int session_delays = 6;
constexpr std::uint64_t first_incarnation = 1'000'000;
/// Longer than any pause that the cores make between two repairs.
constexpr Duration warm_round = 6s;
constexpr std::size_t warm_rounds_max = 64;

SecretKey cluster_key() {
  SecretKey key;
  store_le(key.mutable_view(), std::uint32_t{1});
  return key;
}

}  // namespace

GossipWorld::GossipWorld(const WorldConfig& config)
    : config_(config),
      keys_{ClusterKey(cluster_key())},
      links_(mix_seed(config.seed ^ 0x6c696e6bU)),
      choices_(mix_seed(config.seed ^ 0x63686f69U)),
      second_end_(TimePoint{} + 1s) {
  SeededRandomSource random(mix_seed(config.seed ^ 0x6964U));
  nodes_.reserve(config.node_count);
  indexes_.reserve(config.node_count);
  for (NodeIndex i = 0; i < config.node_count; ++i) {
    nodes_.push_back(WorldNode{Identity::generate(random),
                               SeededRandomSource(mix_seed(config.seed + 1) + i), nullptr});
    indexes_.emplace(nodes_.back().identity.node_id(), i);
  }
}

// ---- lives ----

void GossipWorld::create(NodeIndex index) {
  WorldNode& node = nodes_[index];
  WAGGLE_ASSERT(node.gossip == nullptr);
  ++node.life;
  node.incarnation = std::max(node.incarnation + 1, first_incarnation);
  node.armed.reset();
  node.paused_until = {};
  gossip::GossipConfig config;
  config.keys = keys_;
  config.advertise = {address_of(index)};
  config.name = "node-" + std::to_string(index);
  config.zone = "zone-" + std::to_string(index % 3);
  config.incarnation = node.incarnation;
  config.seed = mix_seed(config_.seed ^ (std::uint64_t{index} << 20U) ^ node.life);
  node.gossip =
      std::make_unique<gossip::Gossip>(config, node.identity, node.random, local_now(node));
  ++up_count_;
  for (WorldListener* listener : listeners_) listener->started(index);
}

void GossipWorld::start(NodeIndex index) {
  create(index);
  at(index).set_hints(local_now(nodes_[index]), bootstrap_list(nodes_.size()));
  pump(index);
}

void GossipWorld::crash(NodeIndex index) {
  WorldNode& node = nodes_[index];
  if (node.gossip == nullptr) return;
  node.gossip.reset();
  ++node.life;
  node.armed.reset();
  node.paused_until = {};
  --up_count_;
  for (WorldListener* listener : listeners_) listener->stopped(index);
}

void GossipWorld::leave(NodeIndex index) {
  at(index).leave(local_now(nodes_[index]));
  pump(index);
}

void GossipWorld::pause(NodeIndex index, Duration duration) {
  nodes_[index].paused_until = std::max(nodes_[index].paused_until, now_ + duration);
}

void GossipWorld::clock_jump(NodeIndex index, Duration ahead) {
  nodes_[index].clock_offset += ahead;
  nodes_[index].armed.reset();
  if (is_up(index)) arm(index);
}

void GossipWorld::partition(std::vector<bool> side) {
  WAGGLE_ASSERT(side.size() == nodes_.size());
  side_ = std::move(side);
}

void GossipWorld::heal() { side_.clear(); }

bool GossipWorld::connected(NodeIndex a, NodeIndex b) const {
  return side_.empty() || side_[a] == side_[b];
}

// ---- the warm start ----

void GossipWorld::warm_start() {
  WAGGLE_ASSERT(up_count_ == 0);
  is_instant_ = true;
  const auto count = static_cast<NodeIndex>(nodes_.size());
  for (NodeIndex i = 0; i < count; ++i) create(i);
  NodeIndex distance = 1;
  for (std::size_t round = 0; !all_know_all(); ++round) {
    WAGGLE_ASSERT(round < warm_rounds_max);
    for (NodeIndex i = 0; i < count; ++i) meet(i, (i + distance) % count);
    distance = distance * 2 < count ? distance * 2 : 1;
    now_ += warm_round;
  }
  for (NodeIndex i = 0; i < count; ++i) {
    at(i).set_hints(local_now(nodes_[i]), bootstrap_list(nodes_.size()));
    pump(i);
    deliver_instants();
  }
  is_instant_ = false;
  second_end_ = now_ + 1s;
  for (NodeIndex i = 0; i < count; ++i) {
    const auto within = static_cast<std::uint64_t>(Duration(1s).count());
    const TimePoint first = now_ + Duration(static_cast<Duration::rep>(choices_.below(within)));
    nodes_[i].armed = first;
    events_.add(first, WorldEventKind::timer, i, nodes_[i].life);
  }
  reset_traffic();
}

void GossipWorld::meet(NodeIndex a, NodeIndex b) {
  at(a).set_hints(local_now(nodes_[a]), {address_of(b)});
  pump(a);
  deliver_instants();
}

void GossipWorld::deliver_instants() {
  while (!instants_.empty()) {
    const Instant next = std::move(instants_.front());
    instants_.pop_front();
    deliver(next.from, next.to, next.bytes, next.is_bulk);
  }
}

bool GossipWorld::all_know_all() const {
  return std::all_of(nodes_.begin(), nodes_.end(), [&](const WorldNode& node) {
    return node.gossip->live().size() == nodes_.size();
  });
}

// ---- content ----

void GossipWorld::announce(NodeIndex index, const gossip::Content& content) {
  for (WorldListener* listener : listeners_) listener->announced(index, content);
  at(index).announce(local_now(nodes_[index]), content);
  pump(index);
}

void GossipWorld::withdraw(NodeIndex index, const Digest& digest) {
  for (WorldListener* listener : listeners_) listener->withdrawn(index, digest);
  at(index).withdraw(local_now(nodes_[index]), digest);
  pump(index);
}

// ---- the wire ----

Duration GossipWorld::delay() {
  const auto spread =
      static_cast<std::uint64_t>((config_.link.delay_max - config_.link.delay_min).count());
  return config_.link.delay_min + Duration(static_cast<Duration::rep>(links_.below(spread + 1)));
}

void GossipWorld::send(NodeIndex from, gossip::Transmit&& transmit) {
  WorldNode& sender = nodes_[from];
  const std::size_t bytes = transmit.datagram.size() + udp_header_bytes;
  ++sender.traffic.packets;
  sender.traffic.bytes += bytes;
  ++sender.second_packets;
  sender.second_bytes += bytes;
  const auto to = node_at(transmit.to, nodes_.size());
  if (is_instant_) {
    if (to) instants_.push_back({from, *to, std::move(transmit.datagram), false});
    return;
  }
  const Duration first = delay();
  const bool lost = config_.link.loss > 0 && links_.chance(config_.link.loss);
  const bool twice = config_.link.duplicate > 0 && links_.chance(config_.link.duplicate);
  if (!to || lost || !connected(from, *to)) return;
  if (twice) {
    const std::uint32_t copy = events_.keep(from, transmit.datagram);
    events_.add(now_ + delay(), WorldEventKind::datagram, *to, 0, copy);
  }
  const std::uint32_t slot = events_.keep(from, std::move(transmit.datagram));
  events_.add(now_ + first, WorldEventKind::datagram, *to, 0, slot);
}

void GossipWorld::send_bulk(NodeIndex from, gossip::BulkSend&& bulk) {
  WorldNode& sender = nodes_[from];
  const std::size_t segments = bulk.frame.size() / tcp_segment_bytes + 1;
  const std::size_t bytes = bulk.frame.size() + segments * tcp_header_bytes;
  const auto to = index_of(bulk.to);
  // Without a session the driver drops it within 3 s.
  if (!to || !is_up(*to) || !connected(from, *to)) return;
  ++sender.traffic.bulk_frames;
  sender.traffic.bulk_bytes += bytes;
  sender.second_bytes += bytes;
  if (is_instant_) {
    instants_.push_back({from, *to, std::move(bulk.frame), true});
    return;
  }
  const double rate = config_.link.node_bytes_per_second;
  sender.uplink_free =
      std::max(sender.uplink_free, now_) + from_seconds(static_cast<double>(bytes) / rate);
  // The longest delay each: frames of one session keep their order.
  const TimePoint arrival = sender.uplink_free + session_delays * config_.link.delay_max;
  const std::uint32_t slot = events_.keep(from, std::move(bulk.frame));
  events_.add(arrival, WorldEventKind::bulk, *to, nodes_[*to].life, slot);
}

void GossipWorld::deliver(NodeIndex from, NodeIndex to, ByteView bytes, bool is_bulk) {
  WorldNode& node = nodes_[to];
  if (node.gossip == nullptr) return;
  if (is_bulk) {
    node.gossip->handle_bulk(local_now(node), id_of(from), bytes);
  } else {
    ++node.traffic.packets_received;
    node.gossip->handle_datagram(local_now(node), address_of(from), bytes);
  }
  for (WorldListener* listener : listeners_) listener->input_handled(to);
  pump(to);
}

void GossipWorld::pump(NodeIndex index) {
  WorldNode& node = nodes_[index];
  while (auto transmit = node.gossip->poll_transmit()) send(index, std::move(*transmit));
  while (auto event = node.gossip->poll_event()) {
    if (auto* bulk = std::get_if<gossip::BulkSend>(&*event)) {
      send_bulk(index, std::move(*bulk));
    } else if (const auto* raised = std::get_if<gossip::IncarnationRaised>(&*event)) {
      node.incarnation = raised->incarnation;
    } else if (const auto* changed = std::get_if<gossip::MemberChanged>(&*event)) {
      const auto subject = listeners_.empty() ? std::nullopt : index_of(changed->id);
      const gossip::Member* record = subject ? node.gossip->find(changed->id) : nullptr;
      if (record == nullptr) continue;
      for (WorldListener* listener : listeners_) listener->member_changed(index, *subject, *record);
    }
  }
  if (!is_instant_) arm(index);
}

void GossipWorld::arm(NodeIndex index) {
  WorldNode& node = nodes_[index];
  const auto next = node.gossip->poll_timeout();
  if (!next) return;
  const TimePoint at = std::max(now_, *next - node.clock_offset);
  // A later deadline is looked at when the earlier event comes.
  if (node.armed && *node.armed <= at) return;
  node.armed = at;
  events_.add(at, WorldEventKind::timer, index, node.life);
}

// ---- the loop ----

void GossipWorld::handle(const WorldEvents::Event& event) {
  WorldNode& node = nodes_[event.node];
  if (node.gossip != nullptr && node.paused_until > now_) return defer(event);
  if (event.kind != WorldEventKind::timer) {
    const WorldPayload payload = events_.take(event.payload);
    if (payload.waited) node.waiting_bytes -= payload.bytes.size();
    mix(payload.bytes.size());
    const bool is_bulk = event.kind == WorldEventKind::bulk;
    if (is_bulk && event.life != node.life) return;
    deliver(payload.from, event.node, payload.bytes, is_bulk);
    return;
  }
  if (event.life != node.life || node.gossip == nullptr || node.armed != event.at) return;
  node.armed.reset();
  const auto due = node.gossip->poll_timeout();
  if (due && *due <= local_now(node)) node.gossip->handle_timeout(local_now(node));
  pump(event.node);
}

void GossipWorld::defer(const WorldEvents::Event& event) {
  WorldNode& node = nodes_[event.node];
  if (event.kind == WorldEventKind::timer) {
    if (event.life != node.life || node.armed != event.at) return;
    node.armed = node.paused_until;
  } else if (WorldPayload& payload = events_.payload(event.payload); !payload.waited) {
    const bool is_full = node.waiting_bytes + payload.bytes.size() > receive_buffer_bytes;
    if (is_full && event.kind == WorldEventKind::datagram) {
      static_cast<void>(events_.take(event.payload));
      return;
    }
    payload.waited = true;
    node.waiting_bytes += payload.bytes.size();
  }
  events_.add(node.paused_until, event.kind, event.node, event.life, event.payload);
}

void GossipWorld::step() {
  const WorldEvents::Event event = events_.pop();
  now_ = event.at;
  ++event_count_;
  mix(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  mix((std::uint64_t{event.node} << 8U) | static_cast<std::uint64_t>(event.kind));
  handle(event);
}

void GossipWorld::end_second() {
  for (WorldNode& node : nodes_) {
    Traffic& traffic = node.traffic;
    traffic.packets_in_worst_second =
        std::max(traffic.packets_in_worst_second, std::exchange(node.second_packets, 0));
    traffic.bytes_in_worst_second =
        std::max(traffic.bytes_in_worst_second, std::exchange(node.second_bytes, 0));
  }
  now_ = second_end_;
  second_end_ += 1s;
  for (WorldListener* listener : listeners_) listener->second_over();
}

void GossipWorld::run_for(Duration duration) {
  const TimePoint end = now_ + duration;
  for (;;) {
    const bool has_event = !events_.empty() && events_.next_time() <= end;
    if (second_end_ <= end && (!has_event || second_end_ <= events_.next_time())) {
      end_second();
    } else if (has_event) {
      step();
    } else {
      break;
    }
  }
  now_ = end;
}

bool GossipWorld::run_until(const std::function<bool(GossipWorld&)>& condition, Duration budget,
                            Duration look_every) {
  const TimePoint end = now_ + budget;
  while (!condition(*this)) {
    if (now_ >= end) return false;
    run_for(std::min(look_every, end - now_));
  }
  return true;
}

void GossipWorld::reset_traffic() {
  for (WorldNode& node : nodes_) {
    node.traffic = {};
    node.second_packets = 0;
    node.second_bytes = 0;
  }
}

// ---- ids ----

std::optional<NodeIndex> GossipWorld::index_of(const NodeId& id) const {
  const auto found = indexes_.find(id);
  if (found == indexes_.end()) return std::nullopt;
  return found->second;
}

// ---- conditions ----

bool agree_on_members(GossipWorld& world) {
  std::vector<NodeId> up;
  for (NodeIndex i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    // Cheap and usually enough to say no.
    if (world.at(i).live().size() != world.up_count()) return false;
    up.push_back(world.id_of(i));
  }
  std::sort(up.begin(), up.end());
  for (NodeIndex i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    const auto seen = world.at(i).live();
    if (!std::equal(seen.begin(), seen.end(), up.begin(), up.end())) return false;
  }
  return true;
}

bool agree(GossipWorld& world) {
  if (!agree_on_members(world)) return false;
  std::optional<std::uint64_t> root;
  for (NodeIndex i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    const std::uint64_t own = world.at(i).index_root();
    if (root && *root != own) return false;
    root = own;
  }
  return true;
}

std::string disagreement(GossipWorld& world) {
  std::optional<NodeIndex> first;
  for (NodeIndex i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    const auto seen = world.at(i).live();
    for (NodeIndex other = 0; other < world.size(); ++other) {
      if (std::binary_search(seen.begin(), seen.end(), world.id_of(other)) == world.is_up(other))
        continue;
      return std::to_string(i) + (world.is_up(other) ? " misses " : " believes in ") +
             std::to_string(other);
    }
    if (!first) first = i;
    if (world.at(i).index_root() != world.at(*first).index_root())
      return std::to_string(i) + " has another root than " + std::to_string(*first);
  }
  return {};
}

}  // namespace waggle::sim
