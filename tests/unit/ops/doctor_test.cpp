// Each of the doctor's checks, caused by the fact it looks for.
#include "ops/doctor.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace waggle;
using namespace waggle::ops;
using namespace std::chrono_literals;

namespace {

using Level = Finding::Level;

/// A node of a cluster of three, as it should be.
DoctorFacts healthy() {
  DoctorFacts facts;
  facts.keys = {{"/etc/waggle/cluster.key", "", 0600}};
  facts.rotation = {.sealing = "ab12", .members = 2, .sealed_with_by = 2};
  facts.skews = {{"r.test", 2s}};
  facts.ready = true;
  facts.members = {{"a", "alive", "1-1", "10.0.0.1:7947", true, false},
                   {"b", "alive", "1-1", "10.0.0.2:7947", false, false},
                   {"c", "left", "1-1", "10.0.0.3:7947", false, true}};
  facts.hints = {{"10.0.0.1:7947", "", true}, {"10.0.0.2:7947", "", false}};
  facts.packet_bytes = 1400;
  facts.paths = {{"b", 1500}};
  facts.data_dir = "/var/lib/waggle";
  facts.disk_free_bytes = 9000;
  facts.registries = {{"r.test", "https://r.test:443", 401, "", {}}};
  return facts;
}

std::vector<Finding> not_ok(const DoctorFacts& facts) {
  auto findings = diagnose(facts);
  std::erase_if(findings, [](const Finding& finding) { return finding.level == Level::ok; });
  return findings;
}

/// The only finding that is not ok.
Finding only(const DoctorFacts& facts) {
  const auto findings = not_ok(facts);
  REQUIRE(findings.size() == 1);
  CHECK_FALSE(findings[0].to_do.empty());
  return findings[0];
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("ops/doctor") {
  TEST_CASE("a healthy node gets one ok line for each check") {
    const auto findings = diagnose(healthy());
    CHECK(not_ok(healthy()).empty());
    std::vector<std::string> checks;
    for (const auto& finding : findings) {
      checks.push_back(finding.check);
      CHECK(finding.to_do.empty());
      CHECK_FALSE(finding.what.empty());
    }
    CHECK(checks == std::vector<std::string>{"config", "key", "rotation", "identity", "clock",
                                             "index", "members", "hints", "udp", "mtu", "versions",
                                             "data_dir", "disk", "upstream", "pause"});
  }

  TEST_CASE("a key that others may read or write, or that is not there") {
    for (const unsigned mode : {0644U, 0604U, 0620U, 0602U, 0777U}) {
      CAPTURE(mode);
      auto facts = healthy();
      facts.keys[0].mode = mode;
      const auto finding = only(facts);
      CHECK(finding.check == "key");
      CHECK(finding.level == Level::fail);
      CHECK(has(finding.to_do, "chmod 600 /etc/waggle/cluster.key"));
    }
    for (const unsigned mode : {0600U, 0400U, 0640U, 0440U}) {
      auto facts = healthy();
      facts.keys[0].mode = mode;
      CHECK(not_ok(facts).empty());
    }
    auto facts = healthy();
    facts.keys[0].problem = "No such file or directory";
    CHECK(has(only(facts).to_do, "waggle keygen"));
  }

  TEST_CASE("members that lack a key are named, and a rotation that nobody finishes is told") {
    auto facts = healthy();
    facts.rotation.lacking = "c, d";
    auto finding = only(facts);
    CHECK(finding.check == "rotation");
    CHECK(finding.level == Level::warn);
    CHECK(has(finding.what, "key ab12"));
    CHECK(has(finding.what, "c, d"));
    CHECK(has(finding.to_do, "waggle reload"));
    facts = healthy();
    facts.rotation.mute = "e (key cd34)";
    CHECK(has(only(facts).what, "e (key cd34)"));
    facts = healthy();
    facts.rotation.lost = "f";
    CHECK(has(only(facts).what, "last seen without key ab12: f"));
    facts = healthy();
    facts.rotation.second = "cd34";
    facts.rotation.second_accepted_by = 1;
    facts.rotation.two_keys_for = 23h + 59min;
    CHECK(not_ok(facts).empty());
    facts.rotation.two_keys_for = 26h;
    finding = only(facts);
    CHECK(has(finding.what, "two keys for 26 h: 2 of 2 members seal with ab12, 1 accept cd34"));
    CHECK(has(finding.to_do, "retire"));
  }

  TEST_CASE("an identity that two processes use") {
    auto facts = healthy();
    facts.clones = {{"a", "10.0.0.1:7947", "10.0.0.9:7947", "copy", true}};
    auto finding = only(facts);
    CHECK(finding.check == "identity");
    CHECK(finding.level == Level::fail);
    CHECK(has(finding.what, "10.0.0.9:7947 (copy)"));
    CHECK(has(finding.to_do, "remove node.data_dir/identity"));
    facts.clones = {{"b", "10.0.0.2:7947", "10.0.0.9:7947", "", false}};
    finding = only(facts);
    CHECK(finding.level == Level::warn);
    CHECK(has(finding.what, "member b: at 10.0.0.2:7947 and at 10.0.0.9:7947"));
  }

  TEST_CASE("a clock that is off, and one that nobody sets") {
    auto facts = healthy();
    facts.skews.push_back({"other.test", -40s});
    CHECK(only(facts).level == Level::warn);
    CHECK(has(only(facts).what, "40 s behind other.test"));
    facts.skews.push_back({"far.test", 1h});
    CHECK(only(facts).level == Level::fail);
    CHECK(has(only(facts).what, "3600 s ahead of far.test"));
    facts = healthy();
    facts.clock_synchronised = false;
    CHECK(only(facts).check == "clock");
    CHECK(only(facts).level == Level::warn);
  }

  TEST_CASE("members that do not answer, a node that is alone, an index that is not ready") {
    auto facts = healthy();
    facts.members[2].state = "faulty";
    facts.members[2].tcp_open = false;
    CHECK(only(facts).check == "members");
    CHECK(has(only(facts).what, "c (faulty)"));
    facts = healthy();
    facts.ready = false;
    CHECK(only(facts).check == "index");
    facts = healthy();
    facts.members.resize(1);
    facts.hints[1].problem = "Connection refused";
    const auto findings = not_ok(facts);
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].check == "members");
    CHECK(findings[1].check == "hints");
    CHECK(findings[1].level == Level::fail);
    facts.hints.resize(1);  // names itself only: alone by intention
    CHECK(not_ok(facts).empty());
  }

  TEST_CASE("a hint that cannot be reached is a warning while others can") {
    auto facts = healthy();
    facts.hints.push_back({"dns:gone.test:7947", "host name does not resolve", false});
    CHECK(only(facts).check == "hints");
    CHECK(only(facts).level == Level::warn);
    CHECK(has(only(facts).what, "dns:gone.test:7947: host name does not resolve"));
  }

  TEST_CASE("TCP without gossip means that UDP is blocked") {
    auto facts = healthy();
    facts.members[2] = {"c", "faulty", "1-1", "10.0.0.3:7947", false, true};
    auto findings = not_ok(facts);
    REQUIRE(findings.size() == 2);
    CHECK(findings[1].check == "udp");
    CHECK(findings[1].level == Level::fail);
    CHECK(has(findings[1].what, "10.0.0.3:7947"));
    facts = healthy();
    facts.members.resize(1);  // the hint answers on TCP, yet nobody was ever seen
    findings = not_ok(facts);
    REQUIRE(findings.size() == 2);
    CHECK(findings[1].check == "udp");
    CHECK(has(findings[1].what, "10.0.0.2:7947"));
  }

  TEST_CASE("a path that is too narrow, and versions that differ") {
    auto facts = healthy();
    facts.paths[0].mtu = 1280;
    CHECK(only(facts).check == "mtu");
    CHECK(has(only(facts).to_do, "cluster.packet_bytes to 1280"));
    facts = healthy();
    facts.members[1].version = "1-2";
    CHECK(only(facts).check == "versions");
    CHECK(has(only(facts).what, "1-1, 1-2"));
  }

  TEST_CASE("a disk that is full, and a directory that cannot be written") {
    auto facts = healthy();
    facts.min_free_bytes = 9001;
    CHECK(only(facts).check == "disk");
    facts = healthy();
    facts.data_dir_problem = "Read-only file system";
    CHECK(only(facts).check == "data_dir");
    CHECK(only(facts).level == Level::fail);
  }

  TEST_CASE("registries: unreachable, failing, pausing") {
    auto facts = healthy();
    auto& registry = facts.registries[0];
    registry.status = 0;
    registry.problem = "connection failed";
    CHECK(only(facts).level == Level::fail);
    CHECK(has(only(facts).what, "r.test (https://r.test:443): connection failed"));
    registry = {"r.test", "https://r.test:443", 502, "", {}};
    CHECK(only(facts).check == "upstream");
    registry = {"r.test", "https://r.test:443", 429, "", 30s};
    CHECK(only(facts).check == "pause");
    CHECK(has(only(facts).what, "for 30 s"));
    registry = {"r.test", "https://r.test:443", 200, "", {}};
    CHECK(not_ok(facts).empty());
  }

  TEST_CASE("keys that have no effect are listed") {
    auto facts = healthy();
    facts.config_warnings = {
        "w.yaml:3: transfer.dscp: accepted, but its feature is not in this build"};
    CHECK(only(facts).check == "config");
  }
}
