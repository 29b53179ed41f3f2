// Containerd's files as its own documents show them.
#include "cli/containerd_config.hpp"

#include <doctest/doctest.h>

using namespace waggle::cli;
using Strings = std::vector<std::string>;

TEST_SUITE("cli/containerd_config") {
  TEST_CASE("config_path of version 2 and 3, several directories, and nothing at all") {
    const auto two = parse_containerd_config(
        "version = 2\nroot = \"/data/containerd\"\n\n[plugins]\n"
        "  [plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
        "    config_path = \"/etc/containerd/certs.d:/etc/docker/certs.d\" # both\n");
    CHECK(two.root == "/data/containerd");
    CHECK(two.config_paths == Strings{"/etc/containerd/certs.d", "/etc/docker/certs.d"});
    const auto three = parse_containerd_config(
        "[plugins.'io.containerd.cri.v1.images'.registry]\r\nconfig_path = '/etc/c'\r\n");
    CHECK(three.config_paths == Strings{"/etc/c"});
    CHECK(three.root == "/var/lib/containerd");
    for (const char* text :
         {"", "config_path = \"/x\"", "[plugins.\"io.containerd.grpc.v1.cri\"]\nconfig_path=\"/x\"",
          "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n#config_path = \"/x\"",
          "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"\"",
          "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\nconfig_path = \"/x\"", "[",
          "="}) {
      CAPTURE(text);
      CHECK(parse_containerd_config(text).config_paths.empty());
    }
  }

  TEST_CASE("hosts in their order, with their capabilities") {
    const auto hosts = parse_hosts_toml(
        "server = \"https://docker.io\"\n\n[host.\"http://127.0.0.1:30000/\"]\n"
        "  capabilities = [\"pull\", \"resolve\"]\n  [host.\"http://127.0.0.1:30000/\".header]\n"
        "    x = [\"y\"]\n[host.'https://mirror.test']\n  skip_verify = true\n");
    REQUIRE(hosts.size() == 2);
    CHECK(hosts[0].url == "http://127.0.0.1:30000");
    CHECK(hosts[0].capabilities == Strings{"pull", "resolve"});
    CHECK(hosts[1].url == "https://mirror.test");
    CHECK(hosts[1].capabilities.empty());
    CHECK(parse_hosts_toml("server = \"https://docker.io\"\n").empty());
    CHECK(parse_hosts_toml("[host]\n[host.]\n[host.x]\n").empty());
  }
}
