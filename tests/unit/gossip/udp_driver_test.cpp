// Real datagrams on loopback. Waits are on arrivals, bounded by a count of turns, never on sleeps.
#include "gossip/udp_driver.hpp"

#include "base/limits.hpp"
#include "gossip/gossip.hpp"
#include "samples.hpp"

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <functional>

using namespace waggle;
using namespace waggle::gossip;
using namespace waggle::gossip::test;

namespace {

struct Arrived {
  Endpoint from;
  Bytes datagram;
};

struct Side {
  Side(boost::asio::io_context& io, std::vector<Endpoint> endpoints,
       UdpDriver::Route route = nullptr)
      : driver(
            io.get_executor(), std::move(endpoints),
            [this](const Endpoint& from, ByteView datagram) {
              arrived.push_back({from, to_bytes(datagram)});
              if (on_arrival) on_arrival();
            },
            std::move(route)) {}
  Endpoint address(std::size_t i = 0) { return driver.local_endpoints().at(i); }
  void send(const Endpoint& to, std::size_t size) { driver.send(to, Bytes(size)); }
  UdpDriver driver;
  std::vector<Arrived> arrived;
  std::function<void()> on_arrival;
};

/// Started on any port of IPv4 loopback.
struct LoopbackSide : Side {
  explicit LoopbackSide(boost::asio::io_context& io) : Side(io, {Endpoint::v4(127, 0, 0, 1, 0)}) {
    REQUIRE(driver.start().has_value());
  }
};

bool run_until(boost::asio::io_context& io, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!done() && std::chrono::steady_clock::now() < end) {
    if (io.stopped()) io.restart();
    io.run_one_for(std::chrono::milliseconds(100));
  }
  return done();
}

const Endpoint any_v4_loopback = Endpoint::v4(127, 0, 0, 1, 0);

}  // namespace

TEST_SUITE("gossip/udp_driver") {
  TEST_CASE("a datagram arrives with its sender's address, and the answer goes back") {
    boost::asio::io_context io;
    LoopbackSide a(io);
    LoopbackSide b(io);
    a.driver.send(b.address(), as_bytes("ping"));
    REQUIRE(run_until(io, [&] { return b.arrived.size() == 1; }));
    CHECK(b.arrived[0].from == a.address());
    CHECK(as_text(b.arrived[0].datagram) == "ping");
    b.driver.send(b.arrived[0].from, as_bytes("ack"));
    CHECK(run_until(io, [&] { return a.arrived.size() == 1; }));
  }

  TEST_CASE("sends to nobody are survived") {
    boost::asio::io_context io;
    LoopbackSide a(io);
    LoopbackSide b(io);
    LoopbackSide gone(io);
    const Endpoint nobody = gone.address();
    gone.driver.stop();
    for (int i = 0; i < 5; ++i) a.send(nobody, 10);
    b.send(a.address(), 3);
    CHECK(run_until(io, [&] { return a.arrived.size() == 1; }));
  }

  TEST_CASE("one dual-stack socket serves IPv4 and shows IPv4 senders as such") {
    boost::asio::io_context io;
    Side dual(io, {Endpoint::parse("[::]:0").value()});
    LoopbackSide v4(io);
    REQUIRE(dual.driver.start().has_value());
    const Endpoint to = Endpoint::v4(127, 0, 0, 1, dual.address().port);
    v4.send(to, 7);
    REQUIRE(run_until(io, [&] { return dual.arrived.size() == 1; }));
    CHECK(dual.arrived[0].from == v4.address());
    dual.send(v4.address(), 8);
    CHECK(run_until(io, [&] { return v4.arrived.size() == 1; }));
    CHECK(v4.arrived[0].from == to);
  }

  TEST_CASE("the socket that fits the receiver's family and address sends") {
    boost::asio::io_context io;
    Side a(io, {Endpoint::v4(0, 0, 0, 0, 0), Endpoint::v4(127, 0, 0, 1, 0)});
    LoopbackSide b(io);
    REQUIRE(a.driver.start().has_value());
    a.send(b.address(), 1);
    REQUIRE(run_until(io, [&] { return b.arrived.size() == 1; }));
    CHECK(b.arrived[0].from == a.address(1));
    a.send(Endpoint::parse("[::1]:9").value(), 1);
    CHECK(a.driver.send_errors() == 1);
  }

  TEST_CASE(
      "an over-long datagram is handed up longer than the limit, so that the core refuses it") {
    boost::asio::io_context io;
    LoopbackSide a(io);
    LoopbackSide b(io);
    a.send(b.address(), 9000);
    REQUIRE(run_until(io, [&] { return b.arrived.size() == 1; }));
    CHECK(b.arrived[0].datagram.size() == limits::datagram_bytes_max + 1);
  }

  TEST_CASE("a taken port fails with the system's error and leaves nothing open") {
    boost::asio::io_context io;
    LoopbackSide a(io);
    Side b(io, {any_v4_loopback, a.address()});
    const auto result = b.driver.start();
    REQUIRE(result.has_error());
    CHECK(result.error() == boost::system::errc::address_in_use);
    CHECK(b.driver.local_endpoints().empty());
  }

  TEST_CASE("closing from within the handler, or destroying the driver, ends the receiving") {
    boost::asio::io_context io;
    LoopbackSide a(io);
    {
      LoopbackSide b(io);
      b.on_arrival = [&b] { b.driver.stop(); };
      a.send(b.address(), 1);
      a.send(b.address(), 1);
      REQUIRE(run_until(io, [&] { return !b.arrived.empty(); }));
      CHECK(b.arrived.size() == 1);
      CHECK(b.driver.local_endpoints().empty());
      LoopbackSide c(io);
    }
    a.driver.stop();
    io.restart();
    io.run_for(std::chrono::seconds(5));
    CHECK(io.stopped());  // no receive is left
  }

  TEST_CASE("an answer leaves from the address that was written to, on a socket bound to any") {
    boost::asio::io_context io;
    for (const char* any : {"0.0.0.0:0", "[::]:0"}) {
      CAPTURE(any);
      Side many(io, {Endpoint::parse(any).value()});
      LoopbackSide b(io);
      REQUIRE(many.driver.start().has_value());
      const Endpoint third = Endpoint::v4(127, 0, 0, 3, many.address().port);
      b.send(third, 1);
      REQUIRE(run_until(io, [&] { return many.arrived.size() == 1; }));
      many.send(b.address(), 2);
      REQUIRE(run_until(io, [&] { return b.arrived.size() == 1; }));
      CHECK(b.arrived[0].from == third);
    }
  }

  TEST_CASE("of several addresses the one that routes to the receiver sends, until it writes") {
    boost::asio::io_context io;
    const Endpoint second = Endpoint::v4(127, 0, 0, 2, 0);
    const Endpoint third = Endpoint::v4(127, 0, 0, 3, 0);
    Side a(io, {second, third}, [&](const Endpoint&) { return third; });
    LoopbackSide b(io);
    REQUIRE(a.driver.start().has_value());
    a.send(b.address(), 1);
    REQUIRE(run_until(io, [&] { return b.arrived.size() == 1; }));
    CHECK(b.arrived[0].from == a.address(1));
    b.send(a.address(0), 1);
    REQUIRE(run_until(io, [&] { return a.arrived.size() == 1; }));
    a.send(b.address(), 1);
    REQUIRE(run_until(io, [&] { return b.arrived.size() == 2; }));
    CHECK(b.arrived[1].from == a.address(0));
  }

  TEST_CASE("what is sent to a group reaches all who joined it, its sender too") {
    boost::asio::io_context io;
    const MulticastInterface loopback{1, any_v4_loopback};
    Endpoint group = Endpoint::v4(239, 255, 79, 47, 0);
    LoopbackSide a(io);
    LoopbackSide b(io);
    LoopbackSide c(io);
    group.port = a.address().port;  // nobody else's on this machine
    for (LoopbackSide* side : {&a, &b})
      REQUIRE(side->driver.join({group}, {loopback}).value() == 1);
    a.send(group, 5);
    REQUIRE(run_until(io, [&] { return b.arrived.size() == 1 && a.arrived.size() == 1; }));
    CHECK(b.arrived[0].from == a.address());
    b.driver.send(b.arrived[0].from, as_bytes("answer"));
    REQUIRE(run_until(io, [&] { return a.arrived.size() == 2; }));
    CHECK(a.arrived[1].from == b.address());
    CHECK(c.arrived.empty());
    CHECK(a.driver.send_errors() == 0);
  }

  TEST_CASE("a group of a family that no interface has cannot be joined") {
    boost::asio::io_context io;
    LoopbackSide a(io);
    const auto joined =
        a.driver.join({Endpoint::parse("[ff05::7947]:7947").value()}, {{1, any_v4_loopback}});
    CHECK(joined.has_error());
  }

  TEST_CASE("two gossip nodes find each other over real sockets") {
    boost::asio::io_context io;
    SystemRandomSource random;
    struct Node {
      Node(boost::asio::io_context& io, unsigned n, RandomSource& random)
          : identity(identity_of(n)),
            driver(io.get_executor(), {any_v4_loopback},
                   [this](const Endpoint& from, ByteView datagram) {
                     gossip->handle_datagram(clock(), from, datagram);
                     pump();
                   }) {
        REQUIRE(driver.start().has_value());
        GossipConfig config;
        config.keys = keys_of({1});
        config.advertise = driver.local_endpoints();
        config.seed = n;
        gossip = std::make_unique<Gossip>(config, identity, random, clock());
      }
      static TimePoint clock() {
        return TimePoint(std::chrono::duration_cast<Duration>(
            std::chrono::steady_clock::now().time_since_epoch()));
      }
      void pump() {
        while (auto transmit = gossip->poll_transmit())
          driver.send(transmit->to, transmit->datagram);
        while (gossip->poll_event()) {
        }
      }
      Identity identity;
      UdpDriver driver;
      std::unique_ptr<Gossip> gossip;
    };
    Node a(io, 1, random);
    Node b(io, 2, random);
    b.gossip->set_hints(Node::clock(), a.driver.local_endpoints());
    b.pump();
    CHECK(run_until(io,
                    [&] { return a.gossip->live().size() == 2 && b.gossip->live().size() == 2; }));
  }
}
