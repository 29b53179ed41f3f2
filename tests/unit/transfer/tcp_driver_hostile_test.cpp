// The driver against strangers, crowds and peers that die.
#include "tcp_driver_harness.hpp"

#include <doctest/doctest.h>

#include <deque>

using namespace waggle;
using namespace waggle::transfer;
using namespace waggle::transfer::test;

TEST_SUITE("transfer/tcp_driver_hostile") {
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

  TEST_CASE(
      "half-open connections are bounded per address and in total, the oldest stranger makes room, "
      "and nobody with a key is kept out") {
    for (const std::size_t total : {std::size_t{64}, std::size_t{3}}) {
      asio::io_context context;
      TcpConfig config = loopback_config();
      config.half_open_max = total;
      config.handshake_timeout = 1h;  // nothing is freed by time
      Node node(context, config);
      const std::size_t admitted = std::min(total, limits::half_open_per_address_max);
      std::vector<std::unique_ptr<RawPeer>> peers;
      for (std::size_t i = 0; i < admitted; ++i) {
        peers.push_back(std::make_unique<RawPeer>(context, node.endpoint));
      }
      REQUIRE(run_until(context, [&] { return node.driver.half_open_count() == admitted; }));
      CHECK(node.handshakes_failed.empty());  // at the limit
      for (std::size_t i = 0; i < 2; ++i) {   // beyond it
        peers.push_back(std::make_unique<RawPeer>(context, node.endpoint));
        REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == i + 1; }));
        CHECK(node.handshakes_failed[i] == TransferError::too_many_handshakes);
        CHECK(node.driver.half_open_count() == admitted);
        CHECK(peers[i]->wait_end());
        CHECK(peers[i]->received.empty());
      }
      CHECK_FALSE((peers[2]->poll(), peers[2]->ended));
      Node other(context);
      other.dial(node);
      CHECK(run_until(context, [&] { return node.live.size() == 1; }));
    }
  }

  TEST_CASE("a flood of a thousand silent connections keeps no descriptor and no honest peer out") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.handshake_timeout = 1h;
    Node node(context, config);
    Node other(context);
    std::deque<RawPeer> flood;
    for (int i = 0; i < 1000; ++i) {
      flood.emplace_back(context, node.endpoint);
      if (flood.size() > 100) flood.pop_front();
      context.poll();
      if (i == 500) other.dial(node);
      CHECK(node.driver.half_open_count() <= limits::half_open_per_address_max);
    }
    CHECK(run_until(context, [&] { return !node.live.empty() && !other.live.empty(); }));
    for (RawPeer& peer : flood) CHECK((peer.poll(), peer.received.empty()));
  }

  TEST_CASE("who has proven a key keeps the place: when all have, a further one is refused") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.handshake_timeout = 1h;
    Node node(context, config);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    const auto mine = HandshakeConfig::make("waggle", shared_keys(), identity, 0);
    std::deque<RawPeer> stalled;  // each says its first message and nothing more
    for (std::size_t i = 0; i < limits::half_open_per_address_max; ++i) {
      RawPeer& peer = stalled.emplace_back(context, node.endpoint);
      peer.send(Handshake::initiator(mine, random).start().value());
      REQUIRE(run_until(context, [&] { return peer.poll(), peer.received.size() == 136; }));
    }
    RawPeer late(context, node.endpoint);
    CHECK(late.wait_end());
    REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == 1; }));
    CHECK(node.handshakes_failed[0] == TransferError::too_many_handshakes);
    for (RawPeer& peer : stalled) CHECK_FALSE((peer.poll(), peer.ended));
  }

  TEST_CASE("a recorded first message is answered at most once, a recorded handshake never again") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    const auto mine = HandshakeConfig::make("waggle", shared_keys(), identity, 0);
    const Bytes first = Handshake::initiator(mine, random).start().value();
    RawPeer original(context, node.endpoint);
    original.send(first);
    REQUIRE(run_until(context, [&] { return original.poll(), original.received.size() == 136; }));
    for (std::size_t i = 0; i < 3; ++i) {
      RawPeer replay(context, node.endpoint);
      replay.send(first);
      CHECK(replay.wait_end());
      CHECK(replay.received.empty());
      REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == i + 1; }));
      CHECK(node.handshakes_failed[i] == TransferError::handshake_replayed);
    }
    // To another node of the cluster it is new: one bounded answer, and the handshake ends there.
    Node elsewhere(context);
    RawPeer replay(context, elsewhere.endpoint);
    replay.send(first);
    REQUIRE(run_until(context, [&] { return replay.poll(), replay.received.size() == 136; }));
    replay.send(Bytes(104));
    CHECK(replay.wait_end());
    CHECK(replay.received.size() == 136);
    CHECK(elsewhere.opened.empty());
  }

  TEST_CASE("a handshake that trickles in for ever ends at its one deadline") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    config.handshake_timeout = 100ms;
    Node node(context, config);
    SystemRandomSource random;
    const auto mine = HandshakeConfig::make("waggle", shared_keys(), Identity::generate(random), 0);
    const Bytes first = Handshake::initiator(mine, random).start().value();
    RawPeer peer(context, node.endpoint);
    std::size_t sent = 0;
    const auto trickle = [&] {
      error_code gone;
      if (sent + 1 < first.size() &&
          peer.socket.send(asio::buffer(&first[sent], 1), 0, gone) == 1) {
        ++sent;
      }
      return peer.poll(), peer.ended;
    };
    const auto began = std::chrono::steady_clock::now();
    CHECK(run_until(context, trickle));
    CHECK(std::chrono::steady_clock::now() - began < 5s);
    CHECK(peer.received.empty());
    REQUIRE(run_until(context, [&] { return node.handshakes_failed.size() == 1; }));
    CHECK(node.handshakes_failed[0] == TransferError::handshake_timeout);
  }

  TEST_CASE("records of the largest size pass, one byte more ends the session at its header") {
    for (const std::uint32_t excess : {0U, 1U}) {
      for (const RecordKind kind : {RecordKind::control, RecordKind::payload}) {
        CAPTURE(excess);
        asio::io_context context;
        Node node(context);
        SystemRandomSource random;
        const Identity identity = Identity::generate(random);
        RawPeer peer(context, node.endpoint);
        const SessionSecrets secrets = peer.shake(identity, random);
        REQUIRE(run_until(context, [&] { return node.live.size() == 1; }));
        const std::size_t most = kind == RecordKind::control
                                     ? limits::frame_bytes_max
                                     : payload_sealed_bytes(limits::payload_bytes_max);
        if (excess == 0 && kind == RecordKind::control) {
          Bytes record;  // one full record: its flag byte and tag are inside
          SessionSealer(secrets).seal_control(Bytes(most - 17), record);
          REQUIRE(record.size() == record_header_bytes + most);
          peer.send(record);
          CHECK(run_until(context, [&] { return node.controls.size() == 1; }));
        } else if (excess == 0) {
          Bytes record(record_header_bytes + most);
          SessionSealer(secrets).seal_payload(header_of(0, limits::payload_bytes_max), record);
          peer.send(record);
          CHECK(
              run_until(context, [&] { return node.payload_bytes == limits::payload_bytes_max; }));
        } else {
          const auto length = static_cast<std::uint32_t>(most + 1);
          peer.send(RecordHeader{kind, length}.to_wire());
          REQUIRE(run_until(context, [&] { return !node.closed.empty(); }));
          CHECK(node.closed[0].reason == TransferError::bad_record);
          CHECK(peer.wait_end());
        }
      }
    }
  }

  TEST_CASE("a control message of the largest size passes, one byte more ends the session") {
    for (const std::size_t excess : {0U, 1U}) {
      asio::io_context context;
      Node node(context);
      SystemRandomSource random;
      const Identity identity = Identity::generate(random);
      RawPeer peer(context, node.endpoint);
      const SessionSecrets secrets = peer.shake(identity, random);
      REQUIRE(run_until(context, [&] { return node.live.size() == 1; }));
      // Sealed part by part: the sealer itself refuses to make more than the limit.
      CipherState cipher(secrets.control_send);
      const Bytes message(limits::control_frame_bytes_max + excess);
      const std::vector<ByteView> parts = control_parts(message);
      for (const ByteView& part : parts) {
        Bytes text{&part == &parts.back() ? control_last : control_more};
        append(text, part);
        Bytes sealed(text.size() + record_tag_bytes);
        REQUIRE(cipher.seal({}, text, sealed).has_value());
        const auto length = static_cast<std::uint32_t>(sealed.size());
        Bytes record = to_bytes(RecordHeader{RecordKind::control, length}.to_wire());
        append(record, sealed);
        while (!record.empty()) {  // the driver reads while this side writes
          error_code full;
          const std::size_t size = peer.socket.send(asio::buffer(record), 0, full);
          record.erase(record.begin(), record.begin() + static_cast<std::ptrdiff_t>(size));
          context.poll();
          if (!node.closed.empty()) break;
        }
      }
      if (excess == 0) {
        REQUIRE(run_until(context, [&] { return node.controls.size() == 1; }));
        CHECK(node.controls[0].size() == limits::control_frame_bytes_max);
      } else {
        REQUIRE(run_until(context, [&] { return !node.closed.empty(); }));
        CHECK(node.closed[0].reason == TransferError::control_too_long);
        CHECK(node.controls.empty());
      }
    }
  }

  TEST_CASE("a peer that never reads is closed when the control messages for it pass their bound") {
    asio::io_context context;
    TcpConfig config = loopback_config();
    SUBCASE("its own") { config.control_queue_bytes_max = 1'000'000; }
    SUBCASE("a fair share of everybody's, once that is used up") {
      config.control_queues_bytes_max = 1'000'000;
      config.sessions_max = 4;
    }
    Node node(context, config);
    Node reader(context);
    SystemRandomSource random;
    const Identity identity = Identity::generate(random);
    RawPeer deaf(context, node.endpoint);
    deaf.shake(identity, random);
    REQUIRE(run_until(context, [&] { return node.live.size() == 1; }));
    const SessionId session = node.opened[0].id;
    connect(context, reader, node);
    std::size_t sent = 0;
    for (; node.closed.empty() && sent < 64 * limits::MiB; sent += 10'000) {
      node.driver.send_control(session, Bytes(10'000));
      CHECK(node.driver.queued_bytes(session) <= 1'010'100);
      context.poll();
    }
    REQUIRE(node.closed.size() == 1);
    CHECK(node.closed[0].id == session);
    CHECK(node.closed[0].reason == TransferError::queue_full);
    node.driver.send_control(node.opened[1].id, Bytes(10'000));  // the other one is not hurt
    CHECK(run_until(context, [&] { return reader.controls.size() == 1; }));
  }

  TEST_CASE("dials_max dials are under way at once, the next one fails at once") {
    asio::io_context context;
    Node node(context);
    SystemRandomSource random;
    tcp::acceptor mute(context, {asio::ip::make_address_v4("127.0.0.1"), 0});
    const Endpoint endpoint = Endpoint::v4(127, 0, 0, 1, mute.local_endpoint().port());
    for (std::size_t i = 0; i < limits::dials_max; ++i) {
      node.driver.dial(Identity::generate(random).node_id(), {endpoint});
    }
    context.poll();
    CHECK(node.dials_failed.empty());
    node.driver.dial(Identity::generate(random).node_id(), {endpoint});
    REQUIRE(run_until(context, [&] { return !node.dials_failed.empty(); }));
    CHECK(node.dials_failed[0] == TransferError::too_many_dials);
    CHECK(node.dials_failed.size() == 1);
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
      acceptor.async_accept(
          [&](error_code, tcp::socket accepted) { socket = std::move(accepted); });
      REQUIRE(run_until(context, [&] { return socket.has_value(); }));
      Handshake handshake =
          Handshake::responder(HandshakeConfig::make("waggle", shared_keys(), identity, 0), random);
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
}
