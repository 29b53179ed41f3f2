// Turns of uplinks, room in downlinks.
#include "sim/swarm_links.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <utility>

namespace waggle::sim {

SwarmLinks::SwarmLinks(EventQueue& events, const SwarmLinkConfig& config,
                       std::vector<PortRates> ports)
    : events_(events), config_(config), ports_(ports.size()) {
  for (std::size_t i = 0; i < ports.size(); ++i) ports_[i].rates = ports[i];
}

PipeIndex SwarmLinks::open(Port from, Port to) {
  PipeIndex index = static_cast<PipeIndex>(pipes_.size());
  if (free_.empty()) {
    pipes_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Pipe& pipe = pipes_[index];
  const std::uint32_t life = pipe.life;
  pipe = Pipe{};
  pipe.life = life;
  pipe.from = from;
  pipe.to = to;
  pipe.open = true;
  return index;
}

void SwarmLinks::close(PipeIndex index) {
  Pipe& pipe = pipes_[index];
  WAGGLE_ASSERT(pipe.open);
  std::erase(ports_[pipe.from].ready, index);
  const std::uint32_t life = pipe.life + 1;
  pipe = Pipe{};
  pipe.life = life;
  free_.push_back(index);
}

void SwarmLinks::send(PipeIndex index, Message message) {
  Pipe& pipe = pipes_[index];
  WAGGLE_ASSERT(pipe.open);
  (message.is_control ? pipe.controls : pipe.payloads).push_back(std::move(message));
  fill_socket(pipe);
  make_ready(index);
}

void SwarmLinks::hold(PipeIndex index, bool held) {
  pipes_[index].held = held;
  make_ready(index);
}

std::uint64_t SwarmLinks::queued_bytes(PipeIndex index) const {
  const Pipe& pipe = pipes_[index];
  std::uint64_t bytes = pipe.socket_bytes;
  for (const Message& message : pipe.controls) bytes += message.bytes;
  for (const Message& message : pipe.payloads) bytes += message.bytes;
  return bytes;
}

// As the session's driver writes: all control messages, then a batch of payload.
void SwarmLinks::fill_socket(Pipe& pipe) {
  const auto take = [&](std::deque<Message>& queue) {
    Message message = std::move(queue.front());
    queue.pop_front();
    pipe.socket_bytes += message.bytes;
    // Told from the event loop: the sender is in the middle of something.
    if (message.taken) events_.after(Duration{0}, std::exchange(message.taken, nullptr));
    pipe.socket.push_back(std::move(message));
  };
  while (pipe.socket_bytes < config_.socket_bytes &&
         (!pipe.controls.empty() || !pipe.payloads.empty())) {
    while (!pipe.controls.empty()) take(pipe.controls);
    for (std::uint64_t bytes = 0; !pipe.payloads.empty(); take(pipe.payloads)) {
      bytes += pipe.payloads.front().bytes;
      if (bytes > config_.batch_bytes) break;
    }
  }
}

void SwarmLinks::make_ready(PipeIndex index) {
  Pipe& pipe = pipes_[index];
  if (pipe.ready || pipe.held || pipe.socket.empty()) return;
  pipe.ready = true;
  PortState& port = ports_[pipe.from];
  port.ready.push_back(index);
  if (!port.busy) serve(pipe.from);
}

// The next pipe in turn whose receiver has room; when none has, the first one that will have.
void SwarmLinks::serve(Port number) {
  PortState& port = ports_[number];
  TimePoint earliest = TimePoint::max();
  for (std::size_t looked = port.ready.size(); looked > 0; --looked) {
    const PipeIndex index = port.ready.front();
    port.ready.pop_front();
    Pipe& pipe = pipes_[index];
    if (pipe.held || pipe.socket.empty()) {
      pipe.ready = false;
      continue;
    }
    const TimePoint room_at = ports_[pipe.to].down_free - config_.queue;
    if (room_at <= events_.now()) return transmit(index);
    earliest = std::min(earliest, room_at);
    port.ready.push_back(index);
  }
  ++port.wake;
  if (earliest == TimePoint::max()) return;
  events_.at(earliest, [this, number, wake = port.wake] {
    if (ports_[number].wake == wake && !ports_[number].busy) serve(number);
  });
}

void SwarmLinks::transmit(PipeIndex index) {
  Pipe& pipe = pipes_[index];
  PortState& port = ports_[pipe.from];
  PortState& to = ports_[pipe.to];
  const auto took = [](std::uint64_t bytes, double rate) {
    return from_seconds(static_cast<double>(bytes) / rate);
  };
  // Small messages share a turn.
  std::uint64_t bytes = 0;
  std::vector<std::function<void()>> whole;
  while (!pipe.socket.empty() && bytes < config_.segment_bytes) {
    Message& front = pipe.socket.front();
    const std::uint64_t part =
        std::min<std::uint64_t>(front.bytes - pipe.front_sent, config_.segment_bytes - bytes);
    bytes += part;
    pipe.front_sent += static_cast<std::uint32_t>(part);
    if (pipe.front_sent < front.bytes) break;
    whole.push_back(std::move(front.arrived));
    pipe.socket.pop_front();
    pipe.front_sent = 0;
  }
  pipe.socket_bytes -= bytes;
  port.sent += bytes;
  to.received += bytes;
  port.busy = true;
  ++port.wake;
  port.up_free = events_.now() + took(bytes, port.rates.up);
  // Cut-through: the receiver's link works while the sender's does.
  const TimePoint begins = std::max(to.down_free, events_.now() + config_.delay);
  to.down_free = std::max(begins + took(bytes, to.rates.down), port.up_free + config_.delay);
  if (!whole.empty()) {
    events_.at(to.down_free, [this, index, life = pipe.life, whole = std::move(whole)] {
      for (const auto& arrived : whole) {
        if (pipes_[index].life == life && arrived) arrived();
      }
    });
  }
  fill_socket(pipe);
  pipe.ready = false;
  if (!pipe.held && !pipe.socket.empty()) {
    pipe.ready = true;
    port.ready.push_back(index);
  }
  events_.at(port.up_free, [this, number = pipe.from] {
    ports_[number].busy = false;
    serve(number);
  });
}

}  // namespace waggle::sim
