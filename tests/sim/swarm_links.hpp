// Links of a large virtual swarm: each node has an uplink and a downlink, sessions are ordered
// pipes through both. What a pipe may have in the receiver's port is bounded, as a switch's queue
// and TCP's window bound it: a full port makes senders wait, it loses nothing. For swarm_world.hpp.
#pragma once

#include "base/limits.hpp"
#include "base/time.hpp"
#include "sim/event_queue.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace waggle::sim {

using Port = std::uint32_t;
using PipeIndex = std::uint32_t;

struct PortRates {
  double up = 125e6;    ///< bytes per second
  double down = 125e6;  ///< likewise
};

struct SwarmLinkConfig {
  Duration delay = std::chrono::microseconds(200);  ///< one way
  Duration queue = std::chrono::milliseconds(25);   ///< of each downlink
  std::uint64_t socket_bytes = 128 * limits::KiB;   ///< unsent in a socket (TCP_NOTSENT_LOWAT)
  std::uint64_t batch_bytes = limits::session_write_batch_bytes;  ///< written at once
  std::uint64_t segment_bytes =
      limits::relay_frame_bytes + 256;  ///< a link's turn for one pipe: a sealed relay frame
};

/// Ideal in what it leaves out: no slow start, no loss, no headers; senders to one port share it
/// evenly at once. So its times are what the protocol alone allows, not what TCP makes of it.
class SwarmLinks {
 public:
  struct Message {
    std::uint32_t bytes = 0;
    bool is_control = false;  ///< goes before payload that no socket has taken yet
    std::function<void()> arrived;
    std::function<void()> taken;  ///< by the socket, which frees the sender's queue; optional
  };

  SwarmLinks(EventQueue& events, const SwarmLinkConfig& config, std::vector<PortRates> ports);

  /// One direction of a connection.
  [[nodiscard]] PipeIndex open(Port from, Port to);
  /// What it carries is lost; its index is used again once nothing refers to it.
  void close(PipeIndex pipe);
  void send(PipeIndex pipe, Message message);
  /// A held pipe takes no turn: its receiver does not read.
  void hold(PipeIndex pipe, bool held);

  void set_rates(Port port, const PortRates& rates) { ports_[port].rates = rates; }
  [[nodiscard]] std::uint64_t sent_bytes(Port port) const { return ports_[port].sent; }
  [[nodiscard]] std::uint64_t received_bytes(Port port) const { return ports_[port].received; }
  /// When the last byte so far left.
  [[nodiscard]] TimePoint last_sent(Port port) const { return ports_[port].up_free; }
  /// Waiting in sockets and before them.
  [[nodiscard]] std::uint64_t queued_bytes(PipeIndex pipe) const;

 private:
  struct Pipe {
    Port from = 0, to = 0;
    bool open = false, held = false, ready = false;
    std::uint32_t life = 0;
    std::deque<Message> controls, payloads;
    std::deque<Message> socket;
    std::uint32_t front_sent = 0;  ///< bytes of socket.front()
    std::uint64_t socket_bytes = 0;
  };
  struct PortState {
    PortRates rates;
    TimePoint up_free{}, down_free{};
    bool busy = false;
    std::uint64_t wake = 0;  ///< number of the wake-up that counts
    std::deque<PipeIndex> ready;
    std::uint64_t sent = 0, received = 0;
  };

  void fill_socket(Pipe& pipe);
  void make_ready(PipeIndex index);
  void serve(Port port);
  void transmit(PipeIndex index);

  EventQueue& events_;
  SwarmLinkConfig config_;
  std::vector<PortState> ports_;
  std::vector<Pipe> pipes_;
  std::vector<PipeIndex> free_;
};

}  // namespace waggle::sim
