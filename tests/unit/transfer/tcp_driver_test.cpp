// Drivers against each other, and against strangers, on loopback. Waits are on conditions.
#include "transfer/tcp_driver.hpp"

#include "transfer/handshake.hpp"
#include "transfer/session_crypt.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <doctest/doctest.h>
#include <sodium.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <string>

using namespace waggle;
using namespace waggle::transfer;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

const bool sodium_ready = sodium_init() >= 0;

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

KeyRing shared_keys() {
  SeededRandomSource random(1);
  return {ClusterKey::generate(random)};
}

TcpConfig loopback_config() {
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
      : driver(context.get_executor(), std::move(config), std::move(keys), identity, random, callbacks()) {
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
    out.on_dial_failed = [this](const NodeId&, error_code reason) { dials_failed.push_back(reason); };
    out.on_handshake_failed = [this](error_code reason, bool) { handshakes_failed.push_back(reason); };
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
    out.on_payload_unavailable = [this](SessionId, const PayloadHeader&, error_code) { ++unavailable; };
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

void connect(asio::io_context& context, Node& from, Node& to) {
  from.dial(to);
  REQUIRE(run_until(context, [&] { return !from.live.empty() && !to.live.empty(); }));
}

PayloadHeader header_of(std::uint32_t chunk, std::uint32_t length) {
  PayloadHeader header;
  header.chunk = ChunkIndex{chunk};
  header.length = length;
  return header;
}

std::shared_ptr<const Bytes> block(std::size_t size) {
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

}  // namespace

TEST_SUITE("transfer/tcp_driver") {
  TEST_CASE("control and payload cross in both directions") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    CHECK(a.opened.at(0).peer == b.identity.node_id());
    CHECK(a.opened.at(0).outgoing);
    CHECK(b.opened.at(0).peer == a.identity.node_id());
    CHECK_FALSE(b.opened.at(0).outgoing);
    a.driver.send_control(a.opened[0].id, to_bytes(as_bytes("ping")));
    a.driver.send_control(a.opened[0].id, Bytes(300'000, std::byte{1}));
    b.driver.send_control(b.opened[0].id, {});
    b.driver.send_payload(b.opened[0].id, header_of(4, 65'536), payload_of(block(70'000), 4464));
    b.driver.send_payload(b.opened[0].id, header_of(5, 0), payload_of(block(1)));
    REQUIRE(run_until(context, [&] { return b.controls.size() == 2 && a.payloads.size() == 2; }));
    CHECK(as_text(b.controls[0]) == "ping");
    CHECK(b.controls[1] == Bytes(300'000, std::byte{1}));
    CHECK(a.controls == std::vector<Bytes>{Bytes{}});
    CHECK(a.payloads == std::vector{header_of(4, 65'536), header_of(5, 0)});
    CHECK(a.last_byte == std::byte{0x5a});
    CHECK(b.driver.queued_bytes(b.opened[0].id) == 0);
    CHECK(a.driver.received_bytes() > 65'536);
  }

  TEST_CASE("a socket bound to [::] takes IPv4 callers and knows them as such") {
    asio::io_context context;
    TcpConfig config;
    config.bind = {Endpoint::parse("[::]:0").value()};
    Node everywhere(context, config);
    Node a(context);
    a.driver.dial(everywhere.identity.node_id(),
                  {Endpoint::v4(127, 0, 0, 1, everywhere.endpoint.port)});
    REQUIRE(run_until(context, [&] { return everywhere.live.size() == 1; }));
    CHECK(everywhere.remotes.at(0).is_v4());
    CHECK(everywhere.remotes[0].is_loopback());
  }

  TEST_CASE("a handshake and records that arrive byte by byte") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    RawPeer peer(context, node.endpoint);
    peer.piece_bytes = 1;
    SessionSealer sealer(peer.shake(identity, random));
    Bytes stream;
    sealer.seal_control(to_bytes(as_bytes("slow")), stream);
    Bytes record(payload_record_bytes(100));
    sealer.seal_payload(header_of(1, 100), record);
    append(stream, record);
    peer.send(stream);
    REQUIRE(run_until(context, [&] { return node.payloads.size() == 1; }));
    CHECK(as_text(node.controls.at(0)) == "slow");
  }

  TEST_CASE("a dial while a session is open or under way does nothing") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    a.dial(b);
    a.dial(b);
    REQUIRE(run_until(context, [&] { return !b.live.empty(); }));
    a.dial(b);
    b.dial(a);
    a.driver.dial(NodeId{}, {b.endpoint});  // whoever answers turns out to be known
    REQUIRE(run_until(context, [&] { return !a.handshakes_failed.empty(); }));
    CHECK(a.handshakes_failed[0] == TransferError::duplicate_session);
    CHECK(a.opened.size() == 1);
    CHECK(b.opened.size() == 1);
    CHECK(a.dials_failed.empty());
  }

  TEST_CASE("of two simultaneous dials one session survives, the same on both sides") {
    for (int round = 0; round < 20; ++round) {
      asio::io_context context;
      Node a(context);
      Node b(context);
      a.dial(b);
      b.dial(a);
      const auto settled = [&] {
        if (a.live.size() != 1 || b.live.size() != 1) return false;
        if (a.driver.half_open_count() + b.driver.half_open_count() > 0) return false;
        // The same connection: one side dialled it, the other did not.
        const auto dialled = [](const Node& node) {
          return std::ranges::find(node.opened, *node.live.begin(), &Opened::id)->outgoing;
        };
        return dialled(a) != dialled(b);
      };
      REQUIRE(run_until(context, settled));
      a.driver.send_control(*a.live.begin(), to_bytes(as_bytes("a")));
      b.driver.send_control(*b.live.begin(), to_bytes(as_bytes("b")));
      CHECK(run_until(context, [&] { return !a.controls.empty() && !b.controls.empty(); }));
      CHECK(a.dials_failed.empty());
      CHECK(b.dials_failed.empty());
    }
  }

  TEST_CASE("dials that fail say why, and a later endpoint is tried") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    Node c(context);
    SUBCASE("another node answers") {
      a.driver.dial(b.identity.node_id(), {c.endpoint});
      REQUIRE(run_until(context, [&] { return !a.dials_failed.empty(); }));
      CHECK(a.dials_failed[0] == TransferError::wrong_peer);
      CHECK(c.opened.empty());
    }
    SUBCASE("nobody listens at the first, the peer at the second") {
      Endpoint closed = Endpoint::v4(127, 0, 0, 1, 1);
      a.driver.dial(b.identity.node_id(), {closed, b.endpoint});
      REQUIRE(run_until(context, [&] { return !b.live.empty(); }));
      CHECK(a.dials_failed.empty());
    }
    SUBCASE("no endpoint at all") {
      a.driver.dial(b.identity.node_id(), {});
      CHECK(a.dials_failed.empty());  // never from inside a call
      REQUIRE(run_until(context, [&] { return !a.dials_failed.empty(); }));
      CHECK(a.dials_failed[0] == TransferError::unreachable);
    }
    SUBCASE("ourselves") {
      a.driver.dial(NodeId{}, {a.endpoint});
      REQUIRE(run_until(context, [&] { return !a.dials_failed.empty(); }));
      CHECK(a.dials_failed[0] == TransferError::self_connection);
    }
  }

  TEST_CASE("a listener that never answers costs the handshake timeout") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.handshake_timeout = 50ms;
    Node a(context, config);
    tcp::acceptor mute(context, {asio::ip::make_address_v4("127.0.0.1"), 0});
    SeededRandomSource random(8);
    a.driver.dial(Identity::generate(random).node_id(),
                  {Endpoint::v4(127, 0, 0, 1, mute.local_endpoint().port())});
    REQUIRE(run_until(context, [&] { return !a.dials_failed.empty(); }));
    CHECK(a.dials_failed[0] == TransferError::handshake_timeout);
  }

  TEST_CASE("strangers get not one byte") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.handshake_timeout = 50ms;
    Node node(context, config);
    TransferError expected{};
    RawPeer stranger(context, node.endpoint);
    SUBCASE("that speak HTTP") {
      stranger.send(as_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
      expected = TransferError::bad_preamble;
    }
    SUBCASE("that say nothing") { expected = TransferError::handshake_timeout; }
    SUBCASE("that hold another key of the same id") {
      SeededRandomSource random(3);
      ClusterKey wrong = ClusterKey::generate(random);
      while (wrong.key_id() != shared_keys()[0].key_id()) wrong = ClusterKey::generate(random);
      const Identity identity = Identity::generate(random);
      Handshake handshake =
          Handshake::initiator(HandshakeConfig::make("waggle", {wrong}, identity, 0), random);
      stranger.send(handshake.start().value());
      expected = TransferError::not_authentic;
    }
    CHECK(stranger.wait_end());
    CHECK(stranger.received.empty());
    REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == 1; }));
    CHECK(node.handshakes_failed[0] == expected);
    CHECK(node.opened.empty());
    CHECK(node.driver.half_open_count() == 0);
  }

  TEST_CASE("half-open connections are bounded per address and in total") {
    for (const std::size_t total : {std::size_t{64}, std::size_t{3}}) {
      asio::io_context context;
      TcpConfig config = loopback_config();
      config.half_open_max = total;
      Node node(context, config);
      const std::size_t admitted = std::min<std::size_t>(total, 8);
      std::vector<std::unique_ptr<RawPeer>> peers;
      for (std::size_t i = 0; i < admitted + 2; ++i) {
        peers.push_back(std::make_unique<RawPeer>(context, node.endpoint));
      }
      REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == 2; }));
      CHECK(node.handshakes_failed[0] == TransferError::too_many_handshakes);
      CHECK(node.driver.half_open_count() == admitted);
      CHECK(peers.back()->wait_end());
      CHECK(peers.back()->received.empty());
      peers.front().reset();  // its place is free again
      REQUIRE(run_until(context, [&] { return node.driver.half_open_count() == admitted - 1; }));
      Node other(context);
      other.dial(node);
      CHECK(run_until(context, [&] { return node.live.size() == 1; }));
    }
  }

  TEST_CASE("sessions_max refuses further peers and keeps the open ones") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.sessions_max = 1;
    Node node(context, config);
    Node first(context);
    Node second(context);
    connect(context, first, node);
    second.dial(node);
    REQUIRE(run_until(context, [&] { return !second.dials_failed.empty(); }));
    CHECK(node.handshakes_failed.at(0) == TransferError::too_many_sessions);
    CHECK(node.live.size() == 1);
  }

  TEST_CASE("a peer that dies in the middle of a record ends its session") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    RawPeer peer(context, node.endpoint);
    const SessionSecrets secrets = peer.shake(identity, random);
    REQUIRE(run_until(context, [&] { return node.live.size() == 1; }));
    SessionSealer sealer(secrets);
    Bytes record;
    sealer.seal_control(Bytes(1000), record);
    SUBCASE("half a record, then the end of the stream") {
      peer.send(ByteView(record).first(500));
      peer.socket.close();
      REQUIRE(run_until(context, [&] { return !node.closed.empty(); }));
      CHECK(node.closed[0].reason == TransferError::closed_by_peer);
    }
    SUBCASE("a record with a flipped bit") {
      record.back() ^= std::byte{1};
      peer.send(record);
      REQUIRE(run_until(context, [&] { return !node.closed.empty(); }));
      CHECK(node.closed[0].reason == TransferError::record_forged);
      CHECK(peer.wait_end());
    }
    SUBCASE("a header of no known kind") {
      peer.send(Bytes(4, std::byte{0x77}));
      REQUIRE(run_until(context, [&] { return !node.closed.empty(); }));
      CHECK(node.closed[0].reason == TransferError::bad_record);
    }
    SUBCASE("a reset") {
      peer.socket.set_option(asio::socket_base::linger(true, 0));
      peer.socket.close();
      REQUIRE(run_until(context, [&] { return !node.closed.empty(); }));
      CHECK(node.closed[0].reason == asio::error::connection_reset);
    }
    CHECK(node.controls.empty());
    CHECK(node.driver.session_count() == 0);
  }

  TEST_CASE("a dialler that disappears after any byte of the handshake leaves nothing behind") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    const auto config = HandshakeConfig::make("waggle", shared_keys(), identity, 0);
    std::size_t failed = 0;
    for (std::size_t cut = 0; cut < 104; cut += 3) {  // message 3 is 104 bytes, length included
      CAPTURE(cut);
      Handshake handshake = Handshake::initiator(config, random);
      const Bytes first = handshake.start().value();
      if (cut < first.size()) {
        RawPeer gone(context, node.endpoint);
        gone.send(ByteView(first).first(cut));
        gone.socket.close();
        REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == failed + 1; }));
        ++failed;
      }
      RawPeer late(context, node.endpoint);
      late.send(first);
      REQUIRE(run_until(context, [&] { return late.poll(), late.received.size() == 136; }));
      REQUIRE(handshake.receive(ByteView(late.received).first(2)).has_value());
      const Bytes third = handshake.receive(ByteView(late.received).subspan(2)).value();
      REQUIRE(third.size() == 104);
      late.send(ByteView(third).first(cut));
      late.socket.close();
      REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == failed + 1; }));
      ++failed;
    }
    CHECK(node.opened.empty());
    CHECK(node.driver.half_open_count() == 0);
    CHECK(node.driver.session_count() == 0);
  }

  TEST_CASE("a listener that disappears after any part of message 2 fails the dial") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    tcp::acceptor acceptor(context, {asio::ip::make_address_v4("127.0.0.1"), 0});
    const Endpoint endpoint = Endpoint::v4(127, 0, 0, 1, acceptor.local_endpoint().port());
    for (const std::size_t cut : {0U, 1U, 2U, 50U, 135U}) {
      CAPTURE(cut);
      const std::size_t failed = node.dials_failed.size();
      node.driver.dial(identity.node_id(), {endpoint});
      std::optional<tcp::socket> socket;
      acceptor.async_accept([&](error_code, tcp::socket accepted) { socket = std::move(accepted); });
      REQUIRE(run_until(context, [&] { return socket.has_value(); }));
      Handshake handshake = Handshake::responder(
          HandshakeConfig::make("waggle", shared_keys(), identity, 0), random);
      Bytes first(56);
      std::size_t read = 0;
      socket->non_blocking(true);
      REQUIRE(run_until(context, [&] {
        error_code error;
        read += socket->receive(asio::buffer(first.data() + read, 56 - read), 0, error);
        return read == 56;
      }));
      REQUIRE(handshake.receive(ByteView(first).first(8)).has_value());
      const Bytes second = handshake.receive(ByteView(first).subspan(8)).value();
      if (cut > 0) CHECK(socket->send(asio::buffer(second.data(), cut)) == cut);
      socket->close();
      REQUIRE(run_until(context, [&] { return node.dials_failed.size() == failed + 1; }));
    }
    CHECK(node.opened.empty());
  }

  TEST_CASE("a peer that vanishes while frames are queued to it") {
    asio::io_context context;
    Node a(context);
    auto b = std::make_unique<Node>(context);
    connect(context, a, *b);
    for (std::uint32_t i = 0; i < 500; ++i) {
      a.driver.send_payload(a.opened[0].id, header_of(i, 65'536), payload_of(block(65'536)));
    }
    REQUIRE(run_until(context, [&] { return b->payloads.size() > 3; }));
    b.reset();
    REQUIRE(run_until(context, [&] { return !a.closed.empty(); }));
    CHECK(a.driver.session_count() == 0);
    CHECK(a.driver.queued_bytes(a.opened[0].id) == 0);
  }

  TEST_CASE("callbacks may close, dial and stop") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    b.on_received = [&] { b.driver.close(b.opened.back().id); };
    a.on_closed = [&] { a.dial(b); };
    for (std::uint32_t i = 0; i < 20; ++i) {
      a.driver.send_payload(a.opened[0].id, header_of(i, 100), payload_of(block(100)));
    }
    REQUIRE(run_until(context, [&] { return a.opened.size() == 2 && b.opened.size() == 2; }));
    CHECK(b.payloads.size() == 1);  // the others came in the same read and were dropped
    b.on_received = [&] { b.driver.stop(); };
    a.on_closed = {};
    a.driver.send_payload(a.opened[1].id, header_of(1, 100), payload_of(block(100)));
    a.driver.send_payload(a.opened[1].id, header_of(2, 100), payload_of(block(100)));
    REQUIRE(run_until(context, [&] { return a.closed.size() == 2; }));
    CHECK(b.payloads.size() == 2);
    CHECK(b.closed.size() == 1);
  }

  TEST_CASE("a restarted peer's new session replaces its old one") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    RawPeer before(context, node.endpoint);
    before.shake(identity, random);
    RawPeer after(context, node.endpoint);
    after.shake(identity, random);
    REQUIRE(run_until(context, [&] { return node.opened.size() == 2; }));
    CHECK(node.closed.at(0).id == node.opened[0].id);
    CHECK(node.closed[0].reason == TransferError::duplicate_session);
    CHECK(node.live == std::set{node.opened[1].id});
    CHECK(before.wait_end());
  }

  TEST_CASE("close while sending: one report, nothing after it") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    const SessionId id = a.opened[0].id;
    for (std::uint32_t i = 0; i < 500; ++i) {
      a.driver.send_payload(id, header_of(i, 65'536), payload_of(block(65'536)));
    }
    REQUIRE(run_until(context, [&] { return b.payloads.size() > 3; }));
    a.driver.close(id);
    CHECK(a.closed.empty());  // never from inside a call
    a.driver.send_control(id, Bytes(10));
    const std::size_t sent = a.payloads_sent;
    REQUIRE(run_until(context, [&] { return !a.closed.empty() && !b.closed.empty(); }));
    CHECK(a.closed[0].reason == TransferError::closed_locally);
    CHECK(a.payloads_sent == sent);
    CHECK(b.controls.empty());
    CHECK(a.driver.queued_bytes(id) == 0);
    a.driver.close(id);
  }

  TEST_CASE("a queue beyond its bound closes the session") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.send_queue_bytes_max = 1'000'000;
    Node a(context, config);
    Node b(context);
    connect(context, a, b);
    for (std::uint32_t i = 0; i < 15; ++i) {
      a.driver.send_payload(a.opened[0].id, header_of(i, 65'536), payload_of(block(65'536)));
    }
    CHECK(a.driver.queued_bytes(a.opened[0].id) == 15 * payload_record_bytes(65'536));
    a.driver.send_payload(a.opened[0].id, header_of(15, 65'536), payload_of(block(65'536)));
    REQUIRE(run_until(context, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].reason == TransferError::queue_full);
  }

  TEST_CASE("control overtakes queued payload") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    const SessionId id = a.opened[0].id;
    for (std::uint32_t i = 0; i < 400; ++i) {
      a.driver.send_payload(id, header_of(i, 65'536), payload_of(block(65'536)));
    }
    REQUIRE(run_until(context, [&] { return b.payloads.size() > 3; }));
    const std::size_t before = a.payloads_sent;
    a.driver.send_control(id, Bytes(100));
    REQUIRE(run_until(context, [&] { return !b.controls.empty(); }));
    // One batch is sealed, and what the kernels hold is on its way: on loopback up to some MiB.
    CHECK(b.payloads.size() < before + 150);
    CHECK(a.driver.queued_bytes(id) > 0);
  }

  TEST_CASE("queued frames can be taken back, and a source that fails costs only its frame") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    const SessionId id = a.opened[0].id;
    a.driver.send_payload(id, header_of(1, 10), payload_of(block(10)));
    a.driver.send_payload(id, header_of(2, 10), payload_of(block(10)));
    a.driver.send_payload(id, header_of(3, 10), [](MutableByteView) -> boost::system::result<void> {
      return make_error_code(TransferError::unreachable);
    });
    a.driver.send_payload(id, header_of(4, 10), payload_of(block(10)));
    CHECK(a.driver.cancel_payload(id, header_of(2, 10)));
    CHECK_FALSE(a.driver.cancel_payload(id, header_of(2, 10)));
    REQUIRE(run_until(context, [&] { return b.payloads.size() == 2; }));
    CHECK(b.payloads == std::vector{header_of(1, 10), header_of(4, 10)});
    CHECK(a.unavailable == 1);
    CHECK(a.driver.queued_bytes(id) == 0);
  }

  TEST_CASE("a key that leaves the ring takes its sessions along, one that stays does not") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    SeededRandomSource random(77);
    const ClusterKey next = ClusterKey::generate(random);
    a.driver.set_keys({next, shared_keys()[0]});
    b.driver.set_keys({next, shared_keys()[0]});
    CHECK(a.driver.session_count() == 1);
    a.driver.set_keys({next});
    REQUIRE(run_until(context, [&] { return !a.closed.empty() && !b.closed.empty(); }));
    CHECK(a.closed[0].reason == TransferError::key_retired);
    a.dial(b);
    CHECK(run_until(context, [&] { return !a.live.empty() && !b.live.empty(); }));
  }

  TEST_CASE("after stop nothing is reported and the ports are free") {
    asio::io_context context;
    Node b(context);
    Endpoint freed;
    {
      Node a(context);
      freed = a.endpoint;
      connect(context, b, a);
      a.driver.send_payload(a.opened[0].id, header_of(1, 65'536), payload_of(block(65'536)));
      a.driver.close(a.opened[0].id);
      a.driver.dial(NodeId{}, {b.endpoint});
      a.driver.stop();
      CHECK(a.closed.empty());
      CHECK(a.driver.session_count() == 0);
    }
    REQUIRE(run_until(context, [&] { return !b.closed.empty(); }));
    TcpConfig config = loopback_config();
    config.bind = {freed};
    Node again(context, config);
    CHECK(again.endpoint == freed);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    TcpDriver taken(context.get_executor(), config, shared_keys(), identity, random, {});
    CHECK(taken.start().error() == asio::error::address_in_use);
  }

  TEST_CASE("100 MiB of payload arrive, with either cipher") {
    for (const bool aes : {false, true}) {
      asio::io_context context;
      TcpConfig config = loopback_config();
      config.allow_aes = aes;
      Node a(context, config);
      Node b(context, config);
      connect(context, a, b);
      const SessionId id = a.opened[0].id;
      const auto bytes = block(65'536);
      constexpr std::uint32_t frames = 1600;
      std::uint32_t next = 0;
      a.on_sent = [&] {
        if (next < frames) a.driver.send_payload(id, header_of(next++, 65'536), payload_of(bytes));
      };
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < 16; ++i) a.on_sent();
      REQUIRE(run_until(context, [&] { return b.payloads.size() == frames; }));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      CHECK(b.payload_bytes == std::size_t{frames} * 65'536);
      for (std::uint32_t i = 0; i < frames; ++i) CHECK(b.payloads[i] == header_of(i, 65'536));
      MESSAGE(std::string(aes ? "AES-256-GCM" : "ChaCha20-Poly1305"), ", both ends on one thread: ",
              static_cast<int>(static_cast<double>(b.payload_bytes) / took.count() / 1e6), " MB/s");
    }
  }
}
