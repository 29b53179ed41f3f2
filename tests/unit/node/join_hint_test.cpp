// What may stand in cluster.join.
#include "node/join_hint.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::node;

namespace {

JoinHint good(std::string_view text) {
  CAPTURE(text);
  const auto parsed = parse_join_hint(text);
  REQUIRE(std::holds_alternative<JoinHint>(parsed));
  CHECK(std::get<JoinHint>(parsed).text == text);
  return std::get<JoinHint>(parsed);
}

}  // namespace

TEST_SUITE("node/join_hint") {
  TEST_CASE("addresses, names, groups and services") {
    CHECK(good("10.0.0.1:7947").endpoint == Endpoint::v4(10, 0, 0, 1, 7947));
    CHECK(good("[2001:db8::1]:1").endpoint == Endpoint::parse("[2001:db8::1]:1").value());
    for (const char* text : {"dns:peers.example:7947", "peers.example:7947"}) {
      const JoinHint hint = good(text);
      CHECK(hint.kind == JoinHint::Kind::name);
      CHECK(hint.host == "peers.example");
      CHECK(hint.endpoint.port == 7947);
    }
    CHECK(good("dns:waggle_peers.waggle.svc.:7947").kind == JoinHint::Kind::name);
    CHECK(good("localhost:7947").host == "localhost");
    CHECK(good("dns:10.0.0.1:7947").kind == JoinHint::Kind::address);
    CHECK(good("multicast:239.255.79.47:7947").kind == JoinHint::Kind::multicast);
    CHECK(good("multicast:[ff05::4f2f]:7947").endpoint.is_v4() == false);
    CHECK(good("k8s:waggle/peers").kind == JoinHint::Kind::service);
  }

  TEST_CASE("anything else is refused with a reason") {
    for (const char* text : {"",
                             ":",
                             ":7947",
                             "nowhere",
                             "nowhere:",
                             "nowhere:0",
                             "nowhere:65536",
                             "nowhere:7947x",
                             "10.0.0.300:7947",
                             "1.2.3:7947",
                             "::1:7947",
                             "[::1:7947",
                             "[fe80::1]:7947",
                             "169.254.0.1:7947",
                             "0.0.0.0:7947",
                             "[::]:7947",
                             "239.255.79.47:7947",
                             "dns:peers",
                             "dns::7947",
                             "dns:-x.test:7947",
                             "dns:a..b:7947",
                             "dns:a b:7947",
                             "multicast:10.0.0.1:1",
                             "multicast:239.255.79.47",
                             "multicast:239.255.79.47:0",
                             "k8s:",
                             "k8s:a",
                             "k8s:a/",
                             "k8s:/a",
                             "k8s:a/b/c"}) {
      CAPTURE(text);
      const auto parsed = parse_join_hint(text);
      REQUIRE(std::holds_alternative<std::string>(parsed));
      CHECK_FALSE(std::get<std::string>(parsed).empty());
    }
    CHECK(std::holds_alternative<std::string>(
        parse_join_hint("dns:" + std::string(64, 'a') + ":7947")));
    CHECK(
        std::holds_alternative<JoinHint>(parse_join_hint("dns:" + std::string(63, 'a') + ":7947")));
  }
}
