// Which addresses are refused, and who may lift that.
#include "mirror/host_policy.hpp"

#include "mirror/cidr.hpp"
#include "mirror/text.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using namespace waggle::mirror;

namespace {

Endpoint ip(std::string_view text) { return Endpoint::parse_address(text, 443).value(); }
Origin origin(std::string_view url) { return Url::parse(url)->origin; }

}  // namespace

TEST_SUITE("mirror/host_policy") {
  TEST_CASE("metadata, loopback, link-local, multicast and unspecified addresses are refused") {
    for (const char* text : {"169.254.169.254",
                             "169.254.0.1",
                             "127.0.0.1",
                             "127.255.0.3",
                             "0.0.0.0",
                             "0.1.2.3",
                             "224.0.0.1",
                             "239.255.79.47",
                             "255.255.255.255",
                             "100.100.100.200",
                             "168.63.129.16",
                             "192.0.0.192",
                             "::",
                             "::1",
                             "fe80::1",
                             "febf::1",
                             "ff02::1",
                             "fd00:ec2::254",
                             "fd20:ce::254",
                             "::ffff:169.254.169.254",
                             "::ffff:127.0.0.1",
                             "64:ff9b::169.254.169.254",
                             "64:ff9b::7f00:1",
                             "2002:a9fe:a9fe::1",
                             "::127.0.0.1"}) {
      CAPTURE(text);
      CHECK(is_refused_address(ip(text)));
    }
  }

  TEST_CASE("private and public addresses are fine") {
    for (const char* text :
         {"10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "100.100.100.201", "8.8.8.8",
          "170.254.169.254", "fd00:ec2::253", "fc00::1", "2001:db8::1", "64:ff9b::8.8.8.8",
          "fec0::1", "2002:808:808::1"}) {
      CAPTURE(text);
      CHECK_FALSE(is_refused_address(ip(text)));
    }
  }

  TEST_CASE("a configured endpoint may be anywhere, on its own port only") {
    const HostPolicy policy({"docker.io"}, {}, {origin("http://127.0.0.1:5000")});
    CHECK(policy.address_allowed(origin("http://127.0.0.1:5000"), ip("127.0.0.1")));
    CHECK_FALSE(policy.address_allowed(origin("http://127.0.0.1:5001"), ip("127.0.0.1")));
    CHECK_FALSE(policy.address_allowed(origin("https://127.0.0.1:5000"), ip("127.0.0.1")));
    CHECK_FALSE(policy.address_allowed(origin("https://evil.test"), ip("169.254.169.254")));
    CHECK(policy.host_allowed("anything", origin("http://127.0.0.1:5000")));
    CHECK(policy.host_allowed("docker.io", origin("https://registry-1.docker.io")));
    CHECK_FALSE(policy.host_allowed("other.io", origin("https://other.io")));
  }

  TEST_CASE("allow_local lifts the rule for names, addresses and ports it lists") {
    const HostPolicy policy({"*"}, {"127.0.0.1:5000", "*.lan", "[::1]:5*", "fe80::1"}, {});
    CHECK(policy.address_allowed(origin("http://127.0.0.1:5000"), ip("127.0.0.1")));
    CHECK(policy.address_allowed(origin("http://localhost:5000"), ip("127.0.0.1")));
    CHECK_FALSE(policy.address_allowed(origin("http://127.0.0.1:5001"), ip("127.0.0.1")));
    CHECK_FALSE(policy.address_allowed(origin("http://localhost:5000"), ip("127.0.0.2")));
    CHECK(policy.address_allowed(origin("https://Registry.LAN:1"), ip("169.254.1.1")));
    CHECK(policy.address_allowed(origin("http://[::1]:5999"), ip("::1")));
    CHECK_FALSE(policy.address_allowed(origin("http://[::1]:6000"), ip("::1")));
    CHECK(policy.address_allowed(origin("http://[fe80::1]:1"), ip("fe80::1")));
  }

  TEST_CASE("what a redirect names must be allowed, configured, or the registry's own") {
    const HostPolicy policy({"docker.io", "*.storage.test"}, {"127.0.0.1:5000"},
                            {origin("http://10.0.0.9:5000")});
    const Origin first = origin("https://registry-1.docker.io");
    for (const char* next :
         {"https://registry-1.docker.io", "https://auth.docker.io", "https://docker.io",
          "https://a.storage.test:8443", "http://10.0.0.9:5000", "http://127.0.0.1:5000"}) {
      CAPTURE(next);
      CHECK(policy.next_allowed("Docker.io", first, origin(next)));
    }
    for (const char* next :
         {"https://evil.test", "https://evildocker.io", "https://storage.test", "http://10.0.0.9",
          "http://127.0.0.1:5001", "https://docker.io.evil.test"}) {
      CAPTURE(next);
      CHECK_FALSE(policy.next_allowed("docker.io", first, origin(next)));
    }
    CHECK(HostPolicy({"*"}, {}, {}).next_allowed("docker.io", first, origin("https://evil.test")));
  }

  TEST_CASE("globs") {
    CHECK(glob_matches("*", ""));
    CHECK(glob_matches("*.azurecr.io", "Team.AzureCR.io"));
    CHECK(glob_matches("a*b*c", "a-b-b-c"));
    CHECK(glob_matches("r?gistry", "registry"));
    CHECK_FALSE(glob_matches("*.azurecr.io", "azurecr.io"));
    CHECK_FALSE(glob_matches("docker.io", "docker.io.evil.test"));
    CHECK_FALSE(glob_matches("", "a"));
    CHECK_FALSE(glob_matches(std::string(40, '*') + "b", std::string(2000, 'a')));
  }

  TEST_CASE("address blocks") {
    CHECK(Cidr::parse("10.0.0.0/8")->contains(ip("10.255.1.2")));
    CHECK_FALSE(Cidr::parse("10.0.0.0/8")->contains(ip("11.0.0.0")));
    CHECK(Cidr::parse("192.168.1.128/25")->contains(ip("192.168.1.200")));
    CHECK_FALSE(Cidr::parse("192.168.1.128/25")->contains(ip("192.168.1.100")));
    CHECK(Cidr::parse("0.0.0.0/0")->contains(ip("8.8.8.8")));
    CHECK_FALSE(Cidr::parse("0.0.0.0/0")->contains(ip("2001:db8::1")));
    CHECK(Cidr::parse("::/0")->contains(ip("8.8.8.8")));
    CHECK(Cidr::parse("fd00::/8")->contains(ip("fdff::1")));
    CHECK(Cidr::parse("10.1.2.3")->contains(ip("10.1.2.3")));
    for (const char* text :
         {"", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "host/8", "10.0.0.0/-1"}) {
      CAPTURE(text);
      CHECK(Cidr::parse(text).has_error());
    }
  }
}
