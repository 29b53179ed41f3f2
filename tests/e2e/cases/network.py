"""Finding the first member, and addresses: names, multicast, IPv4 and IPv6, several interfaces, partitions."""

import os
import time

from harness.cases import case, expect, expect_equal
from harness.lan import Dns, Lan
from harness.process import wait_for


def wait_members(node, names, deadline=15):
    wait_for(lambda: node.members() == set(names), deadline, f"{node.name} sees {sorted(names)} alive")


@case("a name that fails at first and then has A and AAAA records is joined through; one line says so")
def _(context):
    lan, dns = Lan(context.scratch), Dns()
    wire = lan.switch("wire")
    hosts = [lan.host(f"n{i}", (wire, [f"10.9.0.{i}/24", f"fd09::{i}/64"])) for i in (1, 2, 3)]
    for host in hosts:
        host.use_names(dns)
    first, second, third = (lan.node(host, ["dns:peers.test:7947"]).start() for host in hosts)
    wait_for(lambda: "does not resolve" in first.log(), 10, "the line about the name")
    wait_for(lambda: first.api("status")["uptime_seconds"] > 1.5, 10, "some attempts")
    expect_equal(first.log().count("does not resolve"), 1, "lines about the name")
    expect(first.members() == set(), "nobody yet")
    dns.zone["peers.test"] = ["10.9.0.1", "fd09::2", "169.254.0.9", "224.0.0.1"]
    for node, others in ((first, {"n2", "n3"}), (second, {"n1", "n3"}), (third, {"n1", "n2"})):
        wait_members(node, others)
    # Whoever asked before the others had found it.
    expect(any("resolves to 2 addresses" in node.log() for node in (first, second, third)), first.log())
    kinds = {kind for name, kind in dns.queries if name == "peers.test"}
    expect({1, 28} <= kinds, f"record types asked for: {kinds}")


@case("of five thousand addresses behind a name a node tries at most three at once, and is none the worse")
def _(context):
    lan, dns = Lan(context.scratch), Dns()
    wire = lan.switch("wire")
    host = lan.host("n1", (wire, ["10.9.0.1/16", "fd09::1/64"]))
    host.use_names(dns)
    dns.zone["many.test"] = [f"10.9.{16 + i // 250}.{1 + i % 250}" for i in range(4000)] + \
                            [f"fd09::1:{i:x}" for i in range(1000)]
    # Each would answer "unreachable" after a while; the packets are counted before.
    host.count(pings="output udp dport 7947")
    node = lan.node(host, ["dns:many.test:7947"]).start()
    wait_for(lambda: "resolves to 5000 addresses" in node.log(), 10, "the name is resolved")
    host.counted()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 1.5, 5, "one and a half seconds")
    sent = host.counted()["pings"]
    # Each second a round of three, and three more with each of the name's next answers.
    expect(1 <= sent <= 18, f"{sent} datagrams in 1.5 s")


@case("a node whose name leads to itself alone is ready at once")
def _(context):
    lan, dns = Lan(context.scratch), Dns()
    host = lan.host("n1", (lan.switch("wire"), ["10.9.0.1/24", "fd09::1/64"]))
    host.use_names(dns)
    dns.zone["self.test"] = ["10.9.0.1", "fd09::1"]
    node = lan.node(host, ["dns:self.test:7947"]).start()
    node.wait_ready(3)
    expect(node.metrics().total("waggle_gossip_packets_total", dir="tx") == 0, "it pinged itself")


@case("nodes that know a multicast group alone find each other on a switch")
def _(context):
    lan = Lan(context.scratch)
    wire = lan.switch("wire")
    nodes = [lan.node(lan.host(f"n{i}", (wire, [f"10.9.0.{i}/24"])), ["multicast:239.255.79.47:7947"])
             for i in range(1, 5)]
    for node in nodes[:3]:
        node.start()
    for node in nodes[:3]:
        wait_members(node, {"n1", "n2", "n3"} - {node.name})
    began = time.monotonic()
    nodes[3].start()
    wait_members(nodes[0], {"n2", "n3", "n4"})
    expect(time.monotonic() - began < 6, "the newcomer took longer than a few rounds")


@case("IPv6 alone: multicast, readiness and contents")
def _(context):
    lan = Lan(context.scratch)
    wire = lan.switch("wire")
    hosts = [lan.host(f"n{i}", (wire, [f"fd09::{i}/64"])) for i in (1, 2)]
    first, second = (lan.node(host, ["multicast:[ff05::4f2f]:7947"]).start() for host in hosts)
    wait_members(first, {"n2"})
    wait_members(second, {"n1"})
    expect_equal(first.addresses_of("n2"), ["[fd09::2]:7947"], "what n2 advertises")
    digest = first.announce(os.urandom(3000))
    wait_for(lambda: second.knows(digest, "n1"), 10, "n2 knows the holder")


@case("IPv4 alone and IPv6 alone meet through a node with both, and keep each other alive")
def _(context):
    lan = Lan(context.scratch)
    wire = lan.switch("wire")
    both = lan.node(lan.host("both", (wire, ["10.9.0.1/24", "fd09::1/64"])), ["10.9.0.2:7947", "[fd09::3]:7947"])
    four = lan.node(lan.host("four", (wire, ["10.9.0.2/24"])), ["10.9.0.1:7947"])
    six = lan.node(lan.host("six", (wire, ["fd09::3/64"])), ["[fd09::1]:7947"])
    nodes = {node.name: node.start() for node in (both, four, six)}
    for name, node in nodes.items():
        wait_members(node, set(nodes) - {name})
    expect_equal(four.addresses_of("both"), ["10.9.0.1:7947", "[fd09::1]:7947"], "what it advertises")
    digest = six.announce(os.urandom(3000))
    wait_for(lambda: four.knows(digest, "six"), 30, "the IPv4 node knows what the IPv6 node holds")
    # Several rounds of probes, each of which only a helper can answer.
    began = time.monotonic()
    while time.monotonic() - began < float(os.environ.get("WAGGLE_INDIRECT_SECONDS", 3)):
        expect("six" in four.members() | four.members("suspect"), "four lost six")
        expect("four" in six.members() | six.members("suspect"), "six lost four")
        time.sleep(0.1)


@case("two interfaces: each network sees the node between, which answers from the address that was asked")
def _(context):
    lan = Lan(context.scratch)
    left, right = lan.switch("left"), lan.switch("right")
    between = lan.node(lan.host("between", (left, ["10.9.1.1/24"]), (right, ["10.9.2.1/24"])),
                       ["10.9.1.2:7947", "10.9.2.2:7947"], bind=["if:eth0:7947", "if:eth1:7947"])
    west = lan.node(lan.host("west", (left, ["10.9.1.2/24"])), ["10.9.1.1:7947"], bind=["10.9.1.0/24:7947"])
    east = lan.node(lan.host("east", (right, ["10.9.2.2/24"])), ["10.9.2.1:7947"])
    nodes = {node.name: node.start() for node in (between, west, east)}
    for name, node in nodes.items():
        wait_members(node, set(nodes) - {name})
    expect_equal(east.addresses_of("between"), ["10.9.1.1:7947", "10.9.2.1:7947"], "what it advertises")
    digest = west.announce(os.urandom(3000))
    for node in (between, east):
        wait_for(lambda node=node: node.knows(digest, "west"), 30, f"{node.name} knows the holder")


@case("a host with two addresses on one wire answers from the one that was asked")
def _(context):
    lan = Lan(context.scratch)
    wire = lan.switch("wire")
    two = lan.node(lan.host("two", (wire, ["10.9.0.1/24", "10.9.0.9/24"])), [], {"cluster": {
        "advertise": ["10.9.0.9:7947"]}})
    one_host = lan.host("one", (wire, ["10.9.0.2/24"]))
    # A firewall that lets in only what was asked for, as on many hosts.
    one_host.drop_from(["10.9.0.1"])
    one = lan.node(one_host, ["10.9.0.9:7947"])
    two.start()
    one.start()
    wait_members(one, {"two"}, 8)
    wait_members(two, {"one"}, 8)


def partition_seconds():
    """Set by the long run; CI leaves partitions to the simulator."""
    return float(os.environ.get("WAGGLE_PARTITION_SECONDS", 0))


def cut_and_heal(context):
    lan = Lan(context.scratch)
    wire = lan.switch("wire")
    addresses = {f"n{i}": f"10.9.0.{i}" for i in range(1, 7)}
    hosts = {name: lan.host(name, (wire, [address + "/24"])) for name, address in addresses.items()}
    nodes = {name: lan.node(host, ["10.9.0.1:7947", "10.9.0.4:7947"]).start() for name, host in hosts.items()}
    names = set(nodes)
    halves = ({"n1", "n2", "n3"}, {"n4", "n5", "n6"})
    for name, node in nodes.items():
        wait_members(node, names - {name}, 30)
    held = {}  # digest: holder

    def announce_everywhere():
        for name, node in nodes.items():
            held[node.announce(os.urandom(2000))] = name

    def everyone_knows(names_seen):
        return all(nodes[name].knows(digest, holder) for digest, holder in held.items()
                   for name in names_seen if holder in names_seen)

    announce_everywhere()
    wait_for(lambda: everyone_knows(names), 20, "the first digests are known everywhere", every=0.2)
    for half, other in (halves, halves[::-1]):
        for name in half:
            hosts[name].drop_from([addresses[far] for far in other])
    cut_at = time.monotonic()
    for half, other in (halves, halves[::-1]):
        for name in half:
            wait_for(lambda node=nodes[name], other=other: node.members("faulty") == other, 60,
                     f"{name} has given the other half up")
    split_after = time.monotonic() - cut_at
    announce_everywhere()
    for half in halves:
        wait_for(lambda half=half: everyone_knows(half), 20, "each half knows its own digests", every=0.2)
        for name in half:
            known = {digest for digest, holder in held.items() if holder not in half
                     and (nodes[name].api(f"blobs/{digest}") or {}).get("holders")}
            expect(not known, f"{name} names holders it cannot reach: {known}")
    wait_for(lambda: time.monotonic() - cut_at >= partition_seconds(), partition_seconds(), "the cut's length")
    announce_everywhere()
    for host in hosts.values():
        host.drop_nothing()
    healed_at = time.monotonic()
    for name, node in nodes.items():
        wait_members(node, names - {name}, 60)
    whole_after = time.monotonic() - healed_at
    wait_for(lambda: everyone_knows(names), 60, "every digest is known everywhere", every=0.2)
    wait_for(lambda: len({node.api("status")["state_hash"] for node in nodes.values()}) == 1, 60,
             "all believe the same", every=0.2)
    known_after = time.monotonic() - healed_at
    for name, node in nodes.items():
        expect_equal(node.api("status")["index"]["digests"], len(held), f"digests in the index of {name}")
        for digest, holder in held.items():
            expect_equal(set((node.api(f"blobs/{digest}") or {})["holders"]), {holder}, f"{name}: {digest}")
    print(f"  cut for {healed_at - cut_at:.1f} s: halves apart after {split_after:.1f} s, one view {whole_after:.1f} s "
          f"after the healing, everything known everywhere after {known_after:.1f} s, {len(held)} digests")


if partition_seconds():  # ./dev soak networks
    case("two halves of six, cut apart and healed: one view again, every digest known everywhere, none invented")(
        cut_and_heal
    )


@case("malformed hints are configuration errors with file, line and key")
def _(context):
    from cases.programs import check_config, good_config
    for hint in ("nowhere", "10.0.0.300:7947", "10.0.0.1:0", "10.0.0.1:70000", "::1:7947", "[fe80::1]:7947",
                 "0.0.0.0:7947", "dns:peers", "dns::7947", "dns:-x.test:7947", "multicast:10.0.0.1:7947",
                 "multicast:239.255.79.47", "239.255.79.47:7947", "k8s:waggle"):
        base = good_config(context)
        line = base.split("\n").index("node:") + 1
        text = base.replace("node:", f"  join: [\"{hint}\"]\nnode:")
        code, output, path = check_config(context, text)
        expect_equal(code, 2, f"exit code for {hint!r}: {output}")
        for word in (f"{path}:{line}", "cluster.join", hint):
            expect(word in output, f"{word!r} is not in {output!r}")
    code, output, _ = check_config(context, good_config(context).replace(
        "node:", "  join: [\"k8s:ns/service\", \"multicast:239.255.79.47:7947\", \"dns:peers.test:7947\"]\nnode:"))
    expect(code == 0 and "k8s:ns/service" in output, output)
