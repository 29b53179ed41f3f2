// Drivers among themselves, on loopback.
#include "tcp_driver_harness.hpp"

#include <doctest/doctest.h>
#include <boost/asio/thread_pool.hpp>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::test;

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

  TEST_CASE("a dial right after close opens a new session") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    a.driver.close(a.opened[0].id);
    a.dial(b);
    REQUIRE(run_until(context, [&] { return a.opened.size() == 2 && b.opened.size() == 2; }));
    CHECK(a.closed.at(0).reason == TransferError::closed_locally);
    CHECK(a.live == std::set{a.opened[1].id});
    CHECK(run_until(context, [&] { return b.live == std::set{b.opened[1].id}; }));
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

  TEST_CASE("a promotion moves sessions to the new key before the old one goes") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.move_window = 50ms;
    Node a(context, config);
    Node b(context, config);
    connect(context, a, b);
    const KeyRing old = shared_keys();
    SeededRandomSource random(77);
    const ClusterKey next = ClusterKey::generate(random);
    std::vector<std::string> order;
    a.on_closed = [&] { order.push_back(a.live.size() == 1 ? "open first" : "gap"); };
    b.on_closed = [&] { order.push_back(b.live.size() == 1 ? "open first" : "gap"); };
    for (Node* node : {&a, &b}) node->driver.set_keys({old[0], next});
    // Who did not dial has nothing to move: the session is the dialler's.
    b.driver.set_keys({next, old[0]});
    CHECK_FALSE(run_for(context, 200ms, [&] { return b.opened.size() > 1; }));
    CHECK(b.driver.sessions_by_key() == std::vector<std::size_t>{0, 1});
    a.driver.set_keys({next, old[0]});
    REQUIRE(run_until(context, [&] { return !a.closed.empty() && !b.closed.empty(); }));
    CHECK(order == std::vector<std::string>{"open first", "open first"});
    for (Node* node : {&a, &b}) {
      CHECK(node->closed.at(0).reason == TransferError::session_moved);
      CHECK(node->opened.size() == 2);
      CHECK(node->driver.sessions_by_key() == std::vector<std::size_t>{1, 0});
      CHECK(node->dials_failed.empty());
      CHECK(node->handshakes_failed.empty());
      node->driver.set_keys({next});
    }
    a.driver.send_control(*a.live.begin(), to_bytes(as_bytes("a")));
    b.driver.send_control(*b.live.begin(), to_bytes(as_bytes("b")));
    CHECK(run_until(context, [&] { return !a.controls.empty() && !b.controls.empty(); }));
    CHECK(a.closed.size() == 1);
    CHECK(b.closed.size() == 1);
  }

  TEST_CASE("a peer that lacks the new key keeps its session until it has it") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.move_window = 20ms;
    Node a(context, config);
    Node b(context, config);
    connect(context, a, b);
    const KeyRing old = shared_keys();
    SeededRandomSource random(77);
    const ClusterKey next = ClusterKey::generate(random);
    a.driver.set_keys({next, old[0]});
    REQUIRE(run_until(context, [&] { return b.handshakes_failed.size() >= 2; }));
    CHECK(b.handshakes_failed[0] == TransferError::unknown_key);
    CHECK(a.closed.empty());
    CHECK(a.dials_failed.empty());
    b.driver.set_keys({old[0], next});
    REQUIRE(run_until(context, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].reason == TransferError::session_moved);
    CHECK(a.live.size() == 1);
  }

  TEST_CASE("a node full of sessions takes the one that replaces another") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.move_window = 20ms;
    Node a(context, config);
    config.sessions_max = 1;
    Node b(context, config);
    connect(context, a, b);
    const KeyRing old = shared_keys();
    SeededRandomSource random(77);
    const ClusterKey next = ClusterKey::generate(random);
    b.driver.set_keys({next, old[0]});
    a.driver.set_keys({next, old[0]});
    REQUIRE(run_until(context, [&] { return !a.closed.empty() && !b.closed.empty(); }));
    CHECK(b.closed[0].reason == TransferError::session_moved);
    CHECK(b.driver.sessions_by_key() == std::vector<std::size_t>{1, 0});
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

  TEST_CASE("a frame counts as sent before it arrives") {
    asio::io_context context;
    Node a(context);
    Node b(context);
    connect(context, a, b);
    bool late = false;
    b.on_received = [&] { late = late || a.payloads_sent < b.payloads.size(); };
    const auto bytes = block(65'536);
    for (std::uint32_t i = 0; i < 32; ++i) {
      a.driver.send_payload(a.opened[0].id, header_of(i, 65'536), payload_of(bytes));
    }
    REQUIRE(run_until(context, [&] { return b.payloads.size() == 32; }));
    CHECK_FALSE(late);
  }

  TEST_CASE("with workers frames and messages arrive whole, each kind in its order") {
    asio::io_context context;
    asio::thread_pool workers(3);
    TcpConfig config = loopback_config();
    config.workers = workers.get_executor();
    Node a(context, config);
    Node b(context, config);
    connect(context, a, b);
    const SessionId id = a.opened[0].id;
    constexpr std::uint32_t frames = 600;
    for (std::uint32_t i = 0; i < frames; ++i) {
      const auto bytes = std::make_shared<const Bytes>(65'536, static_cast<std::byte>(i));
      a.driver.send_payload(id, header_of(i, i % 7 == 0 ? 100 : 65'536), payload_of(bytes));
      if (i % 10 == 0) a.driver.send_control(id, Bytes(1 + i, static_cast<std::byte>(i)));
    }
    bool wrong = false;
    b.on_received = [&] {
      const auto at = static_cast<std::uint32_t>(b.payloads.size()) - 1;
      wrong = wrong || b.payloads[at].chunk != ChunkIndex{at} ||
              b.last_byte != static_cast<std::byte>(at);
    };
    REQUIRE(run_until(context, [&] { return b.payloads.size() == frames; }));
    CHECK_FALSE(wrong);
    CHECK(a.payloads_sent == frames);
    REQUIRE(b.controls.size() == frames / 10);
    for (std::size_t i = 0; i < b.controls.size(); ++i) {
      CHECK(b.controls[i] == Bytes(1 + 10 * i, static_cast<std::byte>(10 * i)));
    }
    CHECK(b.closed.empty());
    workers.join();
  }

  TEST_CASE("a session that ends while workers are at its frames reports once, and nothing else") {
    for (int round = 0; round < 20; ++round) {
      asio::io_context context;
      asio::thread_pool workers(3);
      TcpConfig config = loopback_config();
      config.workers = workers.get_executor();
      Node a(context, config);
      Node b(context, config);
      connect(context, a, b);
      const auto bytes = block(65'536);
      for (std::uint32_t i = 0; i < 64; ++i) {
        a.driver.send_payload(a.opened[0].id, header_of(i, 65'536), payload_of(bytes));
      }
      const auto enough = static_cast<std::size_t>(round);
      REQUIRE(run_until(context, [&] { return b.payloads.size() >= enough; }));
      (round % 2 == 0 ? a : b).driver.close((round % 2 == 0 ? a : b).opened[0].id);
      REQUIRE(run_until(context, [&] { return a.closed.size() == 1 && b.closed.size() == 1; }));
      const std::size_t sent = a.payloads_sent;
      const std::size_t received = b.payloads.size();
      workers.join();
      context.restart();
      context.poll();
      CHECK(a.payloads_sent == sent);
      CHECK(b.payloads.size() == received);
    }
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
