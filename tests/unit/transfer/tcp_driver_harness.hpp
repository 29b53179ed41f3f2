// What the driver tests share: a node that records everything, and a socket that is no driver.
// Waits are on conditions.
#pragma once

#include "transfer/tcp_driver.hpp"

#include "transfer/handshake.hpp"
#include "transfer/session_crypt.hpp"

#include <doctest/doctest.h>
#include <sodium.h>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <string>

namespace waggle::transfer::test {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

inline const bool sodium_ready = sodium_init() >= 0;

template <typename Condition>
bool run_until(asio::io_context& context, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    context.restart();
    context.run_one_for(20ms);
  }
  return true;
}

/// Runs for `duration` unless the condition holds before; true when it did.
template <typename Condition>
bool run_for(asio::io_context& context, std::chrono::steady_clock::duration duration,
             Condition condition) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (!condition() && std::chrono::steady_clock::now() < end) {
    context.restart();
    context.run_one_for(5ms);
  }
  return condition();
}

inline KeyRing shared_keys() {
  SeededRandomSource random(1);
  return {ClusterKey::generate(random)};
}

inline TcpConfig loopback_config() {
  TcpConfig config;
  config.bind = {Endpoint::v4(127, 0, 0, 1, 0)};
  return config;
}

struct Opened {
  SessionId id{};
  NodeId peer;
  bool outgoing = false;
};
struct Closed {
  SessionId id{};
  error_code reason;
};

/// A driver with everything that it reported.
struct Node {
  explicit Node(asio::io_context& context, TcpConfig config = loopback_config(),
                KeyRing keys = shared_keys())
      : driver(context.get_executor(), std::move(config), std::move(keys), identity, random,
               callbacks()) {
    REQUIRE(sodium_ready);
    REQUIRE(driver.start().has_value());
    endpoint = driver.local_endpoints().at(0);
  }

  TcpCallbacks callbacks() {
    TcpCallbacks out;
    out.on_session_open = [this](SessionId id, const NodeId& peer, bool outgoing,
                                 const Endpoint& remote) {
      opened.push_back({id, peer, outgoing});
      remotes.push_back(remote);
      live.insert(id);
    };
    out.on_session_closed = [this](SessionId id, const NodeId&, error_code reason) {
      CHECK(live.erase(id) == 1);
      closed.push_back({id, reason});
      if (on_closed) on_closed();
    };
    out.on_dial_failed = [this](const NodeId&, error_code reason) {
      dials_failed.push_back(reason);
    };
    out.on_handshake_failed = [this](error_code reason, bool) {
      handshakes_failed.push_back(reason);
    };
    out.on_control = [this](SessionId, Bytes message) { controls.push_back(std::move(message)); };
    out.on_payload = [this](SessionId, const PayloadHeader& header, ByteView data) {
      payload_bytes += data.size();
      payloads.push_back(header);
      if (!data.empty()) last_byte = data.back();
      if (on_received) on_received();
    };
    out.on_payload_sent = [this](SessionId, const PayloadHeader&) {
      ++payloads_sent;
      if (on_sent) on_sent();
    };
    out.on_payload_unavailable = [this](SessionId, const PayloadHeader&, error_code) {
      ++unavailable;
    };
    return out;
  }
  void dial(const Node& other) { driver.dial(other.identity.node_id(), {other.endpoint}); }

  SystemRandomSource random;
  Identity identity = Identity::generate(random);
  std::vector<Opened> opened;
  std::vector<Endpoint> remotes;
  std::vector<Closed> closed;
  std::set<SessionId> live;
  std::vector<error_code> dials_failed, handshakes_failed;
  std::vector<Bytes> controls;
  std::vector<PayloadHeader> payloads;
  std::size_t payload_bytes = 0, payloads_sent = 0, unavailable = 0;
  std::byte last_byte{};
  std::function<void()> on_sent, on_received, on_closed;
  Endpoint endpoint;
  TcpDriver driver;
};

inline void connect(asio::io_context& context, Node& from, Node& to) {
  from.dial(to);
  REQUIRE(run_until(context, [&] { return !from.live.empty() && !to.live.empty(); }));
}

inline PayloadHeader header_of(std::uint32_t chunk, std::uint32_t length) {
  PayloadHeader header;
  header.chunk = ChunkIndex{chunk};
  header.length = length;
  return header;
}

inline std::shared_ptr<const Bytes> block(std::size_t size) {
  return std::make_shared<const Bytes>(size, std::byte{0x5a});
}

/// A socket that is no driver: a stranger, or a peer whose misbehaviour the test writes by hand.
struct RawPeer {
  RawPeer(asio::io_context& shared, const Endpoint& to) : context(shared), socket(shared) {
    socket.connect({asio::ip::make_address_v4("127.0.0.1"), to.port});
    socket.non_blocking(true);
    socket.set_option(tcp::no_delay(true));
  }
  void send(ByteView bytes) {
    while (!bytes.empty()) {
      const std::size_t size = std::min(piece_bytes, bytes.size());
      error_code error;
      REQUIRE(socket.send(asio::buffer(bytes.data(), size), 0, error) == size);
      bytes = bytes.subspan(size);
      if (piece_bytes == 1) context.poll();  // so that the driver sees the pieces
    }
  }
  void poll() {
    std::array<std::byte, 4096> buffer{};
    error_code error;
    const std::size_t size = socket.receive(asio::buffer(buffer), 0, error);
    append(received, ByteView(buffer).first(size));
    if (error && error != asio::error::would_block) ended = true;
  }
  bool wait_end() {
    return run_until(context, [&] { return poll(), ended; });
  }
  /// The initiator's part of the handshake with a real key.
  SessionSecrets shake(const Identity& identity, RandomSource& random) {
    Handshake handshake =
        Handshake::initiator(HandshakeConfig::make("waggle", shared_keys(), identity, 0), random);
    send(handshake.start().value());
    while (handshake.wanted() > 0) {
      const std::size_t wanted = handshake.wanted();
      REQUIRE(run_until(context, [&] { return poll(), received.size() >= wanted; }));
      const auto reply = handshake.receive(ByteView(received).first(wanted));
      received.erase(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(wanted));
      if (!reply->empty()) send(*reply);
    }
    return handshake.finish();
  }

  asio::io_context& context;
  tcp::socket socket;
  Bytes received;
  std::size_t piece_bytes = SIZE_MAX;
  bool ended = false;
};

}  // namespace waggle::transfer::test
